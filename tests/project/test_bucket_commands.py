"""Everything from a bucket: build into it, verify, look, train, judge; the commands as a user gives them."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from helpers_processes import descendants, finish, start
from helpers_shards import build_config
from helpers_videos import first_clips_of_groups
from helpers_web import web_server

import shardify.storage.streams
from eval.cli import main as video_eval
from shardify.cli import main as shardify_main
from shardify.config import dump_config
from shardify.errors import UsageError
from shardify.inspection.verify import verify
from shardify.shards.index import read_index
from shardify.shards.manifest import read_manifest
from shardify.storage import open_store
from shardify.storage.object_store import ObjectStore
from shardify.storage.traffic import take
from stream_train.data import build_stream, open_data
from stream_train.data.config import DataConfig
from stream_train.transformations.config import SamplingConfig
from stream_train.transformations.sampling import draw_clips

draw = functools.partial(draw_clips, config=SamplingConfig())


def objects(url: str) -> dict[str, bytes]:
    store = open_store(url)
    return {name: store.read(name) for name in store.names()}


def copy_into(folder: Path, url: str) -> str:
    source, store = open_store(folder), open_store(url)
    for name in source.names():
        store.write(name, source.read(name))
    return url


def run(*words: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(shardify_main, list(words))
    assert result.exit_code == exit_code, result.output
    return result.output


@pytest.mark.slow
def test_a_build_into_a_bucket_has_the_bytes_of_one_into_a_folder(
    source: Path, built: dict[str, bytes], s3_url: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(build_config(source, tmp_path / "local", workers=2)))
    run("build", str(config), "--set", f"out={s3_url}/set")
    assert objects(f"{s3_url}/set") == built
    assert "all shards were there already" in run("build", str(config), "--set", f"out={s3_url}/set")
    assert "is intact" in run("verify", f"{s3_url}/set", "--deep")
    assert run("urls", f"{s3_url}/set").split()[0] == f"{s3_url}/set/shard-000000.tar"


def test_looking_into_a_bucket_shows_what_a_folder_shows(built_folder: Path, s3_url: str, tmp_path: Path) -> None:
    copy_into(built_folder, s3_url)
    key = read_index(open_store(s3_url), read_manifest(open_store(s3_url)).shards[1]).keys[2]
    seen: dict[str, tuple[Any, str, dict[str, bytes]]] = {}
    for place in (s3_url, str(built_folder)):
        summary = json.loads(run("inspect", place, "--json"))
        assert summary.pop("location") == place
        record = run("inspect", place, "--key", key)
        assert key in record
        pictures = tmp_path / f"pictures-{len(seen)}"
        run("preview", place, "--out", str(pictures))
        seen[place] = (summary, record, {path.name: path.read_bytes() for path in pictures.iterdir()})
    first, second = seen.values()
    assert first == second
    assert set(first[2]) == {"contact_sheet.png"}


@pytest.mark.parametrize("name", ["manifest.json", "shard-000000.tar"])
def test_a_file_of_a_data_set_is_not_the_data_set(s3_url: str, name: str) -> None:
    with pytest.raises(
        UsageError, match=f"^{s3_url}/set/{name} names a file; give the folder or URL that holds the dat"
    ):
        read_manifest(open_store(f"{s3_url}/set/{name}"))


def test_verify_names_what_is_damaged_in_a_bucket(built_folder: Path, s3_url: str) -> None:
    store = open_store(copy_into(built_folder, s3_url))
    entry = read_index(store, read_manifest(store).shards[1])[2]
    tar = bytearray(store.read("shard-000001.tar"))
    tar[int(entry.frame_offsets("mjpg")[7]) + 40] ^= 1
    store.write("shard-000001.tar", bytes(tar))
    output = run("verify", s3_url, exit_code=1)
    assert "shard 1: shard-000001.tar differs from its sha256" in output
    assert f"shard 1, sample {entry.key}, frame 7: the bytes differ from the checksum" in output
    assert f"sample {entry.key}, frame 7: stock WebDataset sees other" in run("verify", s3_url, "--deep", exit_code=1)
    store.delete("shard-000000.idx.npz")
    assert re.search(r"shard 0: .*shard-000000\.idx\.npz is missing", run("verify", s3_url, exit_code=1))
    assert "there is no such bucket" in run("verify", "s3://no-such-bucket/x", exit_code=2)


def test_verify_fetches_every_byte_once(built_folder: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces, whatever the size of the shards."""
    monkeypatch.setattr(shardify.storage.streams, "PIECE_BYTES", 40_000)
    store = open_store(copy_into(built_folder, s3_url))
    assert max(shard.tar_bytes for shard in read_manifest(store).shards) > 100_000
    sizes: list[int] = []
    whole = ObjectStore.read_range

    def read_range(self: ObjectStore, name: str, start: int, num_bytes: int) -> bytes:
        sizes.append(num_bytes)
        return whole(self, name, start, num_bytes)

    monkeypatch.setattr(ObjectStore, "read_range", read_range)
    assert verify(store).problems == ()
    assert max(sizes) == 40_000
    assert sum(sizes) == sum(shard.tar_bytes for shard in read_manifest(store).shards)


