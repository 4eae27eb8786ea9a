"""Builds killed, interrupted or doubled, as real processes: nothing half-done counts, a rerun ends the same."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers_shards import build_config, build_values, contents

from shardify.build.run import build
from shardify.frames.ffmpeg_command import ffmpeg_binary
from shardify.shards.manifest import read_manifest
from shardify.storage import open_store

pytestmark = pytest.mark.slow

START_SECONDS = 300.0
"""Time for a build to begin on a busy machine."""


@pytest.fixture
def slow_config(source: Path, tmp_path: Path) -> Path:
    """A build on two workers whose every video takes a quarter of a second more, or very long while `hold` exists."""
    slow, hold = tmp_path / "slow-ffmpeg", shlex.quote(str(tmp_path / "hold"))
    pause = f"if [ -e {hold} ]; then exec sleep 20; else sleep 0.25; fi"
    real = shlex.quote(ffmpeg_binary())
    slow.write_text(f'#!/bin/sh\ncase "$*" in *-version*) ;; *) {pause} ;; esac\nexec {real} "$@"\n')
    slow.chmod(0o755)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(build_values(source, tmp_path / "out", workers=2, frames={"ffmpeg": str(slow)})))
    return config


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start builds as a shell would, each in a process group of its own; none survives the test."""
    processes = []

    def run(config: Path, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "shardify", "build", str(config), *words]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        heed_ctrl_c = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # also where the tests ignore it
        processes.append(subprocess.Popen(command, **pipes, start_new_session=True, preexec_fn=heed_ctrl_c))  # noqa: PLW1509
        return processes[-1]

    yield run
    for process in processes:
        with contextlib.suppress(ProcessLookupError):  # its workers are of its group, and may have outlived it
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until(condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def half_done(out: Path) -> bool:
    """Some shard is there, others are being written."""
    return any(out.glob("shard-*.json")) and any(out.glob(".shard-*.tmp"))


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Worker processes: children of the build that were spawned by multiprocessing."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [pid for pid in map(int, children) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def finish_with_plain_ffmpeg(config: Path, built: dict[str, bytes]) -> None:
    """The same command again; afterwards the data set is the one of an uninterrupted build."""
    out = config.parent / "out"
    left = {name: data for name, data in contents(out).items() if name.startswith("shard-")}
    values = yaml.safe_load(config.read_text())
    values["frames"].pop("ffmpeg")
    config.write_text(yaml.safe_dump(values))
    done = subprocess.run(
        [sys.executable, "-m", "shardify", "build", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "are there already" in done.stderr
    assert contents(out) == built
    assert left.items() <= built.items()
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == [".lock"]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds worker processes in /proc")
@pytest.mark.parametrize("to_all", [False, True], ids=["build", "process group"])
def test_kill_9(slow_config: Path, start: Start, built: dict[str, bytes], to_all: bool) -> None:
    out = slow_config.parent / "out"
    process = start(slow_config)
    wait_until(lambda: half_done(out))
    workers = workers_of(process)
    assert len(workers) == 2
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(map(is_alive, workers)), seconds=5)
    assert not (out / "manifest.json").exists()
    assert contents(out) != built
    finish_with_plain_ffmpeg(slow_config, built)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds worker processes in /proc")
def test_a_killed_worker_ends_the_build_with_one_line(slow_config: Path, start: Start, built: dict[str, bytes]) -> None:
    out = slow_config.parent / "out"
    process = start(slow_config)
    wait_until(lambda: half_done(out))
    os.kill(workers_of(process)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("error: a worker process was killed (out of memory?)")
    assert "Traceback" not in errors
    assert not list(out.glob(".*.tmp"))
    finish_with_plain_ffmpeg(slow_config, built)


ENDS = {
    signal.SIGINT: (130, "interrupted"),
    signal.SIGTERM: (75, "stopped by SIGTERM"),
    signal.SIGUSR1: (75, "stopped by SIGUSR1"),
}


@pytest.mark.parametrize(
    ("variant", "number"),
    [*(("one", number) for number in ENDS), ("all", signal.SIGINT), ("all", signal.SIGUSR1), ("ray", signal.SIGINT)],
)
def test_a_signal_ends_the_build_at_once_and_clean(
    slow_config: Path,
    start: Start,
    built: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    variant: str,
) -> None:
    exit_code, said = ENDS[number]
    out = slow_config.parent / "out"
    monkeypatch.setenv("RAY_ADDRESS", "local")
    process = start(slow_config, *(["--engine", "ray"] if variant == "ray" else []))
    wait_until(lambda: half_done(out))
    (slow_config.parent / "hold").touch()
    time.sleep(0.5)
    (os.kill if variant == "one" else os.killpg)(process.pid, number)
    output, errors = process.communicate(timeout=20)  # though the videos at hand would take longer
    assert (process.returncode, output) == (exit_code, "")
    lines = [line for line in errors.splitlines() if not line.startswith("Ray at ") and "videos/s" not in line]
    assert lines == [f"{said}; the same command goes on from what is saved"]
    if variant != "ray":
        assert not list(out.glob(".*.tmp"))
    finish_with_plain_ffmpeg(slow_config, built)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_build_of_archives_goes_on(
    slow_config: Path, start: Start, archived_source: Path, archived_shards: Path, number: int
) -> None:
    out = slow_config.parent / "out"
    values = yaml.safe_load(slow_config.read_text())
    values["source"] |= {"videos": str(archived_source / "archives"), "lists": str(archived_source / "lists")}
    slow_config.write_text(yaml.safe_dump(values | {"workers": 1}))
    process = start(slow_config)
    wait_until(lambda: any(out.glob("window-*.json")))
    (slow_config.parent / "hold").touch()
    time.sleep(1)
    os.killpg(process.pid, number)
    process.communicate(timeout=10)  # though the videos at hand would take longer
    assert not (out / "manifest.json").exists()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert not list(out.glob(".*.tmp"))
    finish_with_plain_ffmpeg(slow_config, contents(archived_shards))


def test_a_second_build_into_the_same_folder_is_refused(slow_config: Path, start: Start) -> None:
    out = slow_config.parent / "out"
    first = start(slow_config)
    wait_until(lambda: half_done(out))
    second = start(slow_config)
    _, errors = second.communicate(timeout=START_SECONDS)
    assert second.returncode == 1
    holder = f"process {first.pid} on {socket.gethostname()}"
    assert (
        errors.splitlines()[-1]
        == f"error: another process ({holder}) is building in {out}; wait for it, stop it, or give another out"
    )
    first.communicate(timeout=START_SECONDS)
    assert first.returncode == 0


def test_kill_during_a_retry(
    source: Path, slow_config: Path, start: Start, built: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard that is being replaced is at no time a record of other bytes."""
    out = slow_config.parent / "out"
    hidden = Path(shutil.copytree(source, slow_config.parent / "source"))
    values = yaml.safe_load(slow_config.read_text())
    values["source"] = build_values(hidden, out)["source"]
    values["max_rejected_share"] = 1.0
    slow_config.write_text(yaml.safe_dump(values))
    noise = sorted((hidden / "videos").rglob("*_c01.avi"))
    for path in noise:
        path.write_bytes(b"noise " * 100)
    build(build_config(hidden, out, max_rejected_share=1.0))
    for path in noise:
        shutil.copyfile(source / path.relative_to(hidden), path)

    command = [sys.executable, "-m", "shardify", "build", str(slow_config), "--retry-failed"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    first_tar = out / "shard-000000.tar"
    try:
        wait_until(lambda: first_tar.read_bytes() == built[first_tar.name])
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (out / "manifest.json").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert contents(out) == built
    assert read_manifest(open_store(out)).num_rejected == 0
