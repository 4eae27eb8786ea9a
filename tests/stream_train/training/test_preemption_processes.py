"""Stop requests and sudden ends with real processes: trainers, their loaders, ranks, torchrun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from helpers_fault_proxy import FaultProxy
from helpers_processes import descendants, finish, start
from helpers_s3 import S3Server
from helpers_training import VALIDATED, assert_same_run, tiny_values

from shardify.config import load_config
from shardify.process import STOPPED_EXIT_CODE
from shardify.storage import open_store
from stream_train.training.checkpoint import CheckpointFolder
from stream_train.training.config import PretrainConfig
from stream_train.training.loop import pretrain

pytestmark = pytest.mark.slow

FOURTH = "checkpoint-00000016.pt"


def write_config(folder: Path, shards: Path | str, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    values = tiny_values(shards, folder / "run", **({"epochs": 24} | changes))
    values["validation"] = VALIDATED | {"every_epochs": 6}
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return folder / "config.yaml"


@pytest.fixture(scope="module")
def whole_runs(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs of one process without loaders, and of two ranks, that nobody stops."""
    alone, ranks = (tmp_path_factory.mktemp("whole") for _ in range(2))
    pretrain(load_config(PretrainConfig, str(write_config(alone, small_dataset))))
    process = start("stream_train", "pretrain", write_config(ranks, small_dataset), ranks=2)
    _, said = finish(process)
    assert process.returncode == 0, said
    return {1: alone / "run", 2: ranks / "run"}


def wait_for(path: Path, process: Any) -> None:
    deadline = time.monotonic() + 600
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def require_end(pids: list[int], seconds: float) -> None:
    """Fail, and end them, if any of some processes lives longer."""
    deadline = time.monotonic() + seconds
    while alive := [pid for pid in pids if is_alive(pid)]:
        if time.monotonic() > deadline:
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"{len(alive)} of {len(pids)} processes were left")
        time.sleep(0.05)


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """As many busy processes as cores."""
    count = len(os.sched_getaffinity(0))
    loads = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for load in loads:
            load.kill()
            load.wait()


