"""Loader processes that fail or die, as torch's DataLoader reports them, and the traffic of those that live."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from typing import Any, cast

import pytest

from shardify.errors import DamageError, UsageError, WorkError
from shardify.storage.traffic import Traffic, take
from stream_train.data.batch import Batch, shared_memory_reported
from stream_train.data.config import DataConfig
from stream_train.data.workers import WorkerResult, batches_of, load_batches

BATCH = cast(Batch, object())


def results(*items: WorkerResult, error: Exception | None = None) -> Iterator[WorkerResult]:
    """In place of a DataLoader: some results, then an error."""
    yield from items
    if error is not None:
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "),
        RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"),
        ConnectionResetError(104, "Connection reset by peer"),
        EOFError(),
    ],
    ids=["killed", "exited", "reset", "end"],
)
def test_a_lost_process_is_one_line_that_keeps_nothing_alive(error: Exception) -> None:
    batches = batches_of(results(WorkerResult(item=BATCH), error=error))
    assert next(batches) is BATCH
    with pytest.raises(WorkError, match=r"a loader process died \(.+\); .*data\.num_workers") as caught:
        next(batches)
    assert caught.value.__context__ is None, "the traceback below would hold the DataLoader and its processes"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback: ..."),
        ConnectionResetError("Caught ConnectionResetError in DataLoader worker process 0.\nOriginal Traceback: ..."),
        RuntimeError("CUDA error: out of memory"),
    ],
    ids=["in a worker", "connection in a worker", "other"],
)
def test_an_error_in_the_code_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        next(batches_of(results(error=error)))
    assert caught.value is error


def test_an_error_that_comes_in_place_of_a_batch_is_raised_here() -> None:
    error = DamageError("shard 3")
    batches = batches_of(results(WorkerResult(item=BATCH), WorkerResult(item=error), WorkerResult(item=BATCH)))
    assert next(batches) is BATCH
    with pytest.raises(DamageError) as caught:
        next(batches)
    assert caught.value is error


def test_what_workers_moved_is_counted_here() -> None:
    take()
    moved = (Traffic(bytes_read=5), Traffic(bytes_read=2, refetches=1))
    assert len(list(batches_of(results(*(WorkerResult(item=BATCH, traffic=traffic) for traffic in moved))))) == 2
    assert take() == Traffic(bytes_read=7, refetches=1)


def limit_open_files(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> list[tuple[int, int]]:
    """Pretend these limits; returns what is set later."""
    changes: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: changes.append(limits))
    return changes


@pytest.mark.parametrize(
    ("soft", "hard", "changes"),
    [(1024, 1024, []), (32, 1024, [(132, 1024)]), (32, resource.RLIM_INFINITY, [(132, resource.RLIM_INFINITY)])],
)
def test_the_limit_of_open_files_is_raised_where_workers_need_it(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, changes: list[tuple[int, int]]
) -> None:
    set_later = limit_open_files(monkeypatch, soft, hard)
    assert next(load_batches(cast(Any, [WorkerResult(item=BATCH)]), [0], DataConfig(num_workers=0), is_remote=False))
    assert set_later == [], "without workers, nothing waits"
    batches = load_batches(cast(Any, []), [], DataConfig(num_workers=2), is_remote=False)
    assert list(batches) == []
    assert set_later == changes


def test_too_few_open_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_open_files(monkeypatch, 32, 64)
    with pytest.raises(UsageError, match=r"at most 64 open files .* need 132; .*ulimit -n 132"):
        next(load_batches(cast(Any, []), [], DataConfig(num_workers=2), is_remote=False))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)",
            "/dev/shm.*--shm-size",
        ),
        ("unable to open shared memory object </torch_1> in read-write mode: Too many open files (24)", "ulimit -n"),
    ],
)
def test_memory_that_cannot_be_shared_is_one_line(text: str, words: str) -> None:
    with pytest.raises(WorkError, match=words), shared_memory_reported():
        raise RuntimeError(text)


def test_other_errors_of_torch_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="CUDA"), shared_memory_reported():
        raise RuntimeError("CUDA error: out of memory")
