"""How a command's process ends: a signal as an exception, and after a failure without waiting for what nobody needs.

In: a signal, or an exit code. Out: one exit code, soon, whatever threads and child processes are still at.
"""

from __future__ import annotations

import atexit
import math
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

FAILED_EXIT_CODE = 1
INTERRUPTED_EXIT_CODE = 130
STOPPED_EXIT_CODE = 75
"""EX_TEMPFAIL: what a command exits with that was stopped by a signal and is to be continued by the same command."""
ANNOUNCEMENTS = (signal.SIGTERM, signal.SIGUSR1)
"""What announces the end: Kubernetes, spot machines, torchrun and Slurm the first, Slurm's `--signal` the second."""
LEAVE_SECONDS = 3.0
"""How long what is registered to be done at the end may take."""
REPEAT_SECONDS = 5.0
"""A job system and a launcher below it may both announce the same end; after so long, a repetition means at once."""


_announced_at = math.inf
"""When the first signal came; one for the process, since who takes a repetition need not have taken the first."""


class Terminated(KeyboardInterrupt):
    """The end was announced; raised where Ctrl-C would be, so that everything is left in the same good order."""

    def __init__(self, signal_name: str = "SIGTERM") -> None:
        super().__init__(signal_name)
        self.signal_name = signal_name


def expect_announcement() -> None:
    """From now on the next signal is a first one."""
    global _announced_at  # noqa: PLW0603 - signals are the process's
    _announced_at = math.inf


def note_announcement() -> None:
    """The first signal is here."""
    global _announced_at  # noqa: PLW0603
    _announced_at = time.monotonic()


def was_announced() -> bool:
    """Whether the end was announced, so that another signal may say the same once more."""
    return _announced_at < math.inf


def end_unless_repeated(number: int, _: FrameType | None = None) -> None:
    """Answer a signal as if nothing handled it, but for one that repeats the first within a few seconds."""
    if not was_announced() or time.monotonic() - _announced_at > REPEAT_SECONDS:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM and SIGUSR1 into :class:`Terminated`; only the main thread can, others leave them as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[str] = []

    def answer(number: int, _: FrameType | None) -> None:
        if was_announced():
            end_unless_repeated(number)
            return
        note_announcement()
        came.append(signal.Signals(number).name)
        raise Terminated(came[0])

    expect_announcement()
    before = {number: signal.signal(number, answer) for number in ANNOUNCEMENTS}
    try:
        yield
    except KeyboardInterrupt:
        if came:  # Ray raises one of its own instead of what a handler has raised
            raise Terminated(came[0]) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def answer_interrupt(interrupt: KeyboardInterrupt) -> int:
    """Say what has ended a command, once on a machine; its exit code."""
    what, exit_code = "interrupted", INTERRUPTED_EXIT_CODE
    if isinstance(interrupt, Terminated):
        what, exit_code = f"stopped by {interrupt.signal_name}", STOPPED_EXIT_CODE
    if is_first_process():
        sys.stderr.write(f"{what}; the same command goes on from what is saved\n")
    return exit_code


def is_first_process() -> bool:
    """Whether torchrun has started this process as the first of the machine, or there is no torchrun."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def run_process(command: Callable[[], object]) -> None:
    """Run a command as all that this process is for: after a failure it ends at once, whatever its threads wait for.

    Args:
        command: may begin with long imports: signals are answered from here on.
    """
    for number in ANNOUNCEMENTS:  # once the answers of the command itself are over; it may be told twice, to end once
        signal.signal(number, end_unless_repeated)
    try:
        with terminable():
            command()
    except SystemExit as end:
        if end.code in (None, 0):
            raise
        if not isinstance(end.code, int):
            sys.stderr.write(f"{end.code}\n")
        leave(end.code if isinstance(end.code, int) else FAILED_EXIT_CODE)
    except KeyboardInterrupt as interrupt:
        leave(answer_interrupt(interrupt))
    except Exception:  # noqa: BLE001 - shown as Python would show it
        sys.excepthook(*sys.exc_info())
        leave(FAILED_EXIT_CODE)


def start_resource_tracker() -> None:
    """Start multiprocessing's, unless it runs, deaf to SIGUSR1, as it makes itself to the other signals.

    If one to all processes ended it, the next, which knows nothing of what was registered, would complain of all that.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ANNOUNCEMENTS)
    try:
        multiprocessing.resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave(exit_code: int) -> NoReturn:
    """End this process, and the children that it has left, after all that is worth keeping was saved.

    Python on its own would first wait for all threads, be it minutes for a store that does not answer; and it would
    take itself apart under daemon threads, which aborts the process if one of them is in native code.
    """
    limit = threading.Timer(LEAVE_SECONDS, _end, (exit_code,))
    limit.daemon = True
    limit.start()
    with suppress(ValueError):  # not the main thread
        for number in (*ANNOUNCEMENTS, signal.SIGINT):  # this is soon over, and its exit code is to be the one it has
            signal.signal(number, signal.SIG_IGN)
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


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


SIGNALS = (*ANNOUNCEMENTS, signal.SIGINT)


WORKER_GRACE_SECONDS = 60
"""How long a loader's process lives on after SIGTERM: its main process, which has got the same, ends it before."""


def outlive_announcement() -> None:
    """Keep a loader's process alive while its main process, which has got the same signal, finishes and saves."""

    def end_later(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.alarm(WORKER_GRACE_SECONDS)

    signal.signal(signal.SIGTERM, end_later)
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def end_with_parent() -> None:
    """End this process as soon as the one that began it is gone, be it by SIGKILL and with a fork server in between."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True, name="parent").start()


def _end_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
