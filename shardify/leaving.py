"""How a command's process ends: SIGTERM as an exception, and after a failure without waiting for what nobody needs.

In: a signal, or an exit code. Out: one exit code, soon, whatever threads and child processes are still at.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

INTERRUPTED_EXIT_CODE = 130
TERMINATED_EXIT_CODE = 143
LEAVE_SECONDS = 3.0
"""How long what is registered to be done at the end may take."""
REPEAT_SECONDS = 5.0
"""A job system and a launcher below it may both announce the same end; after so long, a repetition means at once."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where Ctrl-C would be, so that everything is left in the same good order."""


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into :class:`Terminated`; only the main thread can, others leave the signal as it is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[float] = []

    def answer(number: int, _: FrameType | None) -> None:
        came.append(time.monotonic())
        if len(came) == 1:
            raise Terminated
        if came[-1] - came[0] > REPEAT_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, answer)
    try:
        yield
    except KeyboardInterrupt:
        if came:  # Ray raises one of its own instead of what a handler has raised
            raise Terminated from None
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def leave(exit_code: int) -> NoReturn:
    """End this process, and the children that it has left, after all that is worth keeping was saved.

    Python on its own would first wait for all threads, be it minutes for a store that does not answer; and it would
    take itself apart under daemon threads, which aborts the process if one of them is in native code.
    """
    limit = threading.Timer(LEAVE_SECONDS, _end, (exit_code,))
    limit.daemon = True
    limit.start()
    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would report the loaders that are ended here
    for child in multiprocessing.active_children():
        child.kill()
    atexit._run_exitfuncs()  # noqa: SLF001 - the part of Python's own end that is wanted: semaphores, temporary files
    _end(exit_code)


def _end(exit_code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody listens any more
            stream.flush()
    os._exit(exit_code)
