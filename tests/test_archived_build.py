"""Builds of archives: the frames of loose videos, each archive read once, equal bytes however they come about."""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers_archives import archived_config, files_below, make_archived_source, samples, write_tar
from helpers_fault_proxy import FaultProxy
from helpers_s3 import S3Server
from helpers_shards import NUM_VIDEOS, build_config, contents, make_video
from helpers_turns import interrupt

import shardify.window_writer
import shardify.windows
from shardify.build_summary import BuildSummary, PartSummary
from shardify.config import dump_config
from shardify.errors import UsageError, WorkError
from shardify.format import read_index, read_manifest
from shardify.frames import Frames, VideoError, ffmpeg_binary
from shardify.object_store import ObjectStore
from shardify.part import Part
from shardify.retrying import RETRY_VARIABLE
from shardify.run import build, build_part, finish
from shardify.storage import FolderStore, open_store
from shardify.traffic import take
from shardify.verify import verify
from shardify.writer import decode_source

NAMES = ("a.tar", "b.tgz", "more/Zoom.tar.gz")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archived_source(tmp_path_factory.mktemp("source"))


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
        assert (process.returncode, errors.splitlines()[-1]) == (
            130,
            "interrupted; the same command goes on from what is saved",
        )
        assert not list(out.glob(".*.tmp"))
    build(archived_config(source / "archives", source / "lists", out))
    assert contents(out) == contents(built)
