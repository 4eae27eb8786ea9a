"""The local engine: this process, or a pool of processes, writes the shards. The other engine is `ray_cluster`.

An engine takes independent tasks one by one, finishes them in any order, and returns when all are committed. Its memory
does not grow with the number of tasks.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from typing import Protocol

from shardify.build.shard_writer import Report, VideoDone
from shardify.errors import WorkError
from shardify.process import SIGNALS, start_resource_tracker

POLL_SECONDS = 0.2
TASKS_AHEAD = 2
"""Number of tasks that wait for each worker."""


class Task(Protocol):
    """Work for any process on any machine that can reach the source and the store; picklable."""

    def write(self, report: Report) -> object:
        """Write the shards and report each video. A repeated task writes the same bytes."""


_report: Report | None = None
"""Set once in each worker process."""


def run_tasks(tasks: Iterable[Task], num_workers: int, report: Report) -> None:
    """Write all shards, in this process if `num_workers` is 1, else in a pool.

    `report` is called in this process after each video, in any order. Raises WorkError if a worker process was killed,
    or the disk is full.
    """
    if num_workers > 1:
        _run_in_pool(tasks, num_workers, report)
    else:
        for task in tasks:
            task.write(report)


def _run_in_pool(tasks: Iterable[Task], num_workers: int, report: Report) -> None:
    context = multiprocessing.get_context("spawn")
    start_resource_tracker()
    reports: SimpleQueue[VideoDone] = context.SimpleQueue()
    their_end, our_end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(num_workers, context, initializer=_start_worker, initargs=(reports, their_end))
    try:
        waiting = iter(tasks)
        pending: set[Future[None]] = set()
        while True:
            room = (1 + TASKS_AHEAD) * num_workers - len(pending)
            pending |= {pool.submit(_write_in_worker, task) for task in islice(waiting, room)}
            if not pending:
                break
            done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            while not reports.empty():
                report(reports.get())
            for future in done:
                future.result()
        pool.shutdown()
    except BrokenProcessPool:
        raise WorkError(
            "a worker process was killed (out of memory?); finished shards are kept, run the same command again "
            "(with fewer workers if it happens again)"
        ) from None
    finally:
        our_end.close()  # ends busy workers: after an error or Ctrl-C, do not wait for their shards
        pool.shutdown(cancel_futures=True)
        their_end.close()


def _start_worker(reports: SimpleQueue[VideoDone], lifeline: Connection) -> None:
    """Set up a worker process: it reports to the queue, ends when the lifeline closes, and ignores signals."""
    global _report  # noqa: PLW0603 - the only way to give a queue to a pool's workers
    _report = reports.put
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_at_end_of, args=(lifeline,), daemon=True).start()


def _exit_at_end_of(lifeline: Connection) -> None:
    """Exit at once when the parent closes the other end of the pipe or is killed."""
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def _write_in_worker(task: Task) -> None:
    assert _report is not None, "the pool's initializer sets it"
    task.write(_report)
