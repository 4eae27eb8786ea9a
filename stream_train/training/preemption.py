"""Stop requests in training: signals are remembered, and answered between two training steps.

In: SIGTERM, SIGUSR1 or Ctrl-C. Out: a loop that knows when to save, also while it waits for data, and :class:`Stopped`,
which ends a run. The same command continues it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Generic, TypeVar

from shardify.process import (
    INTERRUPTED_EXIT_CODE,
    SIGNALS,
    STOP_SIGNALS,
    STOPPED_EXIT_CODE,
    handling,
    is_under_torchrun,
    set_asked,
)

Value = TypeVar("Value")

WAIT_SECONDS = 1.0
"""How long to wait for the next batch after a stop request."""
POLL_SECONDS = 0.2
STDERR_DESCRIPTOR = 2
LAUNCHER_SECONDS = 1.0
"""How often a rank checks that torchrun still runs."""


class Stopped(SystemExit):
    """A run stopped between two steps and was saved. Ctrl-C has another exit code than the other signals."""

    def __init__(self, signal_name: str) -> None:
        super().__init__(INTERRUPTED_EXIT_CODE if signal_name == "SIGINT" else STOPPED_EXIT_CODE)


class StopRequest:
    """Whether a signal has asked this process to stop. The first Ctrl-C's signal handler calls `on_interrupt`."""

    def __init__(self, on_interrupt: Callable[[], None] | None = None) -> None:
        self.signal_name: str | None = None
        """`SIGTERM`, for example; None while there is no request."""
        self._since = 0.0
        self._on_interrupt = on_interrupt
        self._was_interrupted = False

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Remember signals instead of ending. This works in the main thread; in other threads it does nothing."""
        is_in_background = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # Ctrl-C is for other jobs
        with handling(STOP_SIGNALS if is_in_background else SIGNALS, self._take):
            yield self

    def is_made(self) -> bool:
        return self.signal_name is not None

    def is_urgent(self) -> bool:
        """Whether the request is old enough to stop waiting for data."""
        return self.signal_name is not None and time.monotonic() - self._since > WAIT_SECONDS

    def _take(self, number: int, _: FrameType | None) -> None:
        if self.signal_name is None:
            self.signal_name, self._since = signal.Signals(number).name, time.monotonic()
            set_asked(True)
        if number != signal.SIGINT:
            return
        if not self._was_interrupted:
            self._was_interrupted = True
            if self._on_interrupt is not None:
                self._on_interrupt()
        elif not is_under_torchrun():  # torchrun may repeat the terminal's Ctrl-C
            signal.default_int_handler(number, None)


def promise_to_save() -> None:
    """Answer the first Ctrl-C. Runs in a signal handler, which may have interrupted a write to Python's streams."""
    again = b"" if is_under_torchrun() else b"; Ctrl-C again ends at once"
    os.write(STDERR_DESCRIPTOR, b"\nfinishing this step and saving" + again + b"\n")


class Aside(Generic[Value]):
    """An iterator in its own thread that makes one item when asked, so that a stop request can end the wait.

    `begin` makes the iterator, in that thread.
    """

    def __init__(self, begin: Callable[[], Iterator[Value]], request: StopRequest) -> None:
        self._request = request
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._answers: SimpleQueue[Value | BaseException] = SimpleQueue()
        self._is_at_work = False
        self._thread = threading.Thread(target=self._work, args=(begin,), daemon=True, name="batches")
        self._thread.start()

    def next(self) -> Value | None:
        """The next item, or None after a stop request.

        Raises the iterator's errors, but none after a request: the same signal may have ended a loader's process.
        """
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
            if self._request.is_made():
                return None
            if isinstance(answer, BaseException):
                raise answer
            return answer

    def close(self) -> None:
        """End the thread and free the iterator after the current item."""
        self._asked.put(False)
        if not (self._is_at_work or self._request.is_made()):
            self._thread.join()

    def _work(self, begin: Callable[[], Iterator[Value]]) -> None:
        items: Iterator[Value] | None = None
        while self._asked.get():
            try:
                items = items or begin()
                self._answers.put(next(items))
            except BaseException as error:  # noqa: BLE001 - raised in `next`
                self._answers.put(error)


def until_stopped(begin: Callable[[], Iterator[Value]], request: StopRequest) -> Iterator[Value]:
    """The items of an iterator, made in a thread, until a stop request."""
    items = Aside(begin, request)
    try:
        while (item := items.next()) is not None:
            yield item
    except StopIteration:
        return
    finally:
        items.close()


@contextmanager
def stopping_with_launcher() -> Iterator[None]:
    """Send this rank SIGTERM when its torchrun is gone, because nothing else would end it."""
    if not is_under_torchrun():
        yield
        return
    launcher, is_over = os.getppid(), threading.Event()

    def watch() -> None:
        while not is_over.wait(LAUNCHER_SECONDS):
            if os.getppid() != launcher:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=watch, daemon=True, name="launcher").start()
    try:
        yield
    finally:
        is_over.set()
