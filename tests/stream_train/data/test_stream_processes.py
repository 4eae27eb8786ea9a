"""The clip stream with real processes: ranks x workers x accesses, each killed once, give one undisturbed stream."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from helpers_datasets import write_dataset
from helpers_fault_proxy import FaultProxy
from helpers_processes import descendants
from helpers_s3 import S3Server
from helpers_stream import VIDEOS_PER_BATCH, read_stream, write_stream

from shardify.storage import open_store

pytestmark = pytest.mark.slow

NUM_BATCHES = 24
SECONDS = 600
LENGTHS = [[40, 16, 150, 17, 60], [33, 61, 35], [130, 20, 16, 90, 31, 48], [18, 64, 22], [140, 16]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("processes") / "set", LENGTHS)


@pytest.fixture(scope="module")
def quiet(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, set[str]]:
    """The stream of one process that nothing disturbs."""
    out = tmp_path_factory.mktemp("quiet") / "lines"
    write_stream(str(folder), "ranged", "", 0, 0, 1, 0, NUM_BATCHES, out)
    seen = read_stream([out])
    assert len(seen) == NUM_BATCHES * VIDEOS_PER_BATCH
    assert len({next(iter(digests)) for digests in seen.values()}) == len(seen)
    return seen


@pytest.fixture
def bucket(folder: Path, s3_url: str) -> str:
    source, store = open_store(folder), open_store(s3_url)
    for name in source.names():
        store.write(name, source.read(name))
    return s3_url


def start(
    location: str, access: str, cache: Path, workers: int, rank: int, ranks: int, first: int, out: Path
) -> subprocess.Popen[bytes]:
    words = (location, access, cache, workers, rank, ranks, first, NUM_BATCHES - first, out)
    command = [sys.executable, str(Path(__file__).parents[2] / "helpers" / "helpers_stream.py"), *map(str, words)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})


def wait_for(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors.decode()


def wait_until_lines(path: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    for pid in [process.pid, *descendants(process.pid)]:
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize(
    ("access", "ranks", "workers"),
    [("local", 1, 4), ("cached", 1, 0), ("cached", 2, 1), ("ranged", 1, 4), ("ranged", 3, 1)],
)
def test_processes_killed_once_give_the_quiet_stream(
    folder: Path, bucket: str, quiet: dict[int, set[str]], tmp_path: Path, access: str, ranks: int, workers: int
) -> None:
    """All ranks are killed after a random batch and continue there; batches that some had already given come again.

    All combinations, without kills, are in `test_remote_reading`.
    """
    location = str(folder) if access == "local" else bucket
    way = "ranged" if access == "local" else access
    stop = random.Random(f"{access} {ranks} {workers}").randrange(3, NUM_BATCHES - 3)
    outs = [tmp_path / f"rank{rank}" for rank in range(ranks)]
    for first in (0, stop):
        processes = [
            start(location, way, tmp_path / "cache", workers, rank, ranks, first, out) for rank, out in enumerate(outs)
        ]
        if first == 0:
            for process, out in zip(processes, outs, strict=True):
                wait_until_lines(out, stop * VIDEOS_PER_BATCH // ranks, process)
            for process in processes:
                kill_all(process)
            for out in outs:  # the half line that a kill may leave
                out.write_text(
                    "".join(line for line in out.read_text().splitlines(keepends=True) if line.endswith("\n"))
                )
        else:
            for process in processes:
                wait_for(process)
    assert read_stream(outs) == quiet
    assert not list(tmp_path.glob("cache/*.part"))


def test_two_processes_that_share_a_cache_download_each_shard_once(
    s3_server: S3Server, bucket: str, quiet: dict[int, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy(s3_server.endpoint) as proxy:
        s3_server.set_environment(monkeypatch, proxy.endpoint)
        proxy.delay(0.3, times=100, path="*.tar")  # so that both want the same shard at the same time
        outs = [tmp_path / "one", tmp_path / "other"]
        processes = [start(bucket, "cached", tmp_path / "cache", 0, 0, 1, 0, out) for out in outs]
        for process in processes:
            wait_for(process)
        assert [proxy.num_requests(f"*/shard-{number:06d}.tar") for number in range(5)] == [1] * 5
    assert [read_stream([out]) for out in outs] == [quiet, quiet]


def test_a_process_takes_over_the_download_of_one_that_was_killed(
    s3_server: S3Server, bucket: str, quiet: dict[int, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    with FaultProxy(s3_server.endpoint) as proxy:
        s3_server.set_environment(monkeypatch, proxy.endpoint)
        proxy.delay(60, times=20, path="*.tar")
        filler = start(bucket, "cached", cache, 0, 0, 1, 0, tmp_path / "filler")
        deadline = time.monotonic() + SECONDS
        while not list(cache.glob("*.part")):
            assert filler.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        s3_server.set_environment(monkeypatch)
        other = start(bucket, "cached", cache, 0, 0, 1, 0, tmp_path / "other")
        time.sleep(1.0)
        assert not (tmp_path / "other").exists() or not (tmp_path / "other").read_text()  # it waits for the filler
        kill_all(filler)
        wait_for(other)
    assert read_stream([tmp_path / "other"]) == quiet
    assert len(list(cache.glob("*.tar"))) == len(LENGTHS)
    assert not list(cache.glob("*.part"))


def test_a_killed_worker_ends_the_stream_with_one_line(
    s3_server: S3Server, bucket: str, quiet: dict[int, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "lines"
    with FaultProxy(s3_server.endpoint) as proxy:
        s3_server.set_environment(monkeypatch, proxy.endpoint)
        proxy.delay(0.5, times=1000, path="*.tar")
        process = start(bucket, "ranged", tmp_path, 2, 0, 1, 0, out)
        wait_until_lines(out, 1, process)
        (server,) = [pid for pid in descendants(process.pid) if descendants(pid)]
        workers = descendants(server)
        assert len(workers) == 2
        os.kill(workers[1], signal.SIGKILL)
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert errors.decode().splitlines()[-1].startswith("shardify.errors.WorkError: a loader process died (")
    assert 0 < len(read_stream([out])) < len(quiet)
    assert read_stream([out]).items() <= quiet.items()
