"""What comes out of loader processes that fail or die, told by what torch's DataLoader raises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from torch.utils.data import DataLoader

from shardify.errors import DamageError, UserFacingError, WorkError
from shardify.storage.traffic import Traffic, take
from stream_train.data.batch import Batch
from stream_train.data.workers import WorkerResult, batches_of


class Given:
    """In place of a DataLoader: gives some results, then raises."""

    def __init__(self, *results: WorkerResult, error: Exception | None = None) -> None:
        self._results, self._error = results, error

    def __iter__(self) -> Iterator[WorkerResult]:
        yield from self._results
        if self._error is not None:
            raise self._error

    def batches(self) -> Iterator[Batch]:
        return batches_of(cast(DataLoader[WorkerResult], self))


BATCH = cast(Batch, object())


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
    batches = Given(WorkerResult(item=BATCH), error=error).batches()
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
        next(Given(error=error).batches())
    assert caught.value is error


def test_an_error_that_comes_in_place_of_a_batch_is_raised_here() -> None:
    error: UserFacingError = DamageError("shard 3")
    batches = Given(WorkerResult(item=BATCH), WorkerResult(item=error), WorkerResult(item=BATCH)).batches()
    assert next(batches) is BATCH
    with pytest.raises(DamageError) as caught:
        next(batches)
    assert caught.value is error


def test_what_workers_moved_is_counted_here() -> None:
    take()
    moved = (Traffic(bytes_read=5), Traffic(bytes_read=2, refetches=1))
    assert len(list(Given(*(WorkerResult(item=BATCH, traffic=traffic) for traffic in moved)).batches())) == 2
    total = take()
    assert (total.bytes_read, total.refetches) == (7, 1)
