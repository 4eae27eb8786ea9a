"""The shard contract: index, record and manifest are read back as written, and damage is named."""

from __future__ import annotations

import json
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
from helpers_datasets import numbered_jpeg, write_dataset

from shardify.errors import UsageError, WorkError
from shardify.shards.format import shard_name
from shardify.shards.index import SampleEntry, ShardIndex, read_index
from shardify.shards.manifest import Manifest, read_manifest
from shardify.shards.record import Reject, ShardRecord, dump_json
from shardify.storage import open_store


def entry(key: str, sizes: list[int], offset: int) -> SampleEntry:
    return SampleEntry(
        key=key,
        label=3,
        fps=29.97,
        offset=offset,
        frame_bytes=np.array(sizes, dtype=np.int64),
        frame_crc32=np.arange(len(sizes), dtype=np.uint32) + 4_000_000_000,
    )


SAMPLES = [entry("a", [10, 600, 512], 1024), entry("b", [7], 9000), entry("c", [5, 5], 20_000)]


def test_frame_offsets_follow_by_arithmetic() -> None:
    assert SAMPLES[0].frame_offsets("mjpg").tolist() == [1024, 1034, 1634]
    assert SAMPLES[0].frame_offsets("frames").tolist() == [1024, 1024 + 512 + 512, 1024 + 1024 + 1536]


@pytest.mark.parametrize("packing", ["mjpg", "frames"])
def test_offsets_point_at_the_jpegs_in_a_real_tar(tmp_path: Path, packing: str) -> None:
    folder = write_dataset(tmp_path / "s", [[3, 20], [17]], packing=packing)  # type: ignore[arg-type]
    store = open_store(folder)
    manifest = read_manifest(store)
    video = 0
    for shard in manifest.shards:
        tar = store.read(shard_name(shard.number, "tar"))
        for sample in read_index(store, shard):
            for frame, (start, size) in enumerate(
                zip(sample.frame_offsets(manifest.packing), sample.frame_bytes, strict=True)
            ):
                assert tar[start : start + size] == numbered_jpeg(video, frame)
            video += 1


def test_an_index_round_trips_and_equal_indexes_have_equal_bytes() -> None:
    index = ShardIndex.from_samples("frames", SAMPLES)
    data = index.to_bytes()
    assert data == ShardIndex.from_samples("frames", SAMPLES).to_bytes()
    back = ShardIndex.from_bytes(data)
    assert (back.packing, back.keys) == ("frames", ("a", "b", "c"))
    for i, sample in enumerate(SAMPLES):
        assert (back[i].key, back[i].label, back[i].fps, back[i].offset) == (sample.key, 3, 29.97, sample.offset)
        assert np.array_equal(back[i].frame_bytes, sample.frame_bytes)
        assert np.array_equal(back[i].frame_crc32, sample.frame_crc32)
    with pytest.raises(IndexError):
        back[3]
    assert len(ShardIndex.from_bytes(ShardIndex.from_samples("mjpg", []).to_bytes())) == 0


def in_directory(data: bytes, offset: int, byte: bytes) -> bytes:
    """A zip with one byte changed in the first entry of its central directory."""
    place = data.index(b"PK\x01\x02") + offset
    return data[:place] + byte + data[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d[:100],
        lambda d: d[:0],
        lambda d: d.replace(b"frame_bytes", b"framebytes_"),
        lambda d: d[:-60],
        pytest.param(lambda d: in_directory(d, 6, b"\xff"), id="zip version 25.5"),
        pytest.param(lambda d: in_directory(d, 8, b"\x01"), id="encrypted"),
    ],
)
def test_a_damaged_index_is_named(damage: object) -> None:
    data = ShardIndex.from_samples("mjpg", SAMPLES).to_bytes()
    with pytest.raises(WorkError, match=r"some.npz is damaged"):
        ShardIndex.from_bytes(damage(data), "some.npz")  # type: ignore[operator]


def test_entries_and_indexes_check_their_shapes() -> None:
    with pytest.raises(ValueError, match=r"frame sizes but .* checksums"):
        replace(SAMPLES[0], frame_crc32=np.zeros(2, np.uint32))
    with pytest.raises(ValueError, match=r"index arrays disagree"):
        replace(ShardIndex.from_samples("mjpg", SAMPLES), keys=("a",))


RECORD = ShardRecord(
    number=2,
    num_samples=5,
    num_frames=100,
    tar_bytes=10240,
    tar_sha256="ab" * 32,
    index_bytes=77,
    index_sha256="cd" * 32,
    splits=("train1", "test2"),
    rejected=(Reject(key="k", path="p.avi", splits=("train1",), status="transient", reason="slow", ffmpeg="words"),),
)
MANIFEST = Manifest(
    name="set",
    shards=(
        replace(RECORD, rejected=()),
        replace(RECORD, number=3, splits=("test1",), tar_sha256="ef" * 32, rejected=()),
    ),
    classes=("Fall", "Spin"),
    splits=("train1", "test1", "test2", "test3"),
    height=128,
    width=171,
    packing="mjpg",
    min_frames=16,
    ffmpeg_version="7.0.2",
    ffmpeg_filter="scale",
)


def test_records_and_manifests_round_trip() -> None:
    assert ShardRecord.from_json(RECORD.to_json()) == RECORD
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


