"""A Ray cluster builds the bytes that one machine builds, although it loses a machine on the way."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers_shards import build_config, contents, make_source

from shardify.build_config import BuildConfig
from shardify.errors import UsageError, WorkError
from shardify.ray_engine import run_on_ray
from shardify.run import build
from shardify.writer import Report, VideoDone

pytestmark = [
    pytest.mark.slow,
    # Ray leaves files and sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines of one core each, played by two raylets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where workers find this module
        from ray.cluster_utils import Cluster

        options: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100_000_000}
        cluster: Any = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
        cluster.add_node(**options)
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
        cluster.shutdown()


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """A task that only says that it was done."""

    number: int
    fails: bool = False

    def write(self, report: Report) -> None:
        if self.fails:
            raise WorkError(f"task {self.number} cannot be done")
        report(VideoDone(num_frames=self.number))


def test_the_same_bytes_as_from_one_machine(cluster: Any, tmp_path: Path) -> None:
    source = make_source(tmp_path / "source")
    build(build_config(source, tmp_path / "local"))
    summary = build(build_config(source, tmp_path / "ray"), engine="ray")
    assert summary.num_shards_written == summary.num_shards > 1
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_tasks_are_drawn_as_there_is_room(cluster: Any) -> None:
    drawn, done, most = 0, 0, 0

    def tasks() -> Iterator[Nothing]:
        nonlocal drawn, most
        for number in range(1, 61):
            drawn += 1
            most = max(most, drawn - done)
            yield Nothing(number=number)

    frames = []

    def report(video: VideoDone) -> None:
        nonlocal done
        done += 1
        frames.append(video.num_frames)

    run_on_ray(tasks(), report)
    assert sorted(frames) == list(range(1, 61))
    assert most <= 3 * 2 + 1


def test_an_error_of_the_work_comes_back_as_it_is(cluster: Any) -> None:
    with pytest.raises(WorkError, match=r"^task 2 cannot be done$"):
        run_on_ray([Nothing(number=number, fails=number == 2) for number in range(1, 4)], lambda _: None)


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UsageError, match=r"no Ray cluster can be joined: nothing answers at 127.0.0.1:1 .*RAY_ADDRESS"):
        run_on_ray([], lambda _: None)


def test_a_machine_is_lost_half_way_through_ucf101_8(cluster: Any, data_dir: Path, tmp_path: Path) -> None:
    source = {
        "kind": "ucf101",
        "videos": str(data_dir / "ucf101-8" / "videos"),
        "lists": str(data_dir / "ucf101-8" / "ucfTrainTestlist"),
    }

    def config(name: str) -> BuildConfig:
        frames = {"height": 64, "width": 86}
        values = {"source": source, "out": str(tmp_path / name), "videos_per_shard": 32, "frames": frames}
        return BuildConfig.model_validate(values)

    build(config("local"))
    expected = contents(tmp_path / "local")
    num_shards = sum(name.endswith(".tar") for name in expected)
    node = cluster.list_all_nodes()[-1]
    lost = threading.Event()

    def lose_a_machine() -> None:
        while len(list((tmp_path / "ray").glob("shard-*.json"))) < num_shards // 2:
            time.sleep(0.05)
        for processes in node.live_processes():
            os.kill(processes[1].pid, signal.SIGKILL)
        lost.set()

    killer = threading.Thread(target=lose_a_machine, daemon=True)
    killer.start()
    summary = build(config("ray"), engine="ray")
    assert lost.is_set()
    killer.join()
    assert summary.num_samples == 704
    assert contents(tmp_path / "ray") == expected
