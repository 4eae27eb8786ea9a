"""Signals that announce the end: they are remembered, and answered between two training steps.

In: SIGTERM (Kubernetes, spot machines, torchrun, Slurm), SIGUSR1 (Slurm's `--signal`) or SIGINT (Ctrl-C). Out: a loop
that knows when to save, also while it waits for data, and :class:`Stopped`, with which a run ends that is to be
continued.
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
    STOPPED_EXIT_CODE,
    end_unless_repeated,
    expect_announcement,
    note_announcement,
)

Value = TypeVar("Value")

SAME_KEY_SECONDS = 0.5
"""A terminal and torchrun may both pass on one Ctrl-C; after so long, it is another one, which means at once."""
WAIT_SECONDS = 1.0
"""How long after the signal a batch that is on its way is waited for."""
POLL_SECONDS = 0.2
STDERR_DESCRIPTOR = 2
LAUNCHER_SECONDS = 1.0
"""How often a rank looks whether torchrun still lives."""


class Stopped(SystemExit):
    """The end of a run that was stopped between two steps, and saved; its exit code tells Ctrl-C from other signals."""

    def __init__(self, signal_name: str) -> None:
        super().__init__(INTERRUPTED_EXIT_CODE if signal_name == "SIGINT" else STOPPED_EXIT_CODE)


class StopRequest:
    """Whether a signal has asked this process to stop.

    Args:
        on_interrupt: says at once, in a signal handler, that Ctrl-C was heard.
    """

    def __init__(self, on_interrupt: Callable[[], None] | None = None) -> None:
        self.signal_name: str | None = None
        """`SIGTERM`; None as long as there was none."""
        self._since = 0.0
        self._on_interrupt = on_interrupt

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Remember the signals instead of dying of them; only the main thread can, others leave them as they are."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        is_in_background = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # of a shell, whose Ctrl-C is for others
        expect_announcement()
        numbers = [number for number in SIGNALS if not (is_in_background and number == signal.SIGINT)]
        before = {number: signal.signal(number, self._take) for number in numbers}
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
            note_announcement()
            if number == signal.SIGINT and self._on_interrupt is not None:
                self._on_interrupt()
        elif number != signal.SIGINT:
            end_unless_repeated(number)
        elif now - self._since > SAME_KEY_SECONDS:
            signal.signal(number, signal.default_int_handler)
            os.kill(os.getpid(), number)


def promise_to_save() -> None:
    """Answer Ctrl-C at once, from a signal handler, which may have interrupted Python's own streams."""
    os.write(STDERR_DESCRIPTOR, b"\nfinishing this step and saving; Ctrl-C again ends at once\n")


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
        """The next item; None if there is a request to stop. Raises what the iterator raises, unless it is asked to.

        An error after the request may well come of it: a loader's process that the same signal has ended.
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


@contextmanager
def stopping_with_launcher() -> Iterator[None]:
    """Ask this rank to stop, by SIGTERM, when the torchrun that began it is gone, and with it who would end it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
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