def test_the_manifest_is_webdatasets_shard_index(tmp_path: Path) -> None:
    values = json.loads(MANIFEST.to_json())
    assert (values["__kind__"], values["wids_version"]) == ("wids-shard-index-v1", 1)
    assert (
        values["shardlist"][0] | {"url": "shard-000002.tar", "nsamples": 5, "filesize": 10240} == values["shardlist"][0]
    )
    assert values["num_samples_by_split"] == {"train1": 5, "test1": 5, "test2": 5, "test3": 0}
    folder = write_dataset(tmp_path / "s", [[3, 20], [17]])
    urls = [str(folder / shard["url"]) for shard in json.loads((folder / "manifest.json").read_bytes())["shardlist"]]
    keys = [sample["__key__"] for sample in wds.WebDataset(urls, shardshuffle=False, empty_check=False)]
    assert keys == ["video0000", "video0001", "video0002"]


def test_the_fingerprint_depends_only_on_the_splits_data() -> None:
    renamed = replace(MANIFEST, name="other", min_frames=1)
    assert renamed.fingerprint("train1") == MANIFEST.fingerprint("train1")
    assert MANIFEST.fingerprint(None) != MANIFEST.fingerprint("train1")
    changed = replace(MANIFEST, shards=(replace(MANIFEST.shards[0], tar_sha256="00" * 32), MANIFEST.shards[1]))
    assert changed.fingerprint("train1") != MANIFEST.fingerprint("train1")
    assert changed.fingerprint("test1") == MANIFEST.fingerprint("test1")


def test_splits_without_samples_and_unknown_splits_are_refused() -> None:
    with pytest.raises(UsageError, match=r"holds no samples of split 'test3'"):
        MANIFEST.shards_of("test3")
    with pytest.raises(UsageError, match=r"no split 'val'; its splits: train1, test1, test2, test3"):
        MANIFEST.shards_of("val")


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"number": 1}', b'{"format_version": 1}'])
def test_damaged_json_is_named(text: bytes) -> None:
    with pytest.raises(WorkError, match=r"here is damaged"):
        ShardRecord.from_json(text, "here")
    with pytest.raises(WorkError, match=r"there is damaged"):
        Manifest.from_json(text, "there")


REJECT: dict[str, object] = {"key": "k", "path": "p", "splits": [], "status": "rejected", "reason": "r", "ffmpeg": ""}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_samples": "2"}, "num_samples is '2'"),
        ({"num_frames": True}, "num_frames is True"),
        ({"tar_bytes": -1}, "tar_bytes is -1"),
        ({"index_bytes": 1.0}, "index_bytes is 1.0"),
        ({"tar_sha256": None}, "tar_sha256 is None"),
        ({"splits": "train1"}, "splits is 'train1'"),
        ({"splits": [1]}, r"splits is \(1,\)"),
        ({"rejected": [3]}, ""),
        ({"rejected": [REJECT | {"path": 3}]}, "path is 3"),
        ({"rejected": [REJECT | {"splits": "train1"}]}, "splits is 'train1'"),
        ({"rejected": [REJECT | {"status": "odd"}]}, "status is 'odd'"),
        ({"stranger": 1}, ".*stranger"),
    ],
)
def test_records_of_wrong_types_are_damaged(change: dict[str, object], reason: str) -> None:
    data = dump_json(json.loads(RECORD.to_json()) | change)
    with pytest.raises(WorkError, match=rf"^here is damaged \({reason}.*\); delete it and run `shardify build` again$"):
        ShardRecord.from_json(data, "here")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"classes": ["a", {}]}, r"TypeError: classes is \('a', {}\)"),
        ({"splits": "train1"}, "TypeError: splits is 'train1'"),
        ({"height": "128"}, "TypeError: height is '128'"),
        ({"num_missing": None}, "TypeError: num_missing is None"),
        ({"name": 3}, "TypeError: name is 3"),
        ({"packing": "zip"}, "ValueError: packing is 'zip'"),
        ({"seen": {"num_taken": "x", "left_out": [], "empty_classes": [], "notes": []}}, "TypeError: num_taken is 'x'"),
        ({"seen": {"num_taken": 1, "left_out": [], "empty_classes": [1], "notes": []}}, "TypeError: empty_classes is"),
    ],
)
def test_manifests_of_wrong_types_are_damaged(change: dict[str, object], reason: str) -> None:
    data = dump_json(json.loads(MANIFEST.to_json()) | change)
    with pytest.raises(WorkError, match=rf"^here is damaged \({reason}.*\); run `shardify build` again$"):
        Manifest.from_json(data, "here")


def test_frames_are_checked_against_their_crc32() -> None:
    sample = replace(SAMPLES[1], frame_crc32=np.array([zlib.crc32(b"picture")], dtype=np.uint32))
    sample.check(0, memoryview(b"picture"), 9000, "a.tar")
    with pytest.raises(
        WorkError, match=r"^a\.tar: frame 0 of sample b \(bytes 9000 to 9007\) does not match its check"
    ):
        sample.check(0, b"Picture", 9000, "a.tar")


def test_equal_values_give_equal_json() -> None:
    assert dump_json({"b": 1, "a": ["é"]}) == b'{"a":["\\u00e9"],"b":1}\n'


def test_indexes_are_parsed_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's parser of array headers must not run in several threads."""
    num_inside: list[int] = []
    barrier = threading.Barrier(2)  # both threads would meet here without a lock
    load = np.load

    def slow_load(*args: Any, **options: Any) -> Any:
        try:
            barrier.wait(timeout=0.2)
            num_inside.append(2)
        except threading.BrokenBarrierError:
            num_inside.append(1)
        return load(*args, **options)

    monkeypatch.setattr(np, "load", slow_load)
    data = ShardIndex.from_samples("mjpg", SAMPLES).to_bytes()
    with ThreadPoolExecutor(2) as pool:
        assert [len(index) for index in pool.map(ShardIndex.from_bytes, [data, data])] == [3, 3]
    assert num_inside == [1, 1]
