"""Training from a faulty bucket: it continues with the same clips and weights, or stops with one clear line."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers_fault_proxy import FaultProxy
from helpers_processes import finish, kill_when, start
from helpers_s3 import S3Server
from helpers_training import assert_same_run, records, run_tiny, tiny_values

from shardify.errors import WorkError
from shardify.storage import open_store
from shardify.storage.retrying import RETRY_VARIABLE
from stream_train.data.reader import FrameReader, open_shard_set

QUICKLY = 20.0
"""Seconds in which a command is to end that cannot succeed; starting it takes most of them."""


@pytest.fixture
def bucket(small_dataset: Path, s3_url: str) -> str:
    source, store = open_store(small_dataset), open_store(s3_url)
    for name in source.names():
        store.write(name, source.read(name))
    return s3_url


@pytest.fixture
def proxy(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.endpoint) as proxy:
        s3_server.set_environment(monkeypatch, proxy.endpoint)
        monkeypatch.setenv(RETRY_VARIABLE, "60")
        yield proxy


def reading(access: str, cache: Path, **changes: Any) -> dict[str, Any]:
    """Changes of the tiny run: how it reads."""
    return {"data__reader__access": access, "data__reader__cache__folder": str(cache), **changes}


def total(out: Path, name: str) -> float:
    """A traffic metric of metrics.jsonl, summed over the run."""
    return sum(record.get(f"data_{name}", 0.0) for record in records(out, traffic=True))


def config_file(path: Path, shards: str, out: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(tiny_values(shards, out, **changes)))
    return path


def test_a_run_from_a_bucket(bucket: str, whole_run: Path, tmp_path: Path) -> None:
    run_tiny(bucket, tmp_path / "run", **reading("cached", tmp_path / "cache"))
    assert_same_run(tmp_path / "run", whole_run)
    assert total(tmp_path / "run", "bytes_read") > 0
    assert total(tmp_path / "run", "retries") == 0
    assert total(tmp_path / "run", "cache_misses") == 5


@pytest.mark.slow
@pytest.mark.parametrize("access", ["ranged", "cached"])
def test_requests_cut_delayed_damaged_and_answered_with_errors(
    proxy: FaultProxy, bucket: str, whole_run: Path, tmp_path: Path, access: str
) -> None:
    for path in ("*.tar", "*.npz", "*manifest.json"):
        proxy.cut(after_bytes=700, path=path)
        proxy.fail(500, path=path)
        proxy.fail(503, path=path)
        proxy.refuse(path=path)
        proxy.delay(0.1, path=path)
    proxy.flip(path="*.tar")
    run_tiny(bucket, tmp_path / "run", **reading(access, tmp_path / "cache"))
    assert_same_run(tmp_path / "run", whole_run)
    assert proxy.counts == {"cut": 3, "delay": 3, "fail": 6, "refuse": 3, "flip": 1}
    assert total(tmp_path / "run", "refetches") == 1
    assert total(tmp_path / "run", "retries") >= 8  # those of the manifest came before the first step
    assert not list(tmp_path.glob("cache/*.part"))


def test_a_byte_flipped_in_the_bucket(bucket: str, small_dataset: Path, tmp_path: Path) -> None:
    """Sample and place are named; if asked, the next sample takes its place, is counted, and the run ends well."""
    entry = FrameReader(open_shard_set(small_dataset, None)).entry(1)
    tar = bytearray((small_dataset / "shard-000000.tar").read_bytes())
    offset = int(entry.frame_offsets("mjpg")[7]) + 30
    tar[offset] ^= 1
    open_store(bucket).write("shard-000000.tar", bytes(tar))
    changes = reading("ranged", tmp_path / "cache")
    with pytest.raises(WorkError, match=r"shard-000000.tar: frame 7 of sample video0001 \(bytes \d+ to \d+\)"):
        run_tiny(bucket, tmp_path / "run", **changes)
    run_tiny(bucket, tmp_path / "run", **changes, data__reader__on_damage="substitute")
    assert total(tmp_path / "run", "substitutes") == 3  # the run is two epochs and the first videos of a third


def test_the_disk_of_the_cache_is_full(
    bucket: str, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reserve, calls = os.posix_fallocate, []

    def full_at_the_third(*place: int) -> None:
        calls.append(place)
        if len(calls) >= 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserve(*place)

    monkeypatch.setattr("os.posix_fallocate", full_at_the_third)
    run_tiny(bucket, tmp_path / "run", **reading("cached", tmp_path / "cache"))
    assert_same_run(tmp_path / "run", whole_run)
    assert capsys.readouterr().err.count("has no room for a shard of") == 1
    assert len(list(tmp_path.glob("cache/*.tar"))) == 2
    assert not list(tmp_path.glob("cache/*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("access", ["ranged", "cached"])
def test_the_store_is_gone_for_ten_seconds_in_mid_epoch(
    proxy: FaultProxy, bucket: str, small_dataset: Path, tmp_path: Path, access: str
) -> None:
    """Its requests are refused; with the cache, what it has still to fetch is waited for as well."""
    run_tiny(small_dataset, tmp_path / "quiet", epochs=4)
    proxy.delay(0.2, times=10_000, path="*.tar")
    changes = reading(access, tmp_path / "cache", epochs=4, data__num_workers=1, data__reader__ahead_batches=1)
    config = config_file(tmp_path / "config.yaml", bucket, tmp_path / "run", **changes)
    process = start("stream_train", "pretrain", config)
    while proxy.num_requests("*.tar") < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    proxy.is_out = True
    threading.Timer(10, lambda: setattr(proxy, "is_out", False)).start()
    _, errors = finish(process)
    assert process.returncode == 0, errors
    assert "the server cannot be reached (" in errors
    assert "; retrying for up to" in errors
    assert_same_run(tmp_path / "run", tmp_path / "quiet")
    assert total(tmp_path / "run", "retries") >= 3
    assert proxy.counts["refuse"] >= 3


@pytest.mark.slow
def test_an_outage_longer_than_the_deadline_ends_with_one_line_and_is_continued(
    proxy: FaultProxy, bucket: str, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RETRY_VARIABLE, "2")
    config = config_file(tmp_path / "config.yaml", bucket, tmp_path / "run", **reading("ranged", tmp_path))
    proxy.delay(0.05, times=10_000, path="*.tar")
    process = start("stream_train", "pretrain", config)
    while proxy.num_requests("*.tar") < 25:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    proxy.is_out = True
    _, errors = finish(process)
    assert process.returncode == 1
    lines = [line for line in errors.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "the server cannot be reached (" in lines[0]
    assert "; it was retried for 2 s" in lines[0]
    proxy.is_out = False
    process = start("stream_train", "pretrain", config)
    _, errors = finish(process)
    assert process.returncode == 0, errors
    assert_same_run(tmp_path / "run", whole_run)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_missing_shard_ends_it_within_seconds(bucket: str, tmp_path: Path, workers: int) -> None:
    open_store(bucket).delete("shard-000003.tar")
    changes = reading("ranged", tmp_path, data__num_workers=workers)
    expect_the_end(bucket, tmp_path, 1, f"error: {bucket}/shard-000003.tar is missing", **changes)


@pytest.mark.slow
def test_a_missing_bucket_ends_it_within_seconds(s3_url: str, tmp_path: Path) -> None:
    expect_the_end("s3://no-such-bucket/set", tmp_path, 2, "there is no such bucket")


def expect_the_end(shards: str, tmp_path: Path, exit_code: int, words: str, **changes: Any) -> None:
    began = time.monotonic()
    process = start("stream_train", "pretrain", config_file(tmp_path / "c.yaml", shards, tmp_path / "run", **changes))
    _, errors = finish(process)
    assert process.returncode == exit_code, errors
    assert words in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert time.monotonic() - began < QUICKLY


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_kill_9_of_all_ranks_and_workers(bucket: str, small_dataset: Path, tmp_path: Path, ranks: int) -> None:
    """Reading by one cache; the rerun continues, bit for bit, and nothing half written is left."""
    changes = reading("cached", tmp_path / "cache", data__num_workers=1, epochs=4)
    for name, shards in (("quiet", str(small_dataset)), ("killed", bucket)):
        config_file(
            tmp_path / f"{name}.yaml", shards, tmp_path / name, **(changes if name == "killed" else {"epochs": 4})
        )
    process = start("stream_train", "pretrain", tmp_path / "quiet.yaml", ranks=ranks)
    _, errors = finish(process)
    assert process.returncode == 0, errors
    kill_when(
        start("stream_train", "pretrain", tmp_path / "killed.yaml", ranks=ranks),
        tmp_path / "killed" / "checkpoint-00000008.pt",
    )
    process = start("stream_train", "pretrain", tmp_path / "killed.yaml", ranks=ranks)
    _, errors = finish(process)
    assert process.returncode == 0, errors
    assert "continuing" in errors
    assert_same_run(tmp_path / "killed", tmp_path / "quiet")
    assert not list(tmp_path.glob("cache/*.part"))
