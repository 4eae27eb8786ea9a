"""Builds of archives: the frames of loose videos, each archive read once, equal bytes however they come about."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers_archives import archived_config, files_below, samples, write_tar
from helpers_fault_proxy import FaultProxy
from helpers_s3 import S3Server
from helpers_shards import NUM_VIDEOS, build_config, contents
from helpers_turns import interrupt

import shardify.build.archives.windows
import shardify.build.archives.writer
from shardify.build.plan import Part
from shardify.build.run import build, build_part, finish
from shardify.build.shard_writer import decode_source
from shardify.build.summary import BuildSummary, PartSummary
from shardify.errors import UsageError, WorkError
from shardify.frames.decoding import Frames, VideoError
from shardify.inspection.verify import verify
from shardify.shards.index import read_index
from shardify.shards.manifest import read_manifest
from shardify.storage import open_store
from shardify.storage.retrying import RETRY_VARIABLE
from shardify.storage.traffic import take


def test_samples_are_those_of_loose_videos(archived_source: Path, archived_shards: Path, tmp_path: Path) -> None:
    build(build_config(archived_source, tmp_path / "loose"))
    assert samples(archived_shards) == samples(tmp_path / "loose")
    assert (archived_shards / "missing.jsonl").read_bytes() == (tmp_path / "loose" / "missing.jsonl").read_bytes()
    assert verify(open_store(archived_shards), deep=True).problems == ()
    for path in archived_shards.glob("*.json*"):
        assert str(archived_source) not in path.read_text(), path


def test_shards_are_filled_in_the_order_of_the_archives(archived_shards: Path) -> None:
    """Each window's signatures: in both train lists, test1, test2."""
    manifest = read_manifest(open_store(archived_shards))
    assert [shard.number for shard in manifest.shards] == [0, 1, 2, 1000, 1001, 1002, 2000, 2001, 2002]
    assert [shard.splits for shard in manifest.shards[:3]] == [
        ("test1", "train2"),
        ("train1", "test2"),
        ("train1", "train2"),
    ]
    keys = read_index(open_store(archived_shards), manifest.shards[2]).keys
    assert [key.rpartition("-")[0] for key in keys] == [
        f"UCF-101__Fall__v_Fall_g{group:02d}_c{clip:02d}" for group in (3, 4) for clip in (1, 2)
    ]
    window = json.loads((archived_shards / "window-000002.json").read_bytes())
    assert (window["state"], window["shards"], len(window["found"])) == ("complete", [2000, 2001, 2002], 8)
    assert [archive["path"] for archive in window["archives"]] == ["more/Zoom.tar.gz"]


@pytest.mark.slow
def test_same_bytes_for_more_workers_than_windows(archived_source: Path, archived_shards: Path, tmp_path: Path) -> None:
    build(archived_config(archived_source / "archives", tmp_path, workers=9))
    assert contents(tmp_path) == contents(archived_shards)


def test_parts_and_finish_give_the_same_bytes(archived_source: Path, archived_shards: Path, tmp_path: Path) -> None:
    config = archived_config(archived_source / "archives", tmp_path)
    first = build_part(config, Part(number=2, count=2))
    assert "part 2/2 is done: 1 windows of archives, 1 of them written now" in first.lines()[0]
    with pytest.raises(WorkError, match=r"2 of 3 windows .* not packed yet \(the first is 0, with a.tar\); run"):
        finish(config)
    build_part(config, Part(number=1, count=2))
    assert contents(tmp_path) == contents(archived_shards)
    for name in ("manifest.json", "rejected.jsonl", "missing.jsonl"):
        (tmp_path / name).unlink()
    assert finish(config).num_missing == 1
    assert contents(tmp_path) == contents(archived_shards)


