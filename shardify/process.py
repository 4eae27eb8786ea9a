"""How a command's process ends: soon, with one exit code, even if its threads still wait.

SIGTERM and SIGUSR1 ask a process to stop; it then exits with 75. Repeated signals change nothing. The first Ctrl-C also
asks, and the exit code is 130; a second Ctrl-C ends the process at once. Under torchrun it only asks, because one
Ctrl-C may come twice: from the terminal and from torchrun. In: signals, or an exit code. Out: an exit code.
"""

from __future__ import annotations

import atexit
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

FAILED_EXIT_CODE = 1
INTERRUPTED_EXIT_CODE = 130
STOPPED_EXIT_CODE = 75
"""EX_TEMPFAIL: a signal stopped the command; the same command continues."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""Kubernetes, spot machines, torchrun and Slurm send SIGTERM; Slurm's `--signal` sends SIGUSR1."""
SIGNALS = (*STOP_SIGNALS, signal.SIGINT)
LEAVE_SECONDS = 3.0
"""How long exit handlers (atexit) may take after a failure."""
WORKER_GRACE_SECONDS = 60
"""How long a loader's process lives after SIGTERM. Its main process gets the same signal and ends it sooner."""

_is_asked = False


class Terminated(KeyboardInterrupt):
    """The process was asked to stop. It is a KeyboardInterrupt: the same clean-up runs as after Ctrl-C."""

    def __init__(self, signal_name: str = "SIGTERM") -> None:
        super().__init__(signal_name)
        self.signal_name = signal_name


def set_asked(value: bool) -> None:
    """Set whether this process was asked to stop."""
    global _is_asked  # noqa: PLW0603 - signals belong to the whole process
    _is_asked = value


def end_unless_asked(number: int, _: FrameType | None = None) -> None:
    """A signal handler for when no other is set. It ends the process, unless a stop request came before."""
    if not _is_asked:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


@contextmanager
def handling(numbers: tuple[signal.Signals, ...], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle some signals with `handler`. Does nothing outside the main thread: only that can set handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    set_asked(False)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


@contextmanager
def terminable() -> Iterator[None]:
    """Turn the first SIGTERM or SIGUSR1 into :class:`Terminated`."""
    came: list[str] = []

    def answer(number: int, _: FrameType | None) -> None:
        if not _is_asked:
            set_asked(True)
            came.append(signal.Signals(number).name)
            raise Terminated(came[0])

    with handling(STOP_SIGNALS, answer):
        try:
            yield
        except KeyboardInterrupt:
            if came:  # Ray replaces the handler's exception by its own
                raise Terminated(came[0]) from None
            raise


def answer_interrupt(interrupt: KeyboardInterrupt) -> int:
    """Print once on each machine why the command ended; returns its exit code."""
    what, exit_code = "interrupted", INTERRUPTED_EXIT_CODE
    if isinstance(interrupt, Terminated):
        what, exit_code = f"stopped by {interrupt.signal_name}", STOPPED_EXIT_CODE
    if is_first_process():
        sys.stderr.write(f"{what}; the same command goes on from what is saved\n")
    return exit_code


def is_under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first_process() -> bool:
    """Whether this is torchrun's first process on the machine, or runs without torchrun."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


_commands: list[int] = []
"""Ids of the processes that run a command; a forked child inherits its parent's entries."""


@contextmanager
def as_command() -> Iterator[None]:
    """Mark this process as one that a user started, unlike the child processes that work for it."""
    _commands.append(os.getpid())
    try:
        yield
    finally:
        _commands.pop()


def is_command() -> bool:
    """Whether this process runs a command."""
    return os.getpid() in _commands


def run_process(command: Callable[[], object]) -> None:
    """Run a command, then end this process; after a failure at once, even if threads still wait.

    Under torchrun also after success: gloo's threads may free tensors while Python ends, and that aborts the process.
    The command may begin with long imports: signals are handled already.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, end_unless_asked)
    try:
        with terminable():
            command()
    except SystemExit as end:
        if end.code in (None, 0):
            if is_under_torchrun():
                leave(0)
            raise
        if not isinstance(end.code, int):
            sys.stderr.write(f"{end.code}\n")
        leave(end.code if isinstance(end.code, int) else FAILED_EXIT_CODE)
    except KeyboardInterrupt as interrupt:
        leave(answer_interrupt(interrupt))
    except Exception:  # noqa: BLE001 - shown as Python would show it
        sys.excepthook(*sys.exc_info())
        leave(FAILED_EXIT_CODE)


def leave(exit_code: int) -> NoReturn:
    """End this process and its children; the caller has saved everything.

    Python's own exit would wait for all threads, perhaps minutes for a store that does not answer. It would also free
    memory that daemon threads still use in native code; that aborts the process.
    """
    limit = threading.Timer(LEAVE_SECONDS, _end, (exit_code,))
    limit.daemon = True
    limit.start()
    with suppress(ValueError):  # not the main thread
        for number in SIGNALS:  # a signal must not change the exit code now
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # otherwise torch reports the loaders that are killed here
    for child in multiprocessing.active_children():
        child.kill()
    atexit._run_exitfuncs()  # noqa: SLF001 - the needed part of Python's exit: semaphores, temporary files
    _end(exit_code)


def _end(exit_code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the reader is gone
            stream.flush()
    os._exit(exit_code)


def start_resource_tracker() -> None:
    """Start multiprocessing's resource tracker with SIGTERM and SIGUSR1 blocked.

    Otherwise a SIGUSR1 to all processes would end it, and the next tracker would complain about unknown resources.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        multiprocessing.resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outlive_stop_signals() -> None:
    """Keep a loader's process alive: its main process gets the same signal and needs it until it has saved."""

    def end_later(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.alarm(WORKER_GRACE_SECONDS)

    signal.signal(signal.SIGTERM, end_later)
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def end_with_parent() -> None:
    """End this process as soon as its parent has ended, even by SIGKILL and with a fork server in between."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True, name="parent").start()


def _end_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
