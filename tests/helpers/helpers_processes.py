"""Commands in processes of their own, under torchrun or without, and their sudden ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 900
"""Only a command that hangs takes so long, on a loaded machine too."""


def start(module: str, *words: object, ranks: int = 1) -> subprocess.Popen[str]:
    """`python -m MODULE WORDS`, under torchrun for several ranks."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", module, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed, and what it said; the exit code is left in the process."""
    return process.communicate(timeout=SECONDS)


def kill_when(process: subprocess.Popen[str], path: Path) -> None:
    """SIGKILL every process of a command as soon as a file exists."""
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert process.poll() is None, (process.returncode, *process.communicate())
        assert time.monotonic() < deadline
        time.sleep(0.005)
    kill_all(process)


def kill_all(process: subprocess.Popen[str]) -> None:
    """SIGKILL a process and all that it started."""
    for pid in [*descendants(process.pid), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()


def descendants(pid: int) -> list[int]:
    """Processes that a process started, and theirs; torchrun gives each rank a session of its own."""
    children = [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]
    return [each for child in children for each in (child, *descendants(child))]
