"""Loader processes that fail or die, as torch's DataLoader reports them, and the traffic of those that live."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from shardify.errors import DamageError, WorkError
from shardify.storage.traffic import Traffic, take
from stream_train.data.batch import Batch
from stream_train.data.workers import WorkerResult, batches_of

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
