"""Builds of archives: the frames of loose videos, each archive read once, equal bytes however they come about."""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers_archives import archived_config, files_below, pack_classes, write_tar
from helpers_fault_proxy import FaultProxy
from helpers_s3 import S3Server
from helpers_shards import NUM_VIDEOS, build_config, contents, make_source, make_video
from helpers_turns import interrupt

import shardify.window_writer
import shardify.windows
from shardify.build_config import BuildConfig
from shardify.build_summary import BuildSummary, PartSummary
from shardify.config import dump_config
from shardify.errors import UsageError, WorkError
from shardify.format import ShardRecord, read_index, read_manifest
from shardify.frames import Frames, VideoError, ffmpeg_binary
from shardify.object_store import ObjectStore
from shardify.part import Part
from shardify.retrying import RETRY_VARIABLE
from shardify.run import build, build_part, finish
from shardify.storage import FolderStore, open_store
from shardify.traffic import take
from shardify.verify import verify
from shardify.writer import OpenShard, decode_source

NAMES = ("a.tar", "b.tgz", "more/Zoom.tar.gz")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`videos` loose, the same in `archives`, and `lists`; one listed video is not there, one there is not listed."""
    root = make_source(tmp_path_factory.mktemp("source"))
    (root / "videos" / "Spin" / "v_Spin_g04_c02.avi").rename(root / "videos" / "Spin" / "extra.avi")
    pack_classes(root / "videos", root / "archives")
    return root


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "built"
    summary = build(archived_config(source / "archives", source / "lists", out))
    assert (summary.num_samples, summary.num_missing, summary.num_unlisted) == (NUM_VIDEOS - 1, 1, 1)
    return out


@pytest.fixture
def archives(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source / "archives", tmp_path / "archives"))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the videos that are decoded in this process."""
    sizes: list[int] = []
    real = decode_source

    def decode(memory: Any, recipe: Any) -> Frames | VideoError:
        sizes.append(memory.num_bytes)
        return real(memory, recipe)

    monkeypatch.setattr(shardify.window_writer, "decode_source", decode)
    return sizes


def samples(out: Path) -> dict[str, tuple[Any, ...]]:
    """What a data set holds of each video, by the video's file name."""
    store = open_store(out)
    found = {}
    for shard in read_manifest(store).shards:
        index = read_index(store, shard)
        tar = store.read(f"shard-{shard.number:06d}.tar")
        for entry in index:
            start = tar.index(f"{entry.key}.json".encode()) + 512
            about = json.loads(tar[start : tar.index(b"\n", start)])
            frames = tar[entry.offset : entry.offset + int(entry.frame_bytes.sum())]
            path = about.pop("path")
            assert path.rpartition("/")[2] not in found
            found[path.rpartition("/")[2]] = (about, frames, shard.splits, entry.label)
    return found


def test_samples_are_those_of_loose_videos(source: Path, built: Path, tmp_path: Path) -> None:
    build(build_config(source, tmp_path / "loose"))
    assert samples(built) == samples(tmp_path / "loose")
    assert (built / "missing.jsonl").read_bytes() == (tmp_path / "loose" / "missing.jsonl").read_bytes()
    assert verify(open_store(built), deep=True).problems == ()


def test_shards_are_filled_in_the_order_of_the_archives(source: Path, built: Path) -> None:
    """Each window's signatures: in both train lists, test1, test2."""
    manifest = read_manifest(open_store(built))
    assert [shard.number for shard in manifest.shards] == [0, 1, 2, 1000, 1001, 1002, 2000, 2001, 2002]
    assert [shard.splits for shard in manifest.shards[:3]] == [
        ("test1", "train2"),
        ("train1", "test2"),
        ("train1", "train2"),
    ]
    keys = read_index(open_store(built), manifest.shards[2]).keys
    assert [key.rpartition("-")[0] for key in keys] == [
        f"UCF-101__Fall__v_Fall_g{group:02d}_c{clip:02d}" for group in (3, 4) for clip in (1, 2)
    ]
    window = json.loads((built / "window-000002.json").read_bytes())
    assert (window["state"], window["shards"], len(window["found"])) == ("complete", [2000, 2001, 2002], 8)
    assert [archive["path"] for archive in window["archives"]] == ["more/Zoom.tar.gz"]


def test_descriptions_name_no_place(source: Path, built: Path) -> None:
    for path in built.glob("*.json*"):
        assert str(source) not in path.read_text(), path


