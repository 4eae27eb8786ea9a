"""Which Ray cluster a build joins, what it says at once where there is none, and how many tasks it hands out.

No cluster is started here.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers_shards import build_config

from shardify.build import ray_cluster as ray_engine
from shardify.build.pool import TASKS_AHEAD
from shardify.build.ray_cluster import run_on_ray
from shardify.build.run import build
from shardify.build.shard_writer import Report, VideoDone
from shardify.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of importing Ray


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What Ray is asked for; it says that no cluster runs, and starts none."""
    import ray

    calls: list[dict[str, Any]] = []

    def init(**options: Any) -> None:
        calls.append(options)
        if options["address"] == "auto":
            raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True}, {"Alive": False}])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return calls


@pytest.fixture
def port() -> Iterator[int]:
    """Where something answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_an_address_that_answers(
    joined: list[dict[str, Any]], port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    run_on_ray([], lambda _: None)
    assert [call["address"] for call in joined] == [f"127.0.0.1:{port}"]
    assert capsys.readouterr().err == f"Ray at 127.0.0.1:{port}: 1 machine, 4 cores\n"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1"])
def test_an_address_where_nothing_answers(
    joined: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UsageError) as refused:
        run_on_ray([], lambda _: None)
    assert str(refused.value).startswith(f"no Ray cluster can be joined: nothing answers at {address}")
    assert str(refused.value).endswith("check RAY_ADDRESS")
    assert not joined


@pytest.mark.parametrize(
    ("address", "asked"), [(None, ["auto", "local"]), ("", ["auto", "local"]), ("local", ["local"])]
)
def test_without_a_cluster_one_is_started_here(
    joined: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, address: str | None, asked: list[str]
) -> None:
    import ray

    monkeypatch.setattr(ray, "get_runtime_context", lambda: type("Context", (), {"gcs_address": "here:1"}))
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    run_on_ray([], lambda _: None)
    assert [call["address"] for call in joined] == asked
    assert joined[-1]["include_dashboard"] is False


def test_a_noted_cluster_that_is_gone(joined: list[dict[str, Any]], tmp_path: Path) -> None:
    noted = tmp_path / "ray" / "ray_current_cluster"  # as `ray start` does
    noted.parent.mkdir()
    noted.write_text("127.0.0.1:1")
    with pytest.raises(UsageError, match=r"^nothing answers at 127.0.0.1:1 .*, where Ray runs according to") as e:
        run_on_ray([], lambda _: None)
    assert str(noted) in str(e.value)
    assert not joined


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"needs the package ray: pip install 'temporal-ssl\[ray\]'"):
        run_on_ray([], lambda _: None)


def test_nothing_is_reported_to_anybody_and_memory_is_not_run_out_of_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_task_oom_retries": str(ray_engine.MAX_RETRIES)}
    for name in expected:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    ray_engine._import_ray()
    assert {name: os.environ[name] for name in expected} == expected


class Shrinking:
    """A Ray of four cores that does one task at a time, and from the second on has lost three of its cores."""

    def __init__(self) -> None:
        self.num_done = 0
        self.most_pending = 0

    def remote(self, **options: Any) -> Any:
        assert (options["num_cpus"], options["max_retries"]) == (1, ray_engine.MAX_RETRIES)
        return lambda function: type("Remote", (), {"remote": staticmethod(function)})

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0 if self.num_done < 2 else 1.0}

    def wait(self, pending: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        assert timeout
        self.num_done += 1
        self.most_pending = max(self.most_pending, len(pending))
        if self.num_done > 12:
            assert len(pending) <= 1 + TASKS_AHEAD
        return pending[:1], pending[1:]

    def get(self, reference: list[int]) -> list[int]:
        return reference


class Numbered:
    """A task that reports a number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def write(self, report: Report) -> None:
        report(VideoDone(num_frames=self.number))


def test_a_cluster_that_shrinks_is_handed_fewer_tasks() -> None:
    """More are out then than there is room for."""
    done, ray = [], Shrinking()
    ray_engine._run(ray, map(Numbered, range(1, 31)), lambda video: done.append(video.num_frames), None)
    assert done == list(range(1, 31))
    assert ray.most_pending == (1 + TASKS_AHEAD) * 4


def test_a_build_with_nothing_left_to_do_joins_no_cluster(
    source: Path, tmp_path: Path, joined: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    build(build_config(source, tmp_path / "out"))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert build(build_config(source, tmp_path / "out"), engine="ray").num_shards_written == 0
    assert joined == []
