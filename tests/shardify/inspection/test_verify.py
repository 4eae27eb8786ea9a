"""Verify finds each kind of damage and names the shard, the sample and the frame."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers_shards import NUM_VIDEOS, build_config

import shardify.build.shard_writer
import shardify.inspection.verify
from shardify.build.config import BuildConfig
from shardify.build.run import build
from shardify.frames.decoding import Frames, VideoError
from shardify.inspection.verify import VerifyReport, verify
from shardify.shards.format import shard_name
from shardify.shards.index import ShardIndex, read_index
from shardify.shards.manifest import Manifest, read_manifest
from shardify.shards.record import ShardRecord
from shardify.storage import open_store


@pytest.fixture
def copy(built_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built_folder, tmp_path / "copy"))


def few_videos(source: Path, out: Path, **changes: Any) -> BuildConfig:
    """A build of the 8 videos of one class, without lists."""
    return build_config(source, out, source={"kind": "flat", "videos": str(source / "videos/Spin")}, **changes)


def check(folder: Path, *, deep: bool = False) -> VerifyReport:
    return verify(open_store(folder), deep=deep)


def texts(folder: Path, *, deep: bool = False) -> list[str]:
    return [str(problem) for problem in check(folder, deep=deep).problems]


def rewrite_shard(folder: Path, number: int, change: Callable[[ShardRecord], ShardRecord]) -> None:
    """Change a shard's record and let the manifest follow, as a builder with a bug would."""
    path = folder / shard_name(number, "json")
    record = change(ShardRecord.from_json(path.read_bytes()))
    path.write_bytes(record.to_json())
    manifest = read_manifest(open_store(folder))
    shards = tuple(replace(record, rejected=()) if shard.number == number else shard for shard in manifest.shards)
    (folder / "manifest.json").write_bytes(replace(manifest, shards=shards).to_json())


def rehash(folder: Path) -> Callable[[ShardRecord], ShardRecord]:
    """A record that agrees with the files as they are."""

    def change(record: ShardRecord) -> ShardRecord:
        tar, index = ((folder / shard_name(record.number, part)).read_bytes() for part in ("tar", "idx.npz"))
        return replace(
            record,
            tar_bytes=len(tar),
            tar_sha256=hashlib.sha256(tar).hexdigest(),
            index_bytes=len(index),
            index_sha256=hashlib.sha256(index).hexdigest(),
        )

    return change


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_data_set_has_no_problems(built_folder: Path, deep: bool) -> None:
    seen: list[None] = []
    report = verify(open_store(built_folder), deep=deep, on_shard=lambda: seen.append(None))
    assert report.problems == ()
    assert (report.num_samples, report.num_frames) == (NUM_VIDEOS, sum(range(16, 16 + NUM_VIDEOS)))
    assert len(seen) == report.num_shards == len(list(built_folder.glob("*.tar")))


def test_frame_members_are_checked_too(source: Path, tmp_path: Path) -> None:
    build(few_videos(source, tmp_path, pack="frames"))
    assert texts(tmp_path, deep=True) == []
    entry = read_index(open_store(tmp_path), read_manifest(open_store(tmp_path)).shards[0])[2]
    flip_byte(tmp_path / "shard-000000.tar", int(entry.frame_offsets("frames")[3]) + 50)
    problems = check(tmp_path, deep=True).problems
    assert {(p.shard, p.sample, p.frames) for p in problems if p.frames} == {(0, entry.key, (3,))}