@pytest.mark.parametrize("workers", [2, 3, 9])
def test_same_bytes_for_any_number_of_workers(source: Path, built: Path, tmp_path: Path, workers: int) -> None:
    build(archived_config(source / "archives", source / "lists", tmp_path, workers=workers))
    assert contents(tmp_path) == contents(built)


def test_parts_and_finish_give_the_same_bytes(source: Path, built: Path, tmp_path: Path) -> None:
    config = archived_config(source / "archives", source / "lists", tmp_path)
    first = build_part(config, Part(number=2, count=2))
    assert "part 2/2 is done: 1 windows of archives, 1 of them written now" in first.lines()[0]
    with pytest.raises(WorkError, match=r"2 of 3 windows .* not packed yet \(the first is 0, with a.tar\); run"):
        finish(config)
    build_part(config, Part(number=1, count=2))
    assert contents(tmp_path) == contents(built)
    for name in ("manifest.json", "rejected.jsonl", "missing.jsonl"):
        (tmp_path / name).unlink()
    assert finish(config).num_missing == 1
    assert contents(tmp_path) == contents(built)


def test_parts_of_archives_end_in_the_midst_of_each_other(
    source: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has nothing to do while another writes a lost shard anew, up to any point of it, where it may be killed."""
    config = archived_config(source / "archives", source / "lists", tmp_path / "out")
    decodes: dict[int, Frames | VideoError] = {}

    def decode(memory: Any, recipe: Any) -> Frames | VideoError:
        if memory.num_bytes not in decodes:
            decodes[memory.num_bytes] = decode_source(memory, recipe)
        memory.close()
        return decodes[memory.num_bytes]

    monkeypatch.setattr(shardify.window_writer, "decode_source", decode)
    idle: list[BuildSummary | PartSummary] = []
    for at in itertools.count(1):
        for killed_at in (None, at):
            out = Path(shutil.copytree(built, tmp_path / "out"))
            (out / "shard-001001.json").unlink()
            num_accesses = interrupt(
                lambda: build_part(config, Part(number=2, count=3)),
                lambda: idle.append(build_part(config, Part(number=1, count=3))),
                at,
                killed_at,
            )
            if killed_at is None:
                assert contents(out) == contents(built)
            else:
                build_part(config, Part(number=2, count=3))
                assert contents(out) == contents(built)
            shutil.rmtree(out)
        if num_accesses < at:
            break
    assert {type(summary) for summary in idle} == {BuildSummary, PartSummary}
    assert all(summary.num_shards_written == 0 for summary in idle)


def test_a_shard_that_was_lost_is_no_error_of_another_part(source: Path, built: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(built, tmp_path / "out"))
    config = archived_config(source / "archives", source / "lists", out)
    (out / "shard-001001.json").unlink()
    with pytest.raises(
        WorkError, match=r"1 shards of packed windows are gone \(1001 ...\), or another process is writing"
    ):
        finish(config)
    summary = build_part(config, Part(number=1, count=3))
    assert isinstance(summary, PartSummary)
    assert (summary.num_shards_written, summary.num_shards_missing) == (0, 1)
    build_part(config, Part(number=2, count=3))
    assert contents(out) == contents(built)


def test_a_bucket_of_archives_gives_the_same_bytes_and_is_read_once(
    source: Path, built: Path, tmp_path: Path, s3_url: str
) -> None:
    store = open_store(s3_url)
    for name, data in files_below(source / "archives").items():
        store.write(f"archives/{name}", data)
    for name, data in files_below(source / "lists").items():
        store.write(f"lists/{name}", data)
    config = archived_config(f"{s3_url}/archives", Path("unused"), tmp_path, source__lists=f"{s3_url}/lists")
    take()
    build(config)
    list_bytes = sum(len(data) for data in files_below(source / "lists").values())
    archive_bytes = sum(len(data) for data in files_below(source / "archives").values())
    assert take().bytes_read == archive_bytes + 2 * list_bytes  # lists: once to plan, once where windows are written
    assert contents(tmp_path) == contents(built)
    build(config)
    assert take().bytes_read == list_bytes

    to_bucket = archived_config(f"{s3_url}/archives", source / "lists", f"{s3_url}/out", workers=2)
    assert build(to_bucket).num_shards_written == 9
    out = open_store(f"{s3_url}/out")
    assert {name: out.read(name) for name in out.names()} == contents(built)


def test_large_archives_are_read_piece_by_piece(
    source: Path, built: Path, tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shardify.object_store.CHUNK_BYTES", 10_000)
    for name, data in files_below(source / "archives").items():
        open_store(s3_url).write(name, data)
    reads: Counter[str] = Counter()
    real = ObjectStore.read_range

    def read_range(self: ObjectStore, name: str, start: int, num_bytes: int) -> bytes:
        assert start == reads[name]  # each byte once, from first to last
        reads[name] += num_bytes
        return real(self, name, start, num_bytes)

    monkeypatch.setattr(ObjectStore, "read_range", read_range)
    build(archived_config(s3_url, source / "lists", tmp_path))
    assert reads == {name: len(data) for name, data in files_below(source / "archives").items()}
    assert contents(tmp_path) == contents(built)


def test_an_outage_is_not_taken_for_damage(
    source: Path, built: Path, tmp_path: Path, s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shardify.object_store.CHUNK_BYTES", 10_000)
    for name, data in files_below(source / "archives").items():
        open_store(s3_url).write(name, data)
    config = archived_config(s3_url, source / "lists", tmp_path)
    with FaultProxy(s3_server.endpoint) as proxy:
        s3_server.set_environment(monkeypatch, proxy.endpoint)
        monkeypatch.setenv(RETRY_VARIABLE, "20")
        proxy.cut(after_bytes=500, times=2, path="*.tgz")
        proxy.fail(500, times=2, path="*.tar")
        build(config)
        assert contents(tmp_path) == contents(built)
        assert dict(proxy.counts) == {"cut": 2, "fail": 2}

        shutil.rmtree(tmp_path)
        monkeypatch.setenv(RETRY_VARIABLE, "0.5")
        proxy.fail(503, times=10_000, path="*.tgz")
        with pytest.raises(WorkError, match=r"b.tgz: the server answered 503.*run the same command again to continue"):
            build(config)
        states = {path.name: json.loads(path.read_bytes())["state"] for path in tmp_path.glob("window-*.json")}
        assert states == {"window-000000.json": "complete", "window-000001.json": "begun"}


def test_an_mp4_whose_index_is_at_its_end(tmp_path: Path) -> None:
    """Which a pipe cannot decode."""
    make_video(tmp_path / "videos" / "c" / "v.mp4", num_frames=20)
    data = (tmp_path / "videos" / "c" / "v.mp4").read_bytes()
    assert data.index(b"moov") > data.index(b"mdat")
    write_tar(tmp_path / "archives" / "a.tgz", {"c/v.mp4": data})
    summary = build(build_config(tmp_path, tmp_path / "out", source={"kind": "flat", "videos": tmp_path / "archives"}))
    assert (summary.num_samples, summary.num_frames, summary.num_rejected) == (1, 20, 0)


# Going on


def test_a_rerun_decodes_and_writes_nothing(source: Path, built: Path, tmp_path: Path, decoded: list[int]) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    written = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    summary = build(archived_config(source / "archives", source / "lists", copy, workers=2))
    assert (summary.num_shards_written, summary.num_samples, decoded) == (0, NUM_VIDEOS - 1, [])
    assert {path.name: path.stat().st_mtime_ns for path in copy.iterdir() if path.name != ".lock"} == {
        name: time for name, time in written.items() if name != ".lock"
    }


@pytest.mark.parametrize(
    ("lost", "num_decoded", "num_written"),
    [
        (["shard-001001.json"], 2, 1),
        (["shard-001001.tar", "shard-002000.idx.npz"], 4, 2),
        (["window-000001.json"], 7, 3),
        (["window-000000.json", "shard-000002.json", "manifest.json"], 8, 3),
        (["manifest.json", "missing.jsonl"], 0, 0),
    ],
)
def test_a_rerun_mends_what_is_missing(
    source: Path, built: Path, tmp_path: Path, decoded: list[int], lost: list[str], num_decoded: int, num_written: int
) -> None:
    """Without its record, a window's shards may come from other archives."""
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    for name in lost:
        (copy / name).unlink()
    summary = build(archived_config(source / "archives", source / "lists", copy))
    assert contents(copy) == contents(built)
    assert (len(decoded), summary.num_shards_written) == (num_decoded, num_written)


@pytest.mark.parametrize("after", [1, 4, 9, 20])
def test_a_build_that_ends_anywhere_goes_on(
    source: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Killed before the n-th object was written; whole shards of a window that has begun are kept."""
    lists, whole, out = source / "lists", tmp_path / "whole", tmp_path / "out"
    build(archived_config(source / "archives", lists, whole, videos_per_shard=2))
    real, count = FolderStore.write_file, 0

    def write(self: FolderStore, name: str, path: Path) -> None:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        real(self, name, path)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "write_file", write)
        with pytest.raises(KeyboardInterrupt):
            build(archived_config(source / "archives", lists, out, videos_per_shard=2))
    left = list(out.glob("shard-*.json"))
    assert not list(out.glob(".*.tmp"))
    summary = build(archived_config(source / "archives", lists, out, videos_per_shard=2))
    assert contents(out) == contents(whole)
    assert summary.num_shards_written == summary.num_shards - len(left)


def test_membership_does_not_depend_on_what_decodes(
    source: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    calls = itertools.count()

    def fail_some(memory: Any, recipe: Any) -> Frames | VideoError:
        if next(calls) in (1, 9):
            memory.close()
            return VideoError(status="transient", reason="no time")
        return decode_source(memory, recipe)

    with monkeypatch.context() as patch:
        patch.setattr(shardify.window_writer, "decode_source", fail_some)
        config = archived_config(source / "archives", source / "lists", tmp_path, max_rejected_share=1)
        assert build(config).num_transient == 2
    lacking = contents(tmp_path)
    changed = {name for name, data in contents(built).items() if lacking[name] != data}
    assert lacking.keys() == contents(built).keys()
    shards = {name for name in changed if name.startswith("shard-")}
    assert len(shards) == 2 * 3  # two shards of three objects each
    assert changed - shards == {"manifest.json", "rejected.jsonl"}
    decoded.clear()
    build(archived_config(source / "archives", source / "lists", tmp_path), retry_failed=True)
    assert contents(tmp_path) == contents(built)
    assert 2 <= len(decoded) <= 6  # the shards that lack videos, no others


# Damage


def cut(path: Path, num_bytes: int = 5_000) -> None:
    path.write_bytes(path.read_bytes()[:-num_bytes])


def test_a_damaged_archive_is_one_clear_line_and_the_others_are_done(
    source: Path, built: Path, archives: Path, tmp_path: Path, decoded: list[int]
) -> None:
    whole = (archives / "b.tgz").read_bytes()
    cut(archives / "b.tgz")
    out = tmp_path / "out"
    config = archived_config(archives, source / "lists", out, videos_per_shard=2)
    message = (
        r"^b.tgz is damaged after Spin/v_Spin_g\d\d_c\d\d.avi \(byte \d+ of the tar\): its gzip stream ends too early, "
        r"so it was cut short; fetch it again .*; or go without what is lost of it with --set source.acc"
    )
    with pytest.raises(WorkError, match=message):
        build(config)
    with pytest.raises(WorkError, match=message):
        finish(config)
    states = {path.name: json.loads(path.read_bytes())["state"] for path in sorted(out.glob("window-*.json"))}
    assert list(states.values()) == ["complete", "damaged", "complete"]
    assert not (out / "manifest.json").exists()
    assert not list(out.glob("shard-001*"))

    (archives / "b.tgz").write_bytes(whole)
    decoded.clear()
    build(config)
    build(archived_config(source / "archives", source / "lists", tmp_path / "whole", videos_per_shard=2))
    assert contents(out) == contents(tmp_path / "whole")
    assert len(decoded) < 2 * NUM_VIDEOS - 8  # only that archive was decoded anew


def test_a_part_with_a_damaged_archive_fails(source: Path, archives: Path, tmp_path: Path) -> None:
    cut(archives / "b.tgz")
    config = archived_config(archives, source / "lists", tmp_path / "out")
    with pytest.raises(WorkError, match=r"^b.tgz is damaged"):
        build_part(config, Part(number=2, count=3))
    build_part(config, Part(number=1, count=3))


def test_the_rest_of_a_damaged_archive_may_be_done_without(source: Path, archives: Path, tmp_path: Path) -> None:
    cut(archives / "b.tgz")
    lists, out = source / "lists", tmp_path / "out"
    with pytest.raises(WorkError, match="is damaged"):
        build(archived_config(archives, lists, out))
    accepting = archived_config(archives, lists, out, source__accept_damaged_archives=True)
    summary = build(accepting)
    at_once = build(archived_config(archives, lists, tmp_path / "at_once", source__accept_damaged_archives=True))
    assert contents(out) == contents(tmp_path / "at_once")
    assert summary.num_samples == at_once.num_samples
    assert summary.num_missing == NUM_VIDEOS - summary.num_samples
    assert 1 < summary.num_missing < 8
    assert any(line.startswith("went without what is lost of it: b.tgz is damaged after") for line in summary.lines())
    assert "window-000001.json" in contents(out)


def flip(path: Path) -> None:
    """Change one byte of the first video, or change it back; the archive is compressed by gzip's level 0."""
    data = bytearray(path.read_bytes())
    with suppress(zlib.error):  # else it is changed
        data = bytearray(gzip.compress(zlib.decompress(data, wbits=31), compresslevel=0, mtime=0))
    data[2_500] ^= 255
    path.write_bytes(data)


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the shards that are committed in this process."""
    numbers: list[int] = []
    real = OpenShard.commit

    def commit(self: OpenShard) -> ShardRecord:
        numbers.append(self.number)
        return real(self)

    monkeypatch.setattr(OpenShard, "commit", commit)
    return numbers


def shards_in(out: Path) -> list[int]:
    return [int(path.name[6:12]) for path in sorted(out.glob("shard-*.json"))]


def refuse(config: BuildConfig, reason: str = "b.tgz is damaged and none of it can be trusted.*incorrect data") -> None:
    with pytest.raises(WorkError, match=reason):
        build(config)
    assert not Path(config.out, "manifest.json").exists()


def test_shards_of_an_archive_whose_checksum_does_not_fit_do_not_stay(
    source: Path, archives: Path, tmp_path: Path, committed: list[int], decoded: list[int]
) -> None:
    """A flipped byte decompresses, decodes to other frames, and leaves the archive's size as it was."""
    config = archived_config(archives, source / "lists", tmp_path / "out", videos_per_shard=2)
    flip(archives / "b.tgz")
    refuse(config)
    assert 1000 in committed  # before the end of the archive, and its checksum, was reached
    assert {number // 1000 for number in shards_in(tmp_path / "out")} == {0, 2}
    assert not list((tmp_path / "out").glob("shard-001*"))

    flip(archives / "b.tgz")
    decoded.clear()
    build(config)
    assert len(decoded) == 7  # that archive alone
    build(archived_config(source / "archives", source / "lists", tmp_path / "whole", videos_per_shard=2))
    assert samples(tmp_path / "out") == samples(tmp_path / "whole")


def test_shards_of_a_killed_run_do_not_stay_if_the_rerun_finds_damage(
    source: Path, archives: Path, tmp_path: Path, committed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = archived_config(archives, source / "lists", tmp_path / "out", videos_per_shard=2)
    flip(archives / "b.tgz")

    class Killed(BaseException):
        pass

    def die(self: FolderStore, name: str, path: Path) -> None:
        if name == "shard-001001.tar":
            raise Killed
        write_file(self, name, path)

    write_file = FolderStore.write_file
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "write_file", die)
        with pytest.raises(Killed):
            build(config)
    left = [number for number in shards_in(tmp_path / "out") if number >= 1000]
    assert len(left) == 1
    committed.clear()
    refuse(config)
    assert left[0] not in committed  # it was kept until then
    assert not list((tmp_path / "out").glob("shard-001*"))
    flip(archives / "b.tgz")
    build(config)
    build(archived_config(source / "archives", source / "lists", tmp_path / "whole", videos_per_shard=2))
    assert samples(tmp_path / "out") == samples(tmp_path / "whole")


@pytest.mark.parametrize("killed_in_second_pass", [False, True])
def test_an_archive_whose_checksum_does_not_fit_is_left_out_if_that_is_accepted(
    source: Path,
    archives: Path,
    tmp_path: Path,
    committed: list[int],
    monkeypatch: pytest.MonkeyPatch,
    killed_in_second_pass: bool,
) -> None:
    """The window becomes what it were without it; what was full before it stays."""
    flip(archives / "b.tgz")
    cut(archives / "more" / "Zoom.tar.gz")
    accepting: dict[str, Any] = {
        "videos_per_shard": 3,
        "source__archives_per_window": 3,
        "source__accept_damaged_archives": True,
    }
    config = archived_config(archives, source / "lists", tmp_path / "out", **accepting)
    if killed_in_second_pass:
        real = OpenShard.commit

        def commit(self: OpenShard) -> ShardRecord:
            record = real(self)
            if committed.count(self.number) == 2:
                raise KeyboardInterrupt
            return record

        with monkeypatch.context() as patch:
            patch.setattr(OpenShard, "commit", commit)
            with pytest.raises(KeyboardInterrupt):
                build(config)
        assert json.loads((tmp_path / "out" / "window-000000.json").read_bytes())["left_out"].keys() == {"b.tgz"}
    summary = build(config)
    assert committed.count(2) == 1  # the one that was full before b.tgz
    assert len(committed) > len(set(committed))
    [first, second] = summary.notes
    assert first.startswith("went without what is lost of it: b.tgz is damaged and none of it can be trusted")
    assert second.startswith("went without what is lost of it: more/Zoom.tar.gz is damaged after ")
    assert build(config).num_shards_written == 0
    (tmp_path / "out" / "shard-000000.tar").unlink()
    assert build(config).num_shards_written == 1

    write_tar(archives / "b.tgz", {})
    build(archived_config(archives, source / "lists", tmp_path / "without", **accepting))
    ours, theirs = contents(tmp_path / "out"), contents(tmp_path / "without")
    assert {name for name in ours | theirs if ours.get(name) != theirs.get(name)} == {"window-000000.json"}
    assert verify(open_store(tmp_path / "out"), deep=True).problems == ()


def test_shards_before_a_damaged_archive_of_a_window_stay(
    source: Path, archives: Path, tmp_path: Path, committed: list[int], decoded: list[int]
) -> None:
    lists = source / "lists"
    changes: dict[str, Any] = {"videos_per_shard": 2, "source__archives_per_window": 3}
    config = archived_config(archives, lists, tmp_path / "out", **changes)
    damaged = [archives / "b.tgz", archives / "more" / "Zoom.tar.gz"]
    for path in damaged:
        flip(path)
    refuse(config, r"b.tgz is damaged and none of it can be trusted.* \(2 archives are damaged, see")
    assert len(decoded) == 15  # nothing behind the damaged one
    before = shards_in(tmp_path / "out")
    assert before == [0, 1, 2, 3]  # the 8 videos of a.tar
    committed.clear()
    for path in damaged:
        flip(path)
    build(config)
    assert not set(before) & set(committed)
    build(archived_config(source / "archives", lists, tmp_path / "whole", **changes))
    assert samples(tmp_path / "out") == samples(tmp_path / "whole")


@pytest.mark.parametrize("accept", [False, True])
def test_damage_that_comes_later_does_not_cost_shards_that_were_good(
    source: Path, archives: Path, tmp_path: Path, committed: list[int], accept: bool
) -> None:
    flip(archives / "b.tgz")
    flip(archives / "b.tgz")
    changes: dict[str, Any] = {"videos_per_shard": 2, "source__accept_damaged_archives": accept}
    config = archived_config(archives, source / "lists", tmp_path / "out", **changes)
    build(config)
    before = contents(tmp_path / "out")
    flip(archives / "b.tgz")
    (tmp_path / "out" / "shard-001001.tar").unlink()
    for _ in range(2):
        committed.clear()
        refuse(
            config, "none of it can be trusted.*put back what it was, or delete window-000001" if accept else "none of"
        )
        assert committed == [1001]
        left = {name for name in before if name.startswith("shard-") and not name.startswith("shard-001001")}
        assert {name: data for name, data in contents(tmp_path / "out").items() if name.startswith("shard-")} == {
            name: before[name] for name in left
        }
    if accept:
        (tmp_path / "out" / "window-000001.json").unlink()
        assert build(config).num_missing == 8
    else:
        flip(archives / "b.tgz")
        build(config)
        assert contents(tmp_path / "out") == before


def test_what_was_packed_of_a_damaged_archive_does_not_stay_when_it_is_whole(
    source: Path, archives: Path, tmp_path: Path
) -> None:
    """A header that is damaged and mended leaves the archive's size as it was."""
    changes: dict[str, Any] = {"videos_per_shard": 2, "source__archives_per_window": 3}
    whole = bytearray((archives / "a.tar").read_bytes())
    second = whole.index(b"./UCF-101/Fall/v_Fall_g01_c02.avi")
    (archives / "a.tar").write_bytes(whole[:second] + b"x" * 512 + whole[second + 512 :])
    accepting = archived_config(
        archives, source / "lists", tmp_path / "out", source__accept_damaged_archives=True, **changes
    )
    assert build(accepting).num_missing == 8
    (tmp_path / "out" / "shard-000001.tar").unlink()
    config = archived_config(archives, source / "lists", tmp_path / "out", **changes)
    refuse(config, "a.tar is damaged after UCF-101/Fall/v_Fall_g01_c01.avi")
    (archives / "a.tar").write_bytes(whole)
    build(config)
    build(archived_config(source / "archives", source / "lists", tmp_path / "whole", **changes))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_an_archive_that_changed_is_refused(source: Path, archives: Path, tmp_path: Path) -> None:
    config = archived_config(archives, source / "lists", tmp_path / "out")
    build(config)
    size = (archives / "a.tar").stat().st_size
    (archives / "a.tar").write_bytes((archives / "a.tar").read_bytes() + bytes(512))
    message = rf"the archive a.tar had {size} bytes when it was packed and has {size + 512} now; delete window-000000"
    with pytest.raises(UsageError, match=message):
        build(config)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "window-000000.json").unlink()
    build(config)
    assert {name for name, data in contents(tmp_path / "out").items() if before[name] != data} == {"window-000000.json"}
    (archives / "a.tar").rename(archives / "c.tar")
    with pytest.raises(UsageError, match=r"there were 3 archives and are now 3 \(without a.tar; with c.tar\)"):
        build(config)
    write_tar(archives / "a.tar", {})
    with pytest.raises(UsageError, match=r"there were 3 archives and are now 4 \(with c.tar\)"):
        build(config)


def test_lists_that_changed_are_refused(source: Path, tmp_path: Path) -> None:
    lists = Path(shutil.copytree(source / "lists", tmp_path / "lists"))
    build(archived_config(source / "archives", lists, tmp_path / "out"))
    path = lists / "trainlist01.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UsageError, match=r"was built differently: the source's videos have other names, labels or"):
        build(archived_config(source / "archives", lists, tmp_path / "out"))


# Sources


def test_several_archives_in_a_window(source: Path, tmp_path: Path) -> None:
    config = archived_config(source / "archives", source / "lists", tmp_path / "out", source__archives_per_window=2)
    build(config)
    numbers = [shard.number for shard in read_manifest(open_store(tmp_path / "out")).shards]
    assert numbers == [0, 1, 2, 3, 1000, 1001, 1002]  # 8 videos in both train lists fill one shard of 5 and one of 3
    with pytest.raises(UsageError, match="archives_per_window was 2 and is now 1"):
        build(archived_config(source / "archives", source / "lists", tmp_path / "out"))


def test_one_archive_alone(source: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "all.tgz", {f"UCF/{name}": data for name, data in files_below(source / "videos").items()})
    summary = build(archived_config(tmp_path / "all.tgz", source / "lists", tmp_path / "out"))
    assert (summary.num_samples, summary.num_missing, summary.num_unlisted) == (NUM_VIDEOS - 1, 1, 1)
    keys = list(samples(tmp_path / "out"))
    assert len(keys) == NUM_VIDEOS - 1


def test_copies_of_a_listed_video_are_told(source: Path, archives: Path, tmp_path: Path) -> None:
    data = (source / "videos" / "Fall" / "v_Fall_g01_c01.avi").read_bytes()
    write_tar(archives / "z.tar", {"again/Fall/v_Fall_g01_c01.avi": data})
    summary = build(archived_config(archives, source / "lists", tmp_path / "out"))
    assert (summary.num_samples, summary.num_missing) == (NUM_VIDEOS, 1)
    assert summary.notes == ("1 videos are copies of a listed one; each is a sample of its own",)


def test_a_folder_per_class_needs_the_names_of_the_classes(source: Path, tmp_path: Path) -> None:
    folder = {"kind": "folder", "videos": source / "archives"}
    with pytest.raises(UsageError, match=r"not known before they are read; name the classes, .*source.label_map=FILE"):
        build(build_config(source, tmp_path / "out", source=folder))
    (tmp_path / "classes.txt").write_text("Zoom\nSpin\nJump\n")
    summary = build(
        build_config(source, tmp_path / "out", source=folder | {"label_map": str(tmp_path / "classes.txt")})
    )
    assert (summary.num_samples, summary.num_unlisted) == (16, 8)
    assert Counter(label for *_, label in samples(tmp_path / "out").values()) == {0: 8, 1: 8}
    assert read_manifest(open_store(tmp_path / "out")).classes == ("Zoom", "Spin", "Jump")


def test_kinetics(source: Path, tmp_path: Path) -> None:
    videos = list(files_below(source / "videos").values())
    write_tar(
        tmp_path / "k" / "train" / "part_0.tar.gz",
        {"./aaaaaaaaaaa_000001_000011.mp4": videos[0], "bbbbbbbbbbb.mp4": videos[1], "nobody.mp4": videos[2]},
    )
    write_tar(tmp_path / "k" / "val.tar", {"val/riding_a_bike/ccccccccccc_000005_000015.mp4": videos[3]})
    (tmp_path / "list.csv").write_text(
        "label,youtube_id,time_start,time_end,split\n"
        "jumping,aaaaaaaaaaa,1,11,train\njumping,bbbbbbbbbbb,2,12,train\n"
        "jumping,ccccccccccc,5,15,train\nriding a bike,ccccccccccc,5,15,validate\njumping,ddddddddddd,1,2,train\n"
    )
    kinetics = {"kind": "kinetics", "release": 400, "videos": tmp_path / "k", "lists": tmp_path / "list.csv"}
    out = tmp_path / "out"
    summary = build(build_config(source, out, source=kinetics, max_missing_share=1))
    assert (summary.num_samples, summary.num_missing, summary.num_unlisted) == (3, 2, 1)
    found = {name: (splits, label) for name, (_, _, splits, label) in samples(out).items()}
    assert found == {
        "aaaaaaaaaaa_000001_000011.mp4": (("train",), 0),
        "bbbbbbbbbbb.mp4": (("train",), 0),
        "ccccccccccc_000005_000015.mp4": (("val",), 1),
    }
    missing = [json.loads(line)["name"] for line in (out / "missing.jsonl").read_text().splitlines()]
    assert missing == ["train/jumping/ccccccccccc_000005_000015", "train/jumping/ddddddddddd_000001_000002"]


def test_archives_that_hold_nothing_of_the_data_set(source: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "archives" / "x.tar", {"some/video.avi": b"video"})
    message = (
        r"no video of the data set is in its 1 archives, though they hold 1 other videos, such as x.tar/some/video"
    )
    with pytest.raises(WorkError, match=message):
        build(archived_config(tmp_path / "archives", source / "lists", tmp_path / "out"))


def test_too_many_shards_or_windows_say_which_key_to_change(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = archived_config(source / "archives", source / "lists", tmp_path, videos_per_shard=1)
    monkeypatch.setattr(shardify.window_writer, "SHARDS_PER_WINDOW", 5)
    with pytest.raises(
        WorkError, match=r"begins with a.tar needs more than 5 shards; raise videos_per_shard \(now 1\)"
    ):
        build(config)
    monkeypatch.setattr(shardify.windows, "MAX_WINDOWS", 2)
    with pytest.raises(
        UsageError, match=r"3 archives make 3 windows, at most 2 .* source.archives_per_window=2 or more"
    ):
        build(config)


def test_what_waits_to_be_decoded_is_bounded(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With videos larger than the limit, one is in memory, and the one that made it too much."""
    alive, most = 0, 0
    lock = threading.Lock()
    real = decode_source

    def decode(memory: Any, recipe: Any) -> Frames | VideoError:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        time.sleep(0.02)
        result = real(memory, recipe)
        with lock:
            alive -= 1
        return result

    monkeypatch.setattr(shardify.window_writer, "decode_source", decode)
    one = write_tar(tmp_path / "one.tar", files_below(source / "videos"))
    build(archived_config(one, source / "lists", tmp_path / "many", workers=4))
    assert 2 < most <= 4
    most = 0
    monkeypatch.setattr(shardify.window_writer, "MAX_WAITING_BYTES", 1)
    build(archived_config(one, source / "lists", tmp_path / "one", workers=4))
    assert most <= 2
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


# Real processes


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_build_goes_on(source: Path, built: Path, tmp_path: Path, sign: signal.Signals) -> None:
    slow, hold = tmp_path / "slow-ffmpeg", tmp_path / "hold"
    work = f'if [ -e {hold} ]; then exec sleep 30; else sleep 0.2; exec {ffmpeg_binary()} "$@"; fi'
    slow.write_text(f'#!/bin/sh\ncase "$*" in *-version*) exec {ffmpeg_binary()} "$@" ;; *) {work} ;; esac\n')
    slow.chmod(0o755)
    out = tmp_path / "out"
    config = archived_config(source / "archives", source / "lists", out, frames={"ffmpeg": str(slow)}, workers=1)
    (tmp_path / "config.yaml").write_text(dump_config(config))
    process = subprocess.Popen(
        [sys.executable, "-m", "shardify", "build", str(tmp_path / "config.yaml")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("shard-*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    hold.touch()
    time.sleep(1)
    os.killpg(process.pid, sign)
    _, errors = process.communicate(timeout=10)  # though the videos at hand would take longer
    assert not (out / "manifest.json").exists()
    if sign == signal.SIGINT:
        assert (process.returncode, errors.splitlines()[-1]) == (130, "interrupted; the same command goes on from here")
        assert not list(out.glob(".*.tmp"))
    build(archived_config(source / "archives", source / "lists", out))
    assert contents(out) == contents(built)
