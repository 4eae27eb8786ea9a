"""A Ray cluster builds the bytes that one machine builds, although it loses a machine on the way."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers_shards import build_config, contents
from helpers_videos import first_clips_of_groups

from shardify.build import ray_cluster as ray_engine
from shardify.build.config import BuildConfig
from shardify.build.plan import Part
from shardify.build.ray_cluster import run_on_ray
from shardify.build.run import build, build_part
from shardify.build.shard_writer import Report, VideoDone
from shardify.config import dump_config
from shardify.errors import UsageError, WorkError
from shardify.storage import open_store

END_SECONDS = 300

pytestmark = [
    pytest.mark.slow,
    # Ray leaves files and sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where a Ray of one's own keeps its sockets, whose paths must be short."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines of one core each, played by two raylets; nobody else's cluster is met."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-") as folder:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        here = Path(__file__).parent
        helpers = here.parents[1] / "helpers"
        patch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(helpers)]))  # where workers find this module
        from ray.cluster_utils import Cluster

        options: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100_000_000}
        with pytest.MonkeyPatch.context() as bare:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                bare.delenv(name)  # what workers know of a bucket, a build must have told them
            cluster: Any = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
            cluster.add_node(**options)
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
        cluster.shutdown()


class Act:
    """A task that calls a function with the report."""

    def __init__(self, act: Callable[[Report], None]) -> None:
        self.write = act


def number(number: int, *, fails: bool = False) -> Act:
    """A task that reports a number, or fails."""

    def act(report: Report) -> None:
        if fails:
            raise WorkError(f"task {number} cannot be done")
        report(VideoDone(num_frames=number))

    return Act(act)


def tell(variable: str) -> Act:
    """A task that fails with the value of an environment variable."""

    def act(report: Report) -> None:
        raise WorkError(f"{variable} is {os.environ.get(variable)}, {report.__name__}")

    return Act(act)


def die(mark: Path | None) -> Act:
    """A task whose process is killed, unless an earlier try has left a mark."""

    def act(report: Report) -> None:
        if mark is None or not mark.exists():
            if mark is not None:
                mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        report(VideoDone(num_frames=7))

    return Act(act)


def test_the_same_bytes_as_from_one_machine_and_paths_may_be_relative(
    cluster: Any,
    source: Path,
    built: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "here").symlink_to(source)
    monkeypatch.chdir(tmp_path)
    summary = build(build_config(Path("here"), Path("out")), engine="ray")
    assert summary.num_shards_written == summary.num_shards > 1
    assert contents(tmp_path / "out") == built
    assert f"Ray at {cluster.address}: 2 machines, 2 cores\n" in capsys.readouterr().err


def test_parts_on_the_cluster_into_a_bucket(cluster: Any, source: Path, built: dict[str, bytes], s3_url: str) -> None:
    """The server is known to this process alone, which was told of it after the cluster had begun."""
    config = build_config(source, Path("x")).model_copy(update={"out": s3_url})
    for i in (2, 1):
        build_part(config, Part(number=i, count=2), engine="ray")
    store = open_store(s3_url)
    assert {name: store.read(name) for name in store.names()} == built


def test_a_bucket_that_denies_access_to_the_workers(
    cluster: Any, source: Path, real_s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = build_config(source, Path("x")).model_copy(update={"out": real_s3_url})
    monkeypatch.setattr(ray_engine, "_PASSED_ON", ("AWS_REGION", "AWS_ENDPOINT_URL", "AWS_MADE_UP"))
    with pytest.raises(UsageError, match=rf"^{real_s3_url}\S*: [^\n]*AWS_SECRET_ACCESS_KEY[^\n]*$"):
        build(config, engine="ray")


@pytest.mark.parametrize("name", ["AWS_SESSION_TOKEN", "GOOGLE_MADE_UP", "AZURE_MADE_UP", "TEMPORAL_SSL_MADE_UP"])
def test_variables_for_object_stores_reach_the_workers(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "value")
    with pytest.raises(WorkError, match=rf"^{name} is value, "):
        run_on_ray([tell(name)], lambda _: None)


def test_a_submitted_job_may_hold_the_same_variables(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ray job submit --runtime-env-json` gives a job variables; Ray takes no second word on them from the job."""
    monkeypatch.setenv("AWS_MADE_UP", "secret")
    environment = {"runtime_env": {"env_vars": {"AWS_MADE_UP": "secret"}}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(environment))
    with pytest.raises(WorkError, match=r"^AWS_MADE_UP is secret, "):
        run_on_ray([tell("AWS_MADE_UP")], lambda _: None)


