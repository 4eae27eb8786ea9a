"""Loader processes: torch's DataLoader over whole batches, and what comes out of them, errors and traffic included.

In: a data set of batches and the requests for them. Out: batches in order, or an error that reads as one line.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import multiprocessing.util
import os
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from shardify.errors import UserFacingError, WorkError, one_line
from shardify.process import SIGNALS, end_with_parent, outlive_announcement, start_resource_tracker
from shardify.storage.traffic import Traffic, count, take
from stream_train.data.batch import Batch
from stream_train.data.fetching import BatchRequest


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What comes out of a loader's process for a request."""

    item: Batch | UserFacingError
    """The batch, or the error that prevented it; raised in the main process, where it reads as one line."""
    traffic: Traffic = field(default_factory=Traffic)
    """What the worker moved since its last delivery; nothing without workers, whose process counts for itself."""

    def pin_memory(self) -> Delivery:
        """Called by the DataLoader."""
        return self if isinstance(self.item, UserFacingError) else replace(self, item=self.item.pin_memory())


def delivery(item: Batch | UserFacingError) -> Delivery:
    """Hand over an item of this process, with the traffic that it took."""
    return Delivery(item=item) if get_worker_info() is None else Delivery(item=item, traffic=take())


def make_loader(
    dataset: Dataset[Delivery],
    requests: Iterator[BatchRequest] | None = None,
    *,
    num_workers: int,
    prefetch_batches: int,
    is_remote: bool,
) -> DataLoader[Delivery]:
    """Torch's DataLoader over whole batches.

    Args:
        dataset: gives a delivery for each request, or is itself their stream.
        requests: keys of a map-style data set.
        num_workers: processes; 0 works in this one.
        prefetch_batches: how many batches each of them prepares ahead.
        is_remote: whether they read from an object store. Such are not forked from this process, since obstore's
            threads would be missing there.
    """
    if num_workers:
        multiprocessing.util.get_temp_dir()  # theirs, too: one of its own a killed worker would leave behind
    if is_remote and num_workers:
        _start_fork_server()
    with _without_advice():
        return DataLoader(
            dataset,
            batch_size=None,
            sampler=requests,
            num_workers=num_workers,
            collate_fn=_identity,
            prefetch_factor=prefetch_batches if num_workers else None,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # the loader draws a seed: not from the generator that training uses
            multiprocessing_context="forkserver" if is_remote and num_workers else None,
            worker_init_fn=partial(_start_worker, dict(os.environ)) if num_workers else None,
        )


def _start_fork_server() -> None:
    """Start it, unless it runs, deaf to signals; its end would be taken for the end of all workers.

    It ends with the processes that use it. The workers inherit the deafness, until they have answers of their own.
    """
    multiprocessing.set_forkserver_preload(["stream_train.data.loader"])
    start_resource_tracker()  # before, since that lets through what it finds blocked
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence torch's advice on the number of workers, which was chosen on purpose."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")
        yield


def _start_worker(environment: Mapping[str, str], _: int) -> None:
    """Begin a worker: it counts its own traffic, and knows the credentials that the main process knows now.

    Torch has its workers look for their parent, too, but only between two requests, and not behind a fork server.
    """
    outlive_announcement()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    end_with_parent()
    os.environ.update(environment)
    take()


def delivered(loader: DataLoader[Delivery]) -> Iterator[Batch]:
    """The loader's batches; errors that came in place of one are raised here, and workers' traffic is counted."""
    try:
        for delivered in _begin(loader):
            count(delivered.traffic)
            if isinstance(delivered.item, UserFacingError):
                raise delivered.item
            yield delivered.item
    except (RuntimeError, ConnectionError, EOFError) as error:
        if not _tells_of_a_death(error):
            raise
        reason = one_line(error) or type(error).__name__
    else:
        return
    # raised out here, where nothing refers to the loader any more, so that its other processes end at once
    raise WorkError(
        f"a loader process died ({reason}); out of memory or shared memory? Lower data.num_workers or "
        "data.prefetch_batches, and run the same command again to continue"
    )


def _begin(loader: DataLoader[Delivery]) -> Iterator[Delivery]:
    with _without_advice():
        return iter(loader)


def _tells_of_a_death(error: Exception) -> bool:
    """Whether the DataLoader lost a process, perhaps while that one handed a batch over; not an error raised in one."""
    text = str(error)
    return not text.startswith("Caught ") and (not isinstance(error, RuntimeError) or "DataLoader worker" in text)


def _identity(item: Any) -> Any:
    """Keeps torch from collating what already is a batch."""
    return item
