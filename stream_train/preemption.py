"""Signals that announce the end: they are remembered, and answered between two training steps.

In: SIGTERM (Kubernetes, spot machines, torchrun, Slurm) or SIGUSR1 (Slurm's `--signal`). Out: a loop that knows when to
save, and :class:`Stopped`, with which a run ends that is to be continued.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

Value = TypeVar("Value")

STOPPED_EXIT_CODE = 75
"""EX_TEMPFAIL: what a run exits with that was stopped by a signal and is to be continued by the same command."""
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
REPEAT_SECONDS = 5.0
"""A job system and torchrun below it may both announce the same end; after so long, a repetition means at once."""
WORKER_GRACE_SECONDS = 60
"""How long a loader's process lives on after SIGTERM: its main process, which has got the same, ends it before."""


class Stopped(SystemExit):
    """The end of a run that was stopped between two steps, and saved; leaves the process with STOPPED_EXIT_CODE."""

    def __init__(self) -> None:
        super().__init__(STOPPED_EXIT_CODE)


class _WaitOver(BaseException):
    """Raised by a handler to leave a wait; nothing else may catch it."""


class StopRequest:
    """Whether a signal has asked this process to stop."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        """`SIGTERM`; None as long as there was none."""
        self._since = 0.0
        self._is_waiting = False

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

    def or_stop(self, wait: Callable[[], Value]) -> Value | None:
        """What `wait` returns; None as soon as there is a request, in the middle of waiting, too."""
        try:
            try:
                self._is_waiting = True
                return wait() if self.signal_name is None else None
            finally:
                self._is_waiting = False
        except _WaitOver:
            return None

    def _take(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal_name is None:
            self.signal_name, self._since = signal.Signals(number).name, now
        elif now - self._since > REPEAT_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self._is_waiting:
            self._is_waiting = False
            raise _WaitOver


def outlive_announcement() -> None:
    """Keep a loader's process alive while its main process, which has got the same signal, finishes and saves."""

    def end_later(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.alarm(WORKER_GRACE_SECONDS)

    signal.signal(signal.SIGTERM, end_later)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