def test_tasks_are_drawn_as_there_is_room(cluster: Any) -> None:
    drawn, done, most = 0, 0, 0

    def tasks() -> Iterator[Act]:
        nonlocal drawn, most
        for i in range(1, 61):
            drawn += 1
            most = max(most, drawn - done)
            yield number(i)

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
        run_on_ray([number(i, fails=i == 2) for i in range(1, 4)], lambda _: None)


def test_a_lost_worker_is_made_up_for(cluster: Any, tmp_path: Path) -> None:
    done: list[VideoDone] = []
    run_on_ray([die(tmp_path / "killed")], done.append)
    assert (tmp_path / "killed").exists()
    assert done == [VideoDone(num_frames=7)]


def test_a_worker_that_is_lost_each_time(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "MAX_RETRIES", 1)
    with pytest.raises(WorkError, match=r"^Ray could not get a task done in 1 retries \(The worker died [^\n]*same"):
        run_on_ray([die(None)], lambda _: None)


def test_a_machine_without_the_program(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "class Task:\n    def write(self, report):\n        pass\n"
    (tmp_path / "only_here.py").write_text(code)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        task = importlib.import_module("only_here").Task()
    with pytest.raises(UsageError, match=r"cannot begin a task \([^\n]*No module named 'only_here'\); all its"):
        run_on_ray([task], lambda _: None)
    monkeypatch.delitem(sys.modules, "only_here")


def test_a_cluster_where_nothing_ends_is_spoken_of(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray_engine, "NOTICE_SECONDS", 1.0)
    run_on_ray([Act(lambda _: time.sleep(4.0))], lambda _: None)
    assert "no task has ended for 1 s, the cluster is at 1; `ray status` shows" in capsys.readouterr().err


def test_a_ray_of_its_own_leaves_no_process_behind(
    source: Path, built: dict[str, bytes], tmp_path: Path, ray_folder: Path
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(build_config(source, tmp_path / "out")))
    environment = os.environ | {"RAY_ADDRESS": "local", "RAY_TMPDIR": str(ray_folder)}
    command = [sys.executable, "-m", "shardify", "build", str(path), "--engine", "ray", "--json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + END_SECONDS
    while not (raylets := [pid for pid in of_ray(ray_folder) if "raylet" in command_of(pid)]):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert b"RAY_USAGE_STATS_ENABLED=0" in Path(f"/proc/{raylets[0]}/environ").read_bytes().split(b"\0")
    output, errors = process.communicate(timeout=END_SECONDS)
    assert process.returncode == 0, errors
    assert json.loads(output)["num_shards_written"] > 1
    assert "Traceback" not in errors
    assert contents(tmp_path / "out") == built
    while left := of_ray(ray_folder):
        assert time.monotonic() < deadline, [command_of(pid) for pid in left]
        time.sleep(0.2)


def of_ray(folder: Path) -> list[int]:
    """Processes whose Ray keeps its files in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"RAY_TMPDIR={folder}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
        except OSError:  # it has ended
            pass
    return found


def command_of(pid: int) -> str:
    """Its command line; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def test_a_machine_is_lost_half_way_through_real_clips(cluster: Any, data_dir: Path, tmp_path: Path) -> None:
    source = first_clips_of_groups(data_dir, tmp_path / "lists")

    def config(name: str) -> BuildConfig:
        frames = {"height": 64, "width": 86}
        values = {"source": source, "out": str(tmp_path / name), "videos_per_shard": 8, "frames": frames}
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
    assert summary.num_samples == 176
    assert contents(tmp_path / "ray") == expected
