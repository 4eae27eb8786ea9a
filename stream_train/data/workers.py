"""Loader workers: torch's DataLoader over whole batches, and the workers' errors and traffic.

In: a dataset of batches and the requests for them. Out: batches in order, or a one-line error.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import multiprocessing.util
import os
import resource
import signal
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from shardify.errors import UsageError, UserFacingError, WorkError, one_line
from shardify.process import SIGNALS, end_with_parent, outlive_stop_signals, start_resource_tracker
from shardify.storage.traffic import Traffic, count, take
from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.handover import CarriedBatch

FILES_PER_BATCH = 1
"""A batch that waits is an open file, if no buffer was free."""
OTHER_OPEN_FILES = 128
"""Of a process: its programs' files, its pipes, the shards it reads."""


@dataclass(frozen=True, kw_only=True)
class WorkerResult:
    """What a worker sends back for a request."""

    item: Batch | CarriedBatch | UserFacingError
    """The batch, or the error that prevented it; the main process raises it as one line."""
    traffic: Traffic = field(default_factory=Traffic)
    """The worker's traffic since its last result; empty without workers, because the process counts its own."""

    def pin_memory(self) -> WorkerResult:
        """Called by the DataLoader."""
        return replace(self, item=self.item.pin_memory()) if isinstance(self.item, Batch) else self


def worker_result(item: Batch | CarriedBatch | UserFacingError) -> WorkerResult:
    """An item, ready to be sent, with this worker's traffic."""
    if get_worker_info() is None:
        return WorkerResult(item=item)
    return WorkerResult(item=CarriedBatch(item) if isinstance(item, Batch) else item, traffic=take())


def load_batches(
    dataset: Dataset[WorkerResult], requests: Iterable[object] | None, config: DataConfig, *, is_remote: bool
) -> Iterator[Batch]:
    """Batches in order, prepared early by worker processes.

    The dataset gives a result for each request; without requests, it is a stream of results. If `is_remote`, workers
    read from an object store and must not be forked: a fork would lack obstore's threads.
    Raises UserFacingError if a worker raised it or died.
    """
    num_workers = config.workers_of_rank
    if num_workers:
        _allow_open_files(OTHER_OPEN_FILES + FILES_PER_BATCH * num_workers * config.prefetch_batches)
        multiprocessing.util.get_temp_dir()  # shared with workers: a killed one would leave its own behind
    if is_remote and num_workers:
        _start_fork_server()
    with _without_advice():
        loader: DataLoader[WorkerResult] = DataLoader(
            dataset,
            batch_size=None,
            sampler=requests,
            num_workers=num_workers,
            collate_fn=_identity,
            prefetch_factor=config.prefetch_batches if num_workers else None,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # the loader draws a seed; it must not use training's generator
            multiprocessing_context="forkserver" if is_remote and num_workers else None,
            worker_init_fn=partial(_start_worker, dict(os.environ)) if num_workers else None,
        )
    return batches_of(loader)


def batches_of(loader: Iterable[WorkerResult]) -> Iterator[Batch]:
    """The batches in workers' results; raises their errors and counts their traffic."""
    try:
        for result in _begin(loader):
            count(result.traffic)
            if isinstance(result.item, UserFacingError):
                raise result.item
            assert not isinstance(result.item, CarriedBatch), "it arrives as a batch"
            yield result.item
    except (RuntimeError, ConnectionError, EOFError) as error:
        if not _tells_of_a_death(error):
            raise
        reason = one_line(error) or type(error).__name__
    else:
        return
    # raised here, where nothing refers to the loader, so that its other processes end at once
    raise WorkError(
        f"a loader process died ({reason}); out of memory or shared memory? Lower data.num_workers or "
        "data.prefetch_batches, and run the same command again to continue"
    )


def _allow_open_files(needed: int) -> None:
    """Raise this process's limit of open files, if it is lower; with too few, torch's queues hang.

    Raises UsageError if the system does not allow that many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UsageError(
            f"at most {hard} open files are allowed here, but the loader processes need {needed}; raise the limit "
            f"(ulimit -n {needed}), or lower data.num_workers or data.prefetch_batches"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _begin(loader: Iterable[WorkerResult]) -> Iterator[WorkerResult]:
    with _without_advice():
        return iter(loader)


def _start_fork_server() -> None:
    """Start the fork server, unless it runs, with signals blocked: if it ended, all workers would seem dead.

    It ends with the processes that use it. Workers inherit the blocked signals until they set their own handlers.
    """
    multiprocessing.set_forkserver_preload(["stream_train.data.loader"])
    start_resource_tracker()  # first, because it unblocks signals that it finds blocked
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(environment: Mapping[str, str], _: int) -> None:
    """Start a worker: it counts its own traffic, and gets the main process's current credentials.

    Torch's workers also check that their parent lives, but only between requests, and not with a fork server.
    """
    outlive_stop_signals()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    end_with_parent()
    os.environ.update(environment)
    take()


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence torch's advice on the number of workers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")
        yield


def _tells_of_a_death(error: Exception) -> bool:
    """Whether the DataLoader lost a process; False for an error raised in a process."""
    text = str(error)
    return not text.startswith("Caught ") and (not isinstance(error, RuntimeError) or "DataLoader worker" in text)


def _identity(item: Any) -> Any:
    """Keeps torch from collating a finished batch."""
    return item