def test_stock_webdataset_reads_from_the_bucket(small_dataset: Path, s3_url: str) -> None:
    """The sequential reader sees the samples that it sees in the folder."""
    copy_into(small_dataset, s3_url)
    config = DataConfig.model_validate(
        {"crop": 32, "num_workers": 0, "reader": {"kind": "sequential", "shuffle_samples": 0}}
    )

    def seen(location: str) -> list[Any]:
        stream = build_stream(open_data(location, "train1", config), config, draw, seed=5, num_batches=4)
        return [batch.frames.sum(dim=(1, 2, 3, 4)).tolist() for batch in stream]

    assert seen(s3_url) == seen(str(small_dataset))


def test_a_set_at_a_web_server_is_verified(built_folder: Path, tmp_path: Path) -> None:
    """Without the look for strangers, since web servers list nothing; the stock reader too goes our way."""
    shutil.copytree(built_folder, tmp_path, dirs_exist_ok=True)
    with web_server(tmp_path) as url:
        take()
        assert "is intact" in run("verify", url)
        tar_bytes = sum(shard.tar_bytes for shard in read_manifest(open_store(tmp_path)).shards)
        assert tar_bytes < take().bytes_read < 1.2 * tar_bytes
        assert "is intact" in run("verify", url, "--deep")
        assert take().bytes_read > 2 * tar_bytes
        (tmp_path / "shard-000002.tar").unlink()
        assert "shard 2: shard-000002.tar is missing" in run("verify", url, exit_code=1)


@pytest.mark.parametrize("access", ["ranged", "cached"])
def test_a_set_at_a_web_server_is_read_like_a_folder(small_dataset: Path, tmp_path: Path, access: str) -> None:
    with web_server(small_dataset) as url:
        reader = {"kind": "indexed", "access": access, "cache": {"folder": str(tmp_path)}}
        config = DataConfig.model_validate({"crop": 32, "num_workers": 0, "reader": reader})

        def seen(location: str) -> list[Any]:
            stream = build_stream(open_data(location, "train1", config), config, draw, seed=5, num_batches=4)
            return [batch.frames.sum(dim=(1, 2, 3, 4)).tolist() for batch in stream]

        assert seen(url) == seen(str(small_dataset))
        assert "23 samples" in run("inspect", url)
        assert "is intact" in run("verify", url)


@pytest.mark.slow
def test_kill_9_of_a_build_into_a_bucket(source: Path, built: dict[str, bytes], s3_url: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(build_config(source, Path("x"), workers=1).model_copy(update={"out": s3_url})))
    process = start("shardify", "build", config)
    store = open_store(s3_url)
    deadline = time.monotonic() + 300
    while not store.exists("shard-000000.json"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    for pid in [process.pid, *descendants(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    there = objects(s3_url)
    assert "manifest.json" not in there, "it was killed in the middle"
    assert there.items() <= built.items(), "what is there is whole"
    process = start("shardify", "build", config)
    output, errors = finish(process)
    assert process.returncode == 0, errors
    assert "are there already" in output + errors
    assert objects(s3_url) == built


@pytest.mark.slow
def test_real_clips_from_videos_to_results_in_the_bucket(data_dir: Path, s3_url: str, tmp_path: Path) -> None:
    """Build 176 real clips into the bucket, verify, pretrain from it into it, judge from it into it."""
    shards = {
        "source": first_clips_of_groups(data_dir, tmp_path / "lists"),
        "out": f"{s3_url}/shards",
        "frames": {"height": 64, "width": 86},
        "videos_per_shard": 8,
    }
    training = {
        "shards": f"{s3_url}/shards",
        "split": "train1",
        "out": f"{s3_url}/run",
        "epochs": 1,
        "network": {"kind": "c3d", "width": 0.05},
        "data": {"crop": 56, "num_workers": 1, "reader": {"cache": {"folder": str(tmp_path / "cache")}}},
        "optimizer": {"learning_rate": 1e-3},
        "device": "cpu",
        "threads": 1,
        "checkpoint": {"every_steps": 10},
    }
    judging = {
        "shards": f"{s3_url}/shards",
        "splits": [{"train": "train1", "test": "test1"}],
        "out": f"{s3_url}/run/eval",
        "networks": {"pretrained": {"kind": "checkpoint", "path": f"{s3_url}/run"}},
        "data": training["data"],
        "device": "cpu",
        "threads": 1,
    }
    commands = (("shardify", "build", shards), ("stream_train", "pretrain", training), ("eval", "retrieval", judging))
    for module, verb, values in commands:
        path = tmp_path / f"{verb}.yaml"
        path.write_text(yaml.safe_dump(values))
        process = start(module, verb, path)
        output, errors = finish(process)
        assert process.returncode == 0, errors
        if verb == "build":
            assert "176 of 176 videos, " in output
            process = start("shardify", "verify", f"{s3_url}/shards")
            finish(process)
            assert process.returncode == 0
    run_objects = open_store(f"{s3_url}/run").names()
    assert {"backbone.safetensors", "checkpoint-00000021.pt", "config.yaml", "curves.png", "metrics.jsonl"} <= set(
        run_objects
    )
    result = CliRunner().invoke(video_eval, ["tables", f"{s3_url}/run"])
    assert result.exit_code == 0, result.output
    assert "ucf101" in result.output