def flip_byte(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def test_a_flipped_byte_is_found_in_its_frame(copy: Path) -> None:
    shard = read_manifest(open_store(copy)).shards[1]
    entry = read_index(open_store(copy), shard)[1]
    flip_byte(copy / shard_name(shard.number, "tar"), int(entry.frame_offsets("mjpg")[7]) + 99)
    expected = [
        f"shard {shard.number}: {shard_name(shard.number, 'tar')} differs from its sha256",
        f"shard {shard.number}, sample {entry.key}, frame 7: the bytes differ from the checksum",
    ]
    assert texts(copy) == expected
    deep = texts(copy, deep=True)
    assert deep[:2] == expected
    assert f"sample {entry.key}, frame 7: stock WebDataset sees other bytes than the index" in deep[2]


def test_a_flipped_byte_outside_the_frames_is_found(copy: Path) -> None:
    flip_byte(copy / "shard-000002.tar", 513)
    assert texts(copy) == ["shard 2: shard-000002.tar differs from its sha256"]


def test_a_truncated_shard_names_all_that_is_lost(copy: Path) -> None:
    store = open_store(copy)
    shard = read_manifest(store).shards[0]
    index = read_index(store, shard)
    cut = index[1]
    stops = cut.frame_offsets("mjpg") + cut.frame_bytes
    os.truncate(copy / "shard-000000.tar", int(stops[4]))
    problems = check(copy).problems
    assert str(problems[0]) == f"shard 0: shard-000000.tar has {stops[4]} bytes instead of {shard.tar_bytes}"
    lost = {problem.sample: problem.frames for problem in problems[1:]}
    assert lost == {
        cut.key: tuple(range(5, cut.num_frames)),
        **{index[i].key: tuple(range(index[i].num_frames)) for i in range(2, len(index))},
    }
    assert "frames 5, 6, 7, 8, 9 ... (" in str(problems[1])
    assert any("stock WebDataset" in text for text in texts(copy, deep=True))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shard-000001.tar", ["shard 1: shard-000001.tar is missing"]),
        ("shard-000001.idx.npz", [r"shard 1: .*shard-000001\.idx\.npz is missing; run `shardify build` again"]),
        ("shard-000001.json", [r"shard 1: shard-000001\.json is missing"]),
        ("rejected.jsonl", ["rejected.jsonl is missing"]),
        ("build.json", []),
    ],
)
def test_missing_files(copy: Path, name: str, expected: list[str]) -> None:
    (copy / name).unlink()
    found = texts(copy)
    assert len(found) == len(expected)
    for text, pattern in zip(found, expected, strict=True):
        assert re.fullmatch(pattern, text)


def test_damaged_index_and_record(copy: Path) -> None:
    flip_byte(copy / "shard-000003.idx.npz", 700)
    (copy / "shard-000002.json").write_text("{}")
    record, index = texts(copy, deep=True)
    assert record.startswith("shard 2: ")
    assert "is damaged" in record
    assert index.startswith("shard 3: ")
    assert "shard-000003.idx.npz differs from the one in manifest.json" in index
    values = json.loads(json.dumps(check(copy).to_dict()))
    assert [(problem["shard"], problem["frames"]) for problem in values["problems"]] == [(2, []), (3, [])]


def test_edited_manifest_and_ledgers(copy: Path) -> None:
    path = copy / "manifest.json"
    values = json.loads(path.read_bytes())
    values["shardlist"][2]["nsamples"] += 1
    path.write_text(json.dumps(values))
    found = texts(copy)
    assert found[0] == "shard 2: manifest.json and shard-000002.json disagree"
    assert "lists 4 samples, the manifest 5" in found[1]


def test_ledgers_and_manifest_must_follow_from_the_records(copy: Path) -> None:
    (copy / "rejected.jsonl").write_text("{}\n")
    values = json.loads((copy / "manifest.json").read_bytes())
    (copy / "manifest.json").write_text(json.dumps(values | {"min_frames": 7}))
    assert texts(copy) == [
        "rejected.jsonl does not follow from build.json and the shards' records",
        "manifest.json does not follow from build.json and the shards' records",
    ]


def test_strangers_among_the_shards(copy: Path) -> None:
    shutil.copyfile(copy / "shard-000000.tar", copy / "shard-000099.tar")
    assert texts(copy) == ["shard-000099.tar is not in manifest.json"]


def test_the_same_key_in_two_shards(copy: Path) -> None:
    for part in ("tar", "idx.npz"):
        shutil.copyfile(copy / f"shard-000000.{part}", copy / f"shard-000001.{part}")
    rewrite_shard(copy, 1, rehash(copy))
    index = read_index(open_store(copy), read_manifest(open_store(copy)).shards[0])
    frames = int(index.num_frames.sum())
    rewrite_shard(copy, 1, lambda record: replace(record, num_samples=len(index), num_frames=frames))
    found = [text for text in texts(copy) if "has this key too" in text]
    assert found == [f"shard 1, sample {key}: shard 0 has this key too" for key in index.keys]