@pytest.mark.slow
def test_parts_of_archives_end_in_the_midst_of_each_other(
    archived_source: Path, archived_shards: Path, tmp_path: Path
) -> None:
    """One has nothing to do while another writes a lost shard anew, up to any point of it, where it may be killed."""
    config = archived_config(archived_source / "archives", tmp_path / "out")
    idle: list[BuildSummary | PartSummary] = []
    for at in itertools.count(1):
        for killed_at in (None, at):
            out = Path(shutil.copytree(archived_shards, tmp_path / "out"))
            (out / "shard-001001.json").unlink()
            num_accesses = interrupt(
                lambda: build_part(config, Part(number=2, count=3)),
                lambda: idle.append(build_part(config, Part(number=1, count=3))),
                at,
                killed_at,
            )
            if killed_at is None:
                assert contents(out) == contents(archived_shards)
            else:
                build_part(config, Part(number=2, count=3))
                assert contents(out) == contents(archived_shards)
            shutil.rmtree(out)
        if num_accesses < at:
            break
    assert {type(summary) for summary in idle} == {BuildSummary, PartSummary}
    assert all(summary.num_shards_written == 0 for summary in idle)


@pytest.mark.slow
def test_a_bucket_of_archives_gives_the_same_bytes_and_is_read_once(
    archived_source: Path, archived_shards: Path, tmp_path: Path, s3_url: str
) -> None:
    store = open_store(s3_url)
    for name, data in files_below(archived_source / "archives").items():
        store.write(f"archives/{name}", data)
    for name, data in files_below(archived_source / "lists").items():
        store.write(f"lists/{name}", data)
    config = archived_config(f"{s3_url}/archives", tmp_path, source__lists=f"{s3_url}/lists")
    take()
    build(config)
    list_bytes = sum(len(data) for data in files_below(archived_source / "lists").values())
    archive_bytes = sum(len(data) for data in files_below(archived_source / "archives").values())
    assert take().bytes_read == archive_bytes + 2 * list_bytes  # lists: once to plan, once where windows are written
    assert contents(tmp_path) == contents(archived_shards)
    build(config)
    assert take().bytes_read == list_bytes

    to_bucket = archived_config(f"{s3_url}/archives", f"{s3_url}/out", source__lists=f"{s3_url}/lists", workers=2)
    assert build(to_bucket).num_shards_written == 9
    out = open_store(f"{s3_url}/out")
    assert {name: out.read(name) for name in out.names()} == contents(archived_shards)


