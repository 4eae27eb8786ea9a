"""How a command's process ends: one exit code, soon, whatever its threads and children wait for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from shardify.command import CommandGroup
from shardify.errors import UsageError, WorkError
from shardify.frames import decoding as frames
from shardify.frames.ffmpeg_log import FfmpegLog
from shardify.process import STOPPED_EXIT_CODE, Terminated, answer_interrupt, terminable

PROGRAM = """
import multiprocessing, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import click
from shardify.cli import CommandGroup
from shardify.errors import UsageError, WorkError
from shardify.process import run_process

@click.group(cls=CommandGroup)
def main(): ...

@main.command()
def work():
    ThreadPoolExecutor(1).submit(time.sleep, 60)
    threading.Thread(target=time.sleep, args=(60,)).start()
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)).start()
    print("at work", flush=True)
    {end}

sys.argv[1:] = ["work"]
run_process(main)
"""


def begin(end: str, **environment: str) -> subprocess.Popen[str]:
    """Start a command that ends while its threads and a child still wait."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(end=end)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def test_exit_codes_that_users_rely_on() -> None:
    """Job files and users' scripts test for these numbers."""
    assert answer_interrupt(Terminated("SIGTERM")) == answer_interrupt(Terminated("SIGUSR1")) == 75
    assert answer_interrupt(KeyboardInterrupt()) == 130


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "exit_code", "last_line"),
    [
        ("raise WorkError('it failed')", 1, "error: it failed"),
        ("raise UsageError('it is wrong')", 2, "error: it is wrong"),
        ("sys.exit(75)", 75, ""),
        ("sys.exit('words')", 1, "words"),
        ("1 // 0", 1, "ZeroDivisionError: integer division or modulo by zero"),
        ("raise KeyboardInterrupt", 130, "interrupted; the same command goes on from what is saved"),
    ],
)
def test_a_failure_waits_for_no_thread(end: str, exit_code: int, last_line: str) -> None:
    started = time.monotonic()
    process = begin(end)
    output, said = process.communicate(timeout=50)  # the child, which also holds the pipes, is gone too
    assert time.monotonic() - started < 30
    assert process.returncode == exit_code
    assert output == "at work\n"
    assert (said.splitlines() or [""])[-1] == last_line
    assert ("Traceback" in said) == (end == "1 // 0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "exit_code", "line"),
    [
        (signal.SIGTERM, 75, "stopped by SIGTERM; the same command goes on from what is saved\n"),
        (signal.SIGUSR1, 75, "stopped by SIGUSR1; the same command goes on from what is saved\n"),
        (signal.SIGINT, 130, "interrupted; the same command goes on from what is saved\n"),
    ],
)
def test_signals_end_a_command_with_one_line(number: int, exit_code: int, line: str) -> None:
    process = begin("time.sleep(60)")
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("", line)
    assert process.returncode == exit_code


REPEATED = """
import atexit, sys, time
import click
from shardify.cli import CommandGroup
from shardify.process import run_process
from stream_train.training.preemption import Stopped, StopRequest

atexit.register(time.sleep, 2.0)

@click.group(cls=CommandGroup)
def main(): ...

@main.command()
def work():
    with StopRequest().listening() as request:
        print("at work", flush=True)
        while not request.is_made():
            time.sleep(0.01)
    print("stopped", flush=True)
    time.sleep(1.0)
    raise Stopped(request.signal_name)

sys.argv[1:] = ["work"]
run_process(main)
"""


