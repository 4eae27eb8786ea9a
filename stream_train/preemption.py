"""Signals that announce the end: they are remembered, and answered between two training steps.

In: SIGTERM (Kubernetes, spot machines, torchrun, Slurm) or SIGUSR1 (Slurm's `--signal`). Out: a loop that knows when to
save, also while it waits for data, and :class:`Stopped`, with which a run ends that is to be continued.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Generic, TypeVar

Value = TypeVar("Value")

STOPPED_EXIT_CODE = 75
"""EX_TEMPFAIL: what a run exits with that was stopped by a signal and is to be continued by the same command."""
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
REPEAT_SECONDS = 5.0
"""A job system and torchrun below it may both announce the same end; after so long, a repetition means at once."""
WAIT_SECONDS = 1.0
"""How long after the signal a batch that is on its way is waited for."""
POLL_SECONDS = 0.2
LEAVE_SECONDS = 3.0
"""How long a stopped process, which has saved, may take to end by itself."""
WORKER_GRACE_SECONDS = 60
"""How long a loader's process lives on after SIGTERM: its main process, which has got the same, ends it before."""


class Stopped(SystemExit):
    """The end of a run that was stopped between two steps, and saved; leaves the process with STOPPED_EXIT_CODE."""

    def __init__(self) -> None:
        super().__init__(STOPPED_EXIT_CODE)


class StopRequest:
    """Whether a signal has asked this process to stop."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        """`SIGTERM`; None as long as there was none."""
        self._since = 0.0

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Remember the signals instead of dying of them; only the main thread can, others leave them as they are."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._take) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def is_made(self) -> bool:
        return self.signal_name is not None

    def is_urgent(self) -> bool:
        """Whether there has been a request for so long that nothing more is to be waited for."""
        return self.signal_name is not None and time.monotonic() - self._since > WAIT_SECONDS

    def _take(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal_name is None:
            self.signal_name, self._since = signal.Signals(number).name, now
        elif now - self._since > REPEAT_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class Aside(Generic[Value]):
    """An iterator that works in a thread of its own, item by item as it is asked, so that waiting for it can be left.

    Args:
        begin: makes the iterator, in that thread.
        request: ends the waiting.
    """

    def __init__(self, begin: Callable[[], Iterator[Value]], request: StopRequest) -> None:
        self._request = request
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._answers: SimpleQueue[Value | BaseException] = SimpleQueue()
        self._is_at_work = False
        self._thread = threading.Thread(target=self._work, args=(begin,), daemon=True, name="batches")
        self._thread.start()

    def next(self) -> Value | None:
        """The next item; None if there is a request to stop. Raises what the iterator raises."""
        if self._request.is_made():
            return None
        self._asked.put(True)
        self._is_at_work = True
        while True:
            try:
                answer = self._answers.get(timeout=POLL_SECONDS)
            except Empty:
                if self._request.is_urgent():
                    return None
                continue
            self._is_at_work = False
            if isinstance(answer, BaseException):
                raise answer
            return None if self._request.is_made() else answer

    def close(self) -> None:
        """End the thread, with everything that the iterator holds, as soon as it is no longer at work."""
        self._asked.put(False)
        if not (self._is_at_work or self._request.is_made()):
            self._thread.join()

    def _work(self, begin: Callable[[], Iterator[Value]]) -> None:
        items: Iterator[Value] | None = None
        while self._asked.get():
            try:
                items = items or begin()
                self._answers.put(next(items))
            except BaseException as error:  # noqa: BLE001 - raised where it was asked
                self._answers.put(error)


def until_stopped(begin: Callable[[], Iterator[Value]], request: StopRequest) -> Iterator[Value]:
    """The items of an iterator, worked out aside; they end early if there is a request."""
    items = Aside(begin, request)
    try:
        while (item := items.next()) is not None:
            yield item
    except StopIteration:
        return
    finally:
        items.close()


def leave_soon() -> None:
    """Let the process end by itself, or, where its loaders still wait for data that nobody needs, end it."""

    def end() -> None:
        for child in multiprocessing.active_children():
            child.kill()
        sys.stderr.flush()
        os._exit(STOPPED_EXIT_CODE)

    timer = threading.Timer(LEAVE_SECONDS, end)
    timer.daemon = True
    timer.start()


def outlive_announcement() -> None:
    """Keep a loader's process alive while its main process, which has got the same signal, finishes and saves."""

    def end_later(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.alarm(WORKER_GRACE_SECONDS)

    signal.signal(signal.SIGTERM, end_later)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