@pytest.mark.slow
def test_an_outage_is_not_taken_for_damage(
    archived_source: Path,
    archived_shards: Path,
    tmp_path: Path,
    s3_server: S3Server,
    s3_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shardify.storage.object_store.CHUNK_BYTES", 10_000)
    for name, data in files_below(archived_source / "archives").items():
        open_store(s3_url).write(name, data)
    config = archived_config(s3_url, tmp_path, source__lists=str(archived_source / "lists"))
    with FaultProxy(s3_server.endpoint) as proxy:
        s3_server.set_environment(monkeypatch, proxy.endpoint)
        monkeypatch.setenv(RETRY_VARIABLE, "20")
        proxy.cut(after_bytes=500, times=2, path="*.tgz")
        proxy.fail(500, times=2, path="*.tar")
        build(config)
        assert contents(tmp_path) == contents(archived_shards)
        assert dict(proxy.counts) == {"cut": 2, "fail": 2}

        shutil.rmtree(tmp_path)
        monkeypatch.setenv(RETRY_VARIABLE, "0.5")
        proxy.fail(503, times=10_000, path="*.tgz")
        with pytest.raises(WorkError, match=r"b.tgz: the server answered 503.*run the same command again to continue"):
            build(config)
        states = {path.name: json.loads(path.read_bytes())["state"] for path in tmp_path.glob("window-*.json")}
        assert states == {"window-000000.json": "complete"}


# Sources


def test_several_archives_in_a_window(archived_source: Path, tmp_path: Path) -> None:
    config = archived_config(archived_source / "archives", tmp_path / "out", source__archives_per_window=2)
    build(config)
    numbers = [shard.number for shard in read_manifest(open_store(tmp_path / "out")).shards]
    assert numbers == [0, 1, 2, 3, 1000, 1001, 1002]  # 8 videos in both train lists fill one shard of 5 and one of 3
    with pytest.raises(UsageError, match="archives_per_window was 2 and is now 1"):
        build(archived_config(archived_source / "archives", tmp_path / "out"))


def test_copies_of_a_listed_video_are_told(archived_source: Path, archives: Path, tmp_path: Path) -> None:
    data = (archived_source / "videos" / "Fall" / "v_Fall_g01_c01.avi").read_bytes()
    write_tar(archives / "z.tar", {"again/Fall/v_Fall_g01_c01.avi": data})
    summary = build(archived_config(archives, tmp_path / "out"))
    assert (summary.num_samples, summary.num_missing) == (NUM_VIDEOS, 1)
    assert summary.notes == ("1 videos are copies of a listed one; each is a sample of its own",)


def test_a_folder_per_class_needs_the_names_of_the_classes(archived_source: Path, tmp_path: Path) -> None:
    folder = {"kind": "folder", "videos": archived_source / "archives"}
    with pytest.raises(UsageError, match=r"not known before they are read; name the classes, .*source.label_map=FILE"):
        build(build_config(archived_source, tmp_path / "out", source=folder))
    (tmp_path / "classes.txt").write_text("Zoom\nSpin\nJump\n")
    summary = build(
        build_config(archived_source, tmp_path / "out", source=folder | {"label_map": str(tmp_path / "classes.txt")})
    )
    assert (summary.num_samples, summary.num_unlisted) == (16, 8)
    assert Counter(label for *_, label in samples(tmp_path / "out").values()) == {0: 8, 1: 8}
    assert read_manifest(open_store(tmp_path / "out")).classes == ("Zoom", "Spin", "Jump")


def test_kinetics(archived_source: Path, tmp_path: Path) -> None:
    videos = list(files_below(archived_source / "videos").values())
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
    summary = build(build_config(archived_source, out, source=kinetics, max_missing_share=1))
    assert (summary.num_samples, summary.num_missing, summary.num_unlisted) == (3, 2, 1)
    found = {name: (splits, label) for name, (_, _, splits, label) in samples(out).items()}
    assert found == {
        "aaaaaaaaaaa_000001_000011.mp4": (("train",), 0),
        "bbbbbbbbbbb.mp4": (("train",), 0),
        "ccccccccccc_000005_000015.mp4": (("val",), 1),
    }
    missing = [json.loads(line)["name"] for line in (out / "missing.jsonl").read_text().splitlines()]
    assert missing == ["train/jumping/ccccccccccc_000005_000015", "train/jumping/ddddddddddd_000001_000002"]


def test_archives_that_hold_nothing_of_the_data_set(archived_source: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "archives" / "x.tar", {"some/video.avi": b"video"})
    message = (
        r"no video of the data set is in its 1 archives, though they hold 1 other videos, such as x.tar/some/video"
    )
    with pytest.raises(WorkError, match=message):
        build(archived_config(tmp_path / "archives", tmp_path / "out", source__lists=str(archived_source / "lists")))


def test_too_many_shards_or_windows_say_which_key_to_change(
    archived_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = archived_config(archived_source / "archives", tmp_path, videos_per_shard=1)
    monkeypatch.setattr(shardify.build.archives.writer, "SHARDS_PER_WINDOW", 5)
    with pytest.raises(WorkError, match=r"begins with a.tar needs more than 5 shards; raise videos_per_shard \(now"):
        build(config)
    monkeypatch.setattr(shardify.build.archives.windows, "MAX_WINDOWS", 2)
    with pytest.raises(UsageError, match=r"3 archives make 3 windows, at most 2 .* source.archives_per_window=2 or"):
        build(config)


def test_what_waits_to_be_decoded_is_bounded(
    archived_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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

    monkeypatch.setattr(shardify.build.archives.writer, "decode_source", decode)
    one = write_tar(tmp_path / "one.tar", files_below(archived_source / "videos"))
    (tmp_path / "lists").symlink_to(archived_source / "lists")
    build(archived_config(one, tmp_path / "many", workers=4))
    assert 2 < most <= 4
    most = 0
    monkeypatch.setattr(shardify.build.archives.writer, "MAX_WAITING_BYTES", 1)
    build(archived_config(one, tmp_path / "one", workers=4))
    assert most <= 2
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