@pytest.mark.slow
def test_repeated_stop_signals_are_one_request() -> None:
    """In the loop, after it, and while the process cleans up."""
    process = subprocess.Popen(
        [sys.executable, "-c", REPEATED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    for number in range(2000):
        process.send_signal((signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1)[number % 3])
        time.sleep(0.005)
        if process.poll() is not None:
            break
    assert process.communicate(timeout=30) == ("stopped\n", "")
    assert process.returncode == STOPPED_EXIT_CODE


@pytest.mark.slow
def test_a_signal_while_the_command_is_imported(tmp_path: Path) -> None:
    """PyTorch takes seconds, and longer from a shared disk."""
    (tmp_path / "torch.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    config = Path(__file__).parents[2] / "configs" / "pretrain" / "demo.yaml"
    process = subprocess.Popen(
        [sys.executable, "-m", "stream_train", "pretrain", str(config), "--set", f"shards={tmp_path}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGUSR1)
    assert process.communicate(timeout=30) == ("", "stopped by SIGUSR1; the same command goes on from what is saved\n")
    assert process.returncode == STOPPED_EXIT_CODE


ABORTS_LATE = """
import atexit, os, sys
from shardify.process import run_process

class Aborts:
    def __del__(self, abort=os.abort):
        abort()

kept = Aborts()
atexit.register(print, "cleaned up")
run_process(lambda: sys.exit(0))
"""


@pytest.mark.slow
def test_under_torchrun_a_command_ends_before_python_frees_what_is_left() -> None:
    """There, gloo's threads may abort the process (torch 2.15)."""
    found = []
    for environment in ({}, {"TORCHELASTIC_RUN_ID": "none"}):
        command = [sys.executable, "-c", ABORTS_LATE]
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
        found.append((result.returncode, result.stdout))
    assert found == [(-signal.SIGABRT, "cleaned up\n"), (0, "cleaned up\n")]


HEAVY = {"torch", "torchvision", "sklearn", "scipy", "matplotlib", "webdataset", "tensorboard", "ray", "boto3"}
COUNT = """
import sys
from {package}.__main__ import _run
sys.argv[1:] = {words!r}
try:
    _run()
except SystemExit as end:
    print(*({heavy!r} & set(sys.modules)), file=sys.stderr)
    raise
"""


@pytest.mark.parametrize(
    ("package", "words", "exit_code"),
    [
        ("shardify", ["--help"], 0),
        ("stream_train", ["--help"], 0),
        ("eval", ["--help"], 0),
        ("shardify", ["build", "configs/shards/demo.yaml", "--set", "no.key=1"], 2),
        ("stream_train", ["pretrain", "configs/pretrain/demo.yaml", "--set", "no.key=1"], 2),
        ("eval", ["probe", "configs/eval/demo.yaml", "--set", "no.key=1"], 2),
        ("eval", ["features", "videos", "run", "--out", "a.npz", "--set", "no.key=1"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_no_heavy_library_is_imported_before_it_is_needed(package: str, words: list[str], exit_code: int) -> None:
    program = COUNT.format(package=package, words=words, heavy=HEAVY | ({"numpy"} if "--help" in words else set()))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == exit_code, done.stderr
    assert done.stderr.splitlines()[-1] == ""


def test_another_program_may_run_a_command_and_goes_on() -> None:
    """A command raises its exit code, as click's do; programming errors stay what they are."""
    for error, code in ((WorkError("it failed"), 1), (SystemExit("words"), "words"), (SystemExit(75), 75)):
        with pytest.raises(SystemExit) as caught:
            failing(error)(["fail"])
        assert caught.value.code == code
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())(["fail"])


@pytest.mark.parametrize("package", ["shardify", "stream_train", "eval"])
def test_modules_and_console_scripts_run_the_same(package: str) -> None:
    name = {"stream_train": "stream-train", "eval": "video-eval"}.get(package, package)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"][name] == f"{package}.__main__:run"


@pytest.mark.slow
@pytest.mark.parametrize("module", ["shardify", "stream_train", "eval"])
def test_help_names_the_console_script(module: str) -> None:
    name = {"stream_train": "stream-train", "eval": "video-eval"}.get(module, module)
    for command in ([sys.executable, "-m", module], [str(Path(sys.executable).with_name(name))]):
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"Usage: {name} [OPTIONS]")


def test_ctrl_c_while_the_reader_of_ffmpeg_s_log_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader may start after the pipe is closed; either way ffmpeg ends and Ctrl-C is raised."""
    begun: list[subprocess.Popen[bytes]] = []

    class Interrupted(threading.Thread):
        def start(self) -> None:
            begun.extend(frames._running)
            raise KeyboardInterrupt

    log = FfmpegLog(source="any.avi")
    with monkeypatch.context() as patches:
        patches.setattr("shardify.frames.decoding.threading.Thread", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            frames._run(["sleep", "60"], log, 60).__enter__()
    assert [process.returncode for process in begun] == [-signal.SIGKILL]
    stream = begun[0].stderr
    assert stream is not None
    assert stream.closed
    frames._read_log(log, stream)


def test_a_second_sigterm_does_not_disturb_the_clean_up() -> None:
    cleared = []

    def work() -> None:
        with terminable():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                cleared.append(True)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated):
        work()
    assert cleared
    assert signal.getsignal(signal.SIGTERM) == before


def test_other_threads_leave_sigterm_alone() -> None:
    found = []

    def listen() -> None:
        with terminable():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize("local_rank", [0, 1])
@pytest.mark.parametrize(
    ("error", "exit_code"), [(UsageError("wrong"), 2), (WorkError("failed"), 1), (KeyboardInterrupt(), 130)]
)
def test_the_first_process_of_a_machine_reports_what_all_find(
    error: BaseException, exit_code: int, local_rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait until torchrun ends them; they still report what only they have found."""
    waited: list[float] = []
    monkeypatch.setattr("shardify.command.time.sleep", waited.append)
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    result = invoke_failing(error, "fail")
    is_said = local_rank == 0 or not isinstance(error, KeyboardInterrupt)
    assert (result.exit_code, len(result.stderr.splitlines())) == (exit_code, is_said)
    assert waited == [10.0] * (local_rank == 1 and isinstance(error, UsageError))
    assert invoke_failing(error, "fail", "--what").exit_code == 2
    assert len(waited) == local_rank * (2 if isinstance(error, UsageError) else 1)


def invoke_failing(error: BaseException, *words: str) -> Any:
    return CliRunner().invoke(failing(error), words)


def failing(error: BaseException) -> CommandGroup:
    @click.group(cls=CommandGroup)
    def group() -> None: ...

    @group.command()
    def fail() -> None:
        raise error

    assert isinstance(group, CommandGroup)
    return group