@pytest.mark.usefixtures("busy_machine")
def test_a_process_that_is_stopped_while_its_loader_is_at_work_never_aborts(
    small_dataset: Path, tmp_path: Path
) -> None:
    """A batch of 600 clips is on its way, in native code much of the time, when the others of the process end."""
    for number in range(2):
        changes = {"data__videos_per_batch": 150, "checkpoint__every_steps": 1, "epochs": 4000}
        config = write_config(tmp_path / str(number), small_dataset, **changes)
        process = start("stream_train", "pretrain", config)
        wait_for(tmp_path / str(number) / "run" / "checkpoint-00000002.pt", process)
        process.send_signal(signal.SIGTERM)
        _, said = finish(process)
        assert process.returncode == STOPPED_EXIT_CODE, said
        assert said.splitlines()[-1].startswith("stopped by SIGTERM after step "), said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_to_a_process_and_all_its_loaders(
    small_dataset: Path, whole_runs: dict[int, Path], tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a job system or a terminal sends it; the loaders must not die before their main process has saved."""
    broken = write_config(tmp_path, small_dataset, data__num_workers=2)
    with TemporaryDirectory() as temporary, monkeypatch.context() as patches:  # sockets' paths must be short
        patches.setenv("TMPDIR", temporary)
        process = start("stream_train", "pretrain", broken)
        wait_for(tmp_path / "run" / FOURTH, process)
        for pid in [*descendants(process.pid), process.pid]:
            os.kill(pid, number)
        _, said = finish(process)
        assert list(Path(temporary).iterdir()) == []
    assert process.returncode == (130 if number == signal.SIGINT else STOPPED_EXIT_CODE), said
    assert f"stopped by {signal.Signals(number).name} after step " in said
    assert ("\nfinishing this step and saving; Ctrl-C again ends at once\n" in said) == (number == signal.SIGINT)
    assert "Traceback" not in said
    assert "error" not in said
    process = start("stream_train", "pretrain", broken)
    _, said = finish(process)
    assert process.returncode == 0, said
    assert_same_run(tmp_path / "run", whole_runs[1])


def test_ctrl_c_twice_ends_at_once(small_dataset: Path, tmp_path: Path) -> None:
    """Here in a step whose batch does not come, since its loaders stand still."""
    config = write_config(tmp_path, small_dataset, data__num_workers=2, epochs=4000, checkpoint__every_steps=2)
    process = start("stream_train", "pretrain", config)
    wait_for(tmp_path / "run" / "checkpoint-00000002.pt", process)
    before = CheckpointFolder(folder=tmp_path / "run").steps()
    process.send_signal(signal.SIGSTOP)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.1)
    _, said = finish(process)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert CheckpointFolder(folder=tmp_path / "run").steps()[-1] >= before[-1]


@pytest.mark.parametrize(
    ("to_all", "number"), [(False, signal.SIGTERM), (True, signal.SIGINT)], ids=["SIGTERM to one rank", "Ctrl-C to all"]
)
def test_a_signal_to_one_of_several_ranks_stops_all(
    small_dataset: Path, whole_runs: dict[int, Path], tmp_path: Path, to_all: bool, number: int
) -> None:
    """Directly to the last rank, or to torchrun, which passes it on; either way its exit code is 1."""
    broken = write_config(tmp_path, small_dataset)
    process = start("stream_train", "pretrain", broken, ranks=2)
    wait_for(tmp_path / "run" / FOURTH, process)
    os.kill(process.pid if to_all else descendants(process.pid)[-1], number)
    _, said = finish(process)
    assert process.returncode == 1, said
    assert said.count(f"stopped by {signal.Signals(number).name} after step ") == 1
    steps = CheckpointFolder(folder=tmp_path / "run").steps()
    process = start("stream_train", "pretrain", broken, ranks=2)
    _, said = finish(process)
    assert process.returncode == 0, said
    assert f"after step {steps[-1]} of" in said
    assert_same_run(tmp_path / "run", whole_runs[2])


def test_kill_9_of_torchrun_lets_its_ranks_save_and_end(small_dataset: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, small_dataset, epochs=4000, checkpoint__every_steps=8)
    process = start("stream_train", "pretrain", config, ranks=2)
    wait_for(tmp_path / "run" / FOURTH, process)
    ranks = descendants(process.pid)
    assert len(ranks) >= 2
    process.kill()
    require_end(ranks, seconds=30)
    assert "stopped by SIGTERM after step " in process.communicate()[1]
    process = start("stream_train", "pretrain", config, ranks=2)  # nobody holds the run any more
    wait_for(tmp_path / "run" / "metrics.jsonl", process)
    process.send_signal(signal.SIGTERM)
    _, said = finish(process)
    assert "another process is training" not in said


def copy_dataset(source: Path, url: str) -> None:
    store = open_store(url)
    for name in open_store(source).names():
        store.write(name, open_store(source).read(name))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_to_all_while_a_bucket_does_not_answer(
    small_dataset: Path, tmp_path: Path, s3_server: S3Server, s3_url: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fork server gets it, too, whose end would be that of the loaders; and nothing is left in /tmp."""
    copy_dataset(small_dataset, s3_url)
    with TemporaryDirectory() as temporary, FaultProxy(s3_server.endpoint) as proxy:  # sockets' paths must be short
        monkeypatch.setenv("TMPDIR", temporary)
        s3_server.set_environment(monkeypatch, proxy.endpoint)
        changes = {"epochs": 4000, "data__num_workers": 2, "data__reader": {"access": "ranged"}}
        config = write_config(tmp_path, s3_url, **changes)
        process = start("stream_train", "pretrain", config)
        wait_for(tmp_path / "run" / FOURTH, process)
        proxy.delay(60, times=1000, path="*.tar")
        time.sleep(2.0)
        family = descendants(process.pid)
        assert len(family) >= 4  # the loaders, fork server and resource tracker
        for pid in [*family, process.pid]:
            os.kill(pid, number)
        _, said = finish(process)
        assert process.returncode == (130 if number == signal.SIGINT else STOPPED_EXIT_CODE), said
        assert said.splitlines()[-1].startswith(f"stopped by {signal.Signals(number).name} after step "), said
        require_end(family, seconds=8)
        assert list(Path(temporary).glob("pymp-*")) == []


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_kill_9_of_a_trainer_ends_its_loaders_though_they_wait(
    small_dataset: Path, tmp_path: Path, s3_server: S3Server, s3_url: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forked from the trainer, or, for a bucket, from a fork server, and then in the middle of a read that hangs."""
    if place == "bucket":
        copy_dataset(small_dataset, s3_url)
    with FaultProxy(s3_server.endpoint) as proxy:
        s3_server.set_environment(monkeypatch, proxy.endpoint)
        changes = {"epochs": 4000, "data__num_workers": 2, "data__reader": {"access": "ranged"}}
        config = write_config(tmp_path, small_dataset if place == "folder" else s3_url, **changes)
        process = start("stream_train", "pretrain", config)
        wait_for(tmp_path / "run" / FOURTH, process)
        if place == "bucket":
            proxy.delay(60, times=1000, path="*.tar")
            time.sleep(1.0)
        family = descendants(process.pid)
        assert len(family) >= (2 if place == "folder" else 4)  # the loaders, fork server and resource tracker
        process.kill()
        require_end(family, seconds=8)
        process.communicate()