def test_impossible_labels_and_lengths(copy: Path) -> None:
    manifest = read_manifest(open_store(copy))
    index = read_index(open_store(copy), manifest.shards[0])
    changed = replace(index, labels=index.labels + 3)
    (copy / "shard-000000.idx.npz").write_bytes(changed.to_bytes())
    rewrite_shard(copy, 0, rehash(copy))
    strict = replace(read_manifest(open_store(copy)), min_frames=39)
    (copy / "manifest.json").write_bytes(strict.to_json())
    found = texts(copy)
    first = index[0]
    assert f"shard 0, sample {first.key}: label {first.label + 3}, but there are 3 classes" in found
    assert f"shard 0, sample {first.key}: {first.num_frames} frames, but min_frames is 39" in found


def test_deep_finds_pictures_that_do_not_decode(
    source: Path, tmp_path: Path, decode_once: Callable[..., Frames], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that packed rubbish with sound checksums: only decoding shows it."""

    def spoil(path: Path, *args: object) -> Frames:
        frames = decode_once(path, *args)
        if "Spin_g02_c02" not in path.name:
            return frames
        jpegs = list(frames.jpegs)
        jpegs[5] = b"\xff\xd8 not a picture"
        jpegs[8] = jpegs[8][: len(jpegs[8]) // 2]
        return replace(frames, jpegs=tuple(jpegs))

    monkeypatch.setattr(shardify.build.shard_writer, "decode_video", spoil)
    build(few_videos(source, tmp_path))
    assert texts(tmp_path) == []
    (problem,) = check(tmp_path, deep=True).problems
    assert (problem.sample, problem.frames) == ("v_Spin_g02_c02", (5, 8))
    assert "not a sound JPEG of 48x32 pixels" in problem.text


def test_deep_finds_frames_of_another_size(copy: Path) -> None:
    (copy / "build.json").unlink()
    manifest = read_manifest(open_store(copy))
    (copy / "manifest.json").write_bytes(replace(manifest, width=64).to_json())
    assert len([text for text in texts(copy, deep=True) if "64x32 pixels" in text]) == NUM_VIDEOS


def test_deep_compares_what_stock_webdataset_sees_with_the_index(copy: Path) -> None:
    """Two samples swapped in the tar: the checksums find it, and so does the stock reader."""
    path = copy / "shard-000000.tar"
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member)) for member in tar.getmembers()]
        data = [(member, file) for member, file in members if file is not None]
        with tarfile.open(copy / "new.tar", "w", format=tarfile.USTAR_FORMAT) as new:
            for member, file in [*data[3:6], *data[:3], *data[6:]]:
                new.addfile(member, file)
    (copy / "new.tar").replace(path)
    rewrite_shard(copy, 0, rehash(copy))
    first, second = (read_index(open_store(copy), read_manifest(open_store(copy)).shards[0])[i].key for i in (0, 1))
    found = texts(copy, deep=True)
    assert f"shard 0, sample {first}: stock WebDataset finds {second} in its place" in found


def test_shards_of_rejects_are_sound(
    source: Path, tmp_path: Path, decode_once: Callable[..., Frames], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, *args: object) -> Frames:
        if "_g01_" in path.name:
            raise VideoError(status="transient", reason="read error")
        return decode_once(path, *args)

    monkeypatch.setattr(shardify.build.shard_writer, "decode_video", fail)
    build(few_videos(source, tmp_path, max_rejected_share=1.0))
    assert texts(tmp_path, deep=True) == []


def test_index_of_another_packing(copy: Path) -> None:
    index = read_index(open_store(copy), read_manifest(open_store(copy)).shards[0])
    assert isinstance(index, ShardIndex)
    (copy / "shard-000000.idx.npz").write_bytes(replace(index, packing="frames").to_bytes())
    rewrite_shard(copy, 0, rehash(copy))
    assert "shard 0: the index is for packing frames, the manifest says mjpg" in texts(copy)


def test_manifest_without_shards_is_sound(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, *args: object) -> Frames:
        raise VideoError(status="rejected", reason="no")

    monkeypatch.setattr(shardify.build.shard_writer, "decode_video", fail)
    build(build_config(source, tmp_path, max_rejected_share=1.0))
    assert isinstance(read_manifest(open_store(tmp_path)), Manifest)
    assert texts(tmp_path, deep=True) == []
