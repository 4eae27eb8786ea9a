"""Builds: what lies in a shard, that a rerun continues, that nothing but the settings and the videos shapes a byte."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers_shards import NUM_VIDEOS, build_config, contents, make_video

import shardify.build.description
import shardify.build.run
import shardify.build.shard_writer
import shardify.catalogs
from shardify.build.config import BuildConfig
from shardify.build.run import build
from shardify.build.summary import group_reasons
from shardify.catalogs.folder import FlatConfig
from shardify.errors import UsageError, WorkError
from shardify.frames.decoding import Frames, VideoError, decode_video
from shardify.shards.format import shard_name
from shardify.shards.index import Packing, read_index
from shardify.shards.manifest import read_manifest
from shardify.storage import open_store

Decode = Callable[..., Frames]


@pytest.fixture
def copy(built_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built_folder, tmp_path / "copy"))


@pytest.fixture
def broken_source(source: Path, tmp_path: Path) -> Path:
    """One video is noise, one is too short, one is not there, one is in no list."""
    root = Path(shutil.copytree(source, tmp_path / "broken"))
    (root / "videos/Fall/v_Fall_g01_c01.avi").write_bytes(b"noise " * 1000)
    make_video(root / "videos/Spin/v_Spin_g03_c02.avi", num_frames=5)
    (root / "videos/Zoom/v_Zoom_g02_c01.avi").unlink()
    make_video(root / "videos/Zoom/v_Zoom_g99_c01.avi")
    return root


@pytest.fixture
def fail_decoding(decode_once: Decode, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Exception], None]:
    """Make videos whose path holds a word fail."""

    def install(word: str, error: Exception) -> None:
        def decode(path: Path, *args: Any, **kwargs: Any) -> Frames:
            if word in path.name:
                raise error
            return decode_once(path, *args, **kwargs)

        monkeypatch.setattr(shardify.build.shard_writer, "decode_video", decode)

    return install


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("packing", ["mjpg", "frames"])
def test_shards_hold_what_ffmpeg_decodes(source: Path, tmp_path: Path, packing: Packing) -> None:
    config = build_config(source, tmp_path, pack=packing)
    summary = build(config)
    store = open_store(tmp_path)
    manifest = read_manifest(store)
    assert (summary.num_samples, summary.num_frames) == (NUM_VIDEOS, sum(range(16, 16 + NUM_VIDEOS)))
    assert summary.problems == ()
    keys = set()
    for shard in manifest.shards:
        index = read_index(store, shard)
        tar_data = store.read(shard_name(shard.number, "tar"))
        with tarfile.open(fileobj=io.BytesIO(tar_data)) as tar:
            members = [(m.name, tar.extractfile(m)) for m in tar]
            assert {(m.mtime, m.uid, m.gid, m.mode) for m in tar.getmembers()} == {(0, 0, 0, 0o444)}
        data = {name: file.read() for name, file in members if file}
        for entry in index:
            keys.add(entry.key)
            sample = json.loads(data.pop(f"{entry.key}.json"))
            frames = decode_video(source / "videos" / sample["path"], config.frames)
            offsets = entry.frame_offsets(packing).tolist()
            pieces = [tar_data[o : o + n] for o, n in zip(offsets, entry.frame_bytes.tolist(), strict=True)]
            assert tuple(pieces) == frames.jpegs
            assert entry.frame_crc32.tolist() == [zlib.crc32(jpeg) for jpeg in frames.jpegs]
            class_name = Path(sample["path"]).parent.name
            assert entry.label == manifest.classes.index(class_name) == int(data.pop(f"{entry.key}.cls"))
            assert sample == {
                "path": f"{class_name}/{entry.key.removeprefix(f'{class_name}__')}.avi",
                "label": entry.label,
                "label_name": class_name,
                "num_frames": len(frames.jpegs),
                "frame_bytes": [len(jpeg) for jpeg in frames.jpegs],
                "frame_crc32": entry.frame_crc32.tolist(),
                "width": 48,
                "height": 32,
                "fps": 25.0,
                "source_width": 64,
                "source_height": 48,
                "codec": "mpeg4",
                "duration_seconds": len(frames.jpegs) / 25,
                "warnings": [],
            }
            if packing == "mjpg":
                assert data.pop(f"{entry.key}.mjpg") == b"".join(frames.jpegs)
            else:
                assert tuple(data.pop(f"{entry.key}.{i:06d}.jpg") for i in range(entry.num_frames)) == frames.jpegs
        assert not data
    assert len(keys) == NUM_VIDEOS


def test_splits_are_whole_shards(built_folder: Path) -> None:
    store = open_store(built_folder)
    manifest = read_manifest(store)
    assert manifest.splits == ("train1", "test1", "train2", "test2")
    for split, group in (("test1", "_g01_"), ("test2", "_g02_")):
        test = [key for shard in manifest.shards_of(split) for key in read_index(store, shard).keys]
        train = [key for s in manifest.shards_of(split.replace("test", "train")) for key in read_index(store, s).keys]
        assert len(test) == NUM_VIDEOS // 4
        assert all(group in key for key in test)
        assert not any(group in key for key in train)
        assert len(train) == NUM_VIDEOS - len(test)


def test_no_object_names_a_folder_of_this_machine(built: dict[str, bytes], built_folder: Path, source: Path) -> None:
    for name, data in built.items():
        assert str(source).encode() not in data, name
        assert str(built_folder).encode() not in data, name
        assert b"workers" not in data, name


def test_same_bytes_for_any_number_of_workers(source: Path, built: dict[str, bytes], tmp_path: Path) -> None:
    summary = build(build_config(source, tmp_path / "pool", workers=3))
    assert summary.frames_per_second * summary.seconds == pytest.approx(summary.num_frames), "every report arrived"
    assert contents(tmp_path / "pool") == built


def test_rerun_of_a_finished_build_writes_nothing(source: Path, copy: Path, built: dict[str, bytes]) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    summary = build(build_config(source, copy, workers=2, max_missing_share=1.0, frames={"time_limit_seconds": 5}))
    assert (summary.num_shards_written, summary.num_samples) == (0, NUM_VIDEOS)
    assert {path.name: path.stat().st_mtime_ns for path in copy.iterdir() if path.name != ".lock"} | {
        ".lock": before[".lock"]
    } == before
    assert contents(copy) == built


@pytest.mark.parametrize("damage", ["no json", "no tar", "no index", "short tar", "no manifest", "leftovers"])
def test_rerun_mends_what_is_missing_and_nothing_else(
    source: Path, copy: Path, built: dict[str, bytes], damage: str
) -> None:
    tar = copy / "shard-000001.tar"
    match damage:
        case "no json":
            (copy / "shard-000001.json").unlink()
        case "no tar":
            tar.unlink()
        case "no index":
            (copy / "shard-000001.idx.npz").unlink()
        case "short tar":
            os.truncate(tar, 5000)
        case "no manifest":
            (copy / "manifest.json").unlink()
        case "leftovers":
            (copy / ".shard-000001.tar.99-abc.tmp").write_bytes(b"half a shard")
    summary = build(build_config(source, copy))
    assert summary.num_shards_written == (0 if damage in {"no manifest", "leftovers"} else 1)
    assert contents(copy) == built
    assert sorted(path.name for path in copy.iterdir() if path.name.startswith(".")) == [".lock"]


@pytest.mark.parametrize("crash_at", ["Fall_g03_c02", "Zoom_g01_c01"])
def test_a_crashed_build_leaves_whole_shards_and_goes_on(
    source: Path,
    built: dict[str, bytes],
    tmp_path: Path,
    crash_at: str,
    fail_decoding: Callable[[str, Exception], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_decoding(crash_at, MemoryError())
    with pytest.raises(MemoryError):
        build(build_config(source, tmp_path))
    left, whole = contents(tmp_path), built
    assert left.items() <= whole.items()
    assert "manifest.json" not in left
    assert len(left) < len(whole)
    monkeypatch.undo()
    summary = build(build_config(source, tmp_path))
    assert summary.num_shards_written == summary.num_shards - sum(name.endswith(".json") for name in left) + 1
    assert contents(tmp_path) == whole


def test_a_full_disk_is_one_clear_line_and_loses_nothing(
    source: Path, built: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = shardify.build.shard_writer.ShardTar.add
    calls = iter(range(1000))

    def add_until_full(self: shardify.build.shard_writer.ShardTar, *args: Any) -> None:
        if next(calls) == 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(self, *args)

    monkeypatch.setattr(shardify.build.shard_writer.ShardTar, "add", add_until_full)
    with pytest.raises(WorkError, match=r"no space left while writing .*shard-000002\.tar; .* run the same command"):
        build(build_config(source, tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock",
        "build.json",
        *(shard_name(number, part) for number in (0, 1) for part in ("idx.npz", "json", "tar")),
    ]
    monkeypatch.undo()
    build(build_config(source, tmp_path))
    assert contents(tmp_path) == built


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"min_frames": 20}, "min_frames was 16 and is now 20"),
        ({"seed": 4, "pack": "frames"}, "pack was mjpg and is now frames; seed was 0 and is now 4"),
        ({"frames": {"quality": 9}}, r"quality was \d and is now 9"),
        ({"frames": {"width": 64}}, "width was 48 and is now 64"),
        ({"videos_per_shard": 4}, "videos_per_shard was 5 and is now 4"),
        ({"name": "mine"}, "name was ucf101 and is now mine"),
    ],
)
def test_other_settings_are_refused_and_named(
    source: Path, copy: Path, built: dict[str, bytes], changes: dict[str, Any], difference: str
) -> None:
    with pytest.raises(UsageError, match=f"was built differently: .*{difference}.*(--set out=...)"):
        build(build_config(source, copy, **changes))
    assert contents(copy) == built


def test_a_changed_source_is_refused_and_named(source: Path, copy: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(source, tmp_path / "changed"))
    video = changed / "videos/Zoom/v_Zoom_g02_c01.avi"
    video.unlink()
    expected = (
        "the source had 24 videos and has 23 now; "
        r"there were 0 missing videos and are now 1 \(with Zoom/v_Zoom_g02_c01.avi\)"
    )
    with pytest.raises(UsageError, match=expected):
        build(build_config(changed, copy))
    video.write_bytes((source / "videos/Zoom/v_Zoom_g02_c01.avi").read_bytes())
    lists = changed / "lists"
    for name in ("trainlist01.txt", "trainlist02.txt", "testlist01.txt", "testlist02.txt", "classInd.txt"):
        path = lists / name
        path.write_text(path.read_text().replace("Zoom", "Room"))
    (changed / "videos/Zoom").rename(changed / "videos/Room")
    for video in (changed / "videos/Room").iterdir():
        video.rename(video.with_name(video.name.replace("Zoom", "Room")))
    with pytest.raises(UsageError, match=r"there were 3 classes and are now 3 \(without Zoom; with Room\)"):
        build(build_config(changed, copy))


def test_shards_of_unknown_origin_are_not_touched(source: Path, tmp_path: Path) -> None:
    (tmp_path / "shard-000000.tar").write_bytes(b"someone else's")
    with pytest.raises(UsageError, match=r"holds shard-000000.tar but no build\.json"):
        build(build_config(source, tmp_path))
    assert contents(tmp_path) == {"shard-000000.tar": b"someone else's"}


@pytest.mark.parametrize("place", ["", "shards", "../linked/deep/shards"])
def test_shards_among_the_videos_are_refused(source: Path, tmp_path: Path, place: str) -> None:
    """At once: the first build would do, and the second would take the shards for archives of videos."""
    videos = Path(shutil.copytree(source / "videos", tmp_path / "videos"))
    (tmp_path / "linked").symlink_to(videos)
    with pytest.raises(UsageError, match=r"out = .* lies in source\.videos = .*videos"):
        build(BuildConfig(source=FlatConfig(kind="flat", videos=str(videos)), out=str(videos / place), workers=1))
    assert len(list(videos.rglob("*"))) == len(list((source / "videos").rglob("*"))), "nothing was written"


def test_a_hidden_folder_among_the_videos_is_never_scanned(tmp_path: Path) -> None:
    make_video(tmp_path / "one.avi", 16)
    config = BuildConfig(source=FlatConfig(kind="flat", videos=str(tmp_path)), out=str(tmp_path / ".shards"), workers=1)
    assert build(config).num_videos == build(config).num_videos == 1


def test_damaged_description_is_a_work_error(source: Path, copy: Path) -> None:
    (copy / "build.json").write_text('{"format_version": 1}')
    with pytest.raises(WorkError, match=r"build\.json is damaged"):
        build(build_config(source, copy))


def test_rejected_and_missing_videos_are_in_the_ledgers(broken_source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = build(build_config(broken_source, out, max_rejected_share=0.1))
    assert (summary.num_samples, summary.num_rejected, summary.num_missing, summary.num_unlisted) == (21, 2, 1, 1)
    assert summary.problems == ()
    rejected = {line["path"]: line for line in lines_of(out / "rejected.jsonl")}
    assert set(rejected) == {"Fall/v_Fall_g01_c01.avi", "Spin/v_Spin_g03_c02.avi"}
    short = rejected["Spin/v_Spin_g03_c02.avi"]
    assert short["reason"] == "5 frames, but min_frames is 16"
    assert (short["status"], short["splits"]) == ("rejected", ["train1", "train2"])
    noise = rejected["Fall/v_Fall_g01_c01.avi"]
    assert (noise["status"], noise["reason"]) == ("rejected", "not a video, or its header is damaged")
    assert lines_of(out / "missing.jsonl") == [{"name": "Zoom/v_Zoom_g02_c01.avi", "splits": ["train1", "test2"]}]
    manifest = read_manifest(open_store(out))
    assert (manifest.num_rejected, manifest.num_missing) == (2, 1)
    assert sum(shard.num_samples for shard in manifest.shards) == 21


def test_shares_above_their_limits_are_problems_and_the_shards_stay(broken_source: Path, tmp_path: Path) -> None:
    config = build_config(broken_source, tmp_path / "out", max_rejected_share=0.08, max_missing_share=0.04)
    summary = build(config)
    reasons = "1: 5 frames, but min_frames is 16; 1: not a video, or its header is damaged"
    assert [problem.split(", more than ")[0] for problem in summary.problems] == [
        f"2 of 23 videos were rejected ({reasons})",
        "1 of 24 listed videos is missing",
    ]
    accepted = [problem.split("--set ")[-1] for problem in summary.problems]
    assert accepted == ["max_rejected_share=0.09", "max_missing_share=0.05"]
    changes = dict(yaml.safe_load(word.replace("=", ": ")).popitem() for word in accepted)
    assert build(config.model_copy(update=changes)).problems == (), "what is advised is enough"
    assert read_manifest(open_store(config.out)).num_rejected == 2


def test_short_videos_stay_with_min_frames_1(broken_source: Path, tmp_path: Path) -> None:
    few = build(build_config(broken_source, tmp_path / "few", max_rejected_share=0)).problems
    assert "build into another folder with --set min_frames=1; or accept" in few[0]
    summary = build(build_config(broken_source, tmp_path / "out", min_frames=1, max_rejected_share=0))
    assert summary.reasons == {"not a video, or its header is damaged": 1}
    assert summary.problems[0].startswith("1 of 23 videos was rejected (1: not a video, or its header is damaged), ")
    assert "min_frames" not in summary.problems[0], "no video was too short"


def test_a_shard_of_rejects_has_a_record_only(
    source: Path, tmp_path: Path, fail_decoding: Callable[[str, Exception], None]
) -> None:
    fail_decoding("_g01_", VideoError(status="rejected", reason="not today", ffmpeg="words"))
    config = build_config(source, tmp_path, videos_per_shard=6, max_rejected_share=1.0)
    summary = build(config)
    store = open_store(tmp_path)
    manifest = read_manifest(store)
    assert summary.num_shards == len(manifest.shards) == summary.num_shards_written
    (number,) = set(range(summary.num_shards + 1)) - {shard.number for shard in manifest.shards}
    assert store.exists(shard_name(number, "json"))
    assert not store.exists(shard_name(number, "tar"))
    assert not store.exists(shard_name(number, "idx.npz"))
    with pytest.raises(UsageError, match="no samples of split 'test1'"):
        manifest.shards_of("test1")
    assert build(config).num_shards_written == 0


@pytest.mark.parametrize(("word", "status"), [("_g01_", "transient"), ("Spin_g03", "rejected")])
def test_retry_failed_ends_as_a_build_that_never_failed(
    source: Path,
    built: dict[str, bytes],
    tmp_path: Path,
    status: Any,
    word: str,
    fail_decoding: Callable[[str, Exception], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_decoding(word, VideoError(status=status, reason="read error"))
    failed = build(build_config(source, tmp_path, max_rejected_share=1.0))
    assert failed.num_transient == (failed.num_rejected if status == "transient" else 0)
    assert failed.num_rejected > 0
    monkeypatch.undo()
    assert build(build_config(source, tmp_path)).num_shards_written == 0
    mended = build(build_config(source, tmp_path), retry_failed=True)
    assert 0 < mended.num_shards_written < mended.num_shards
    assert mended.num_rejected == 0
    assert contents(tmp_path) == built


def test_names_in_any_script_and_of_any_bytes(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    names = ["plain.avi", "größe 中文.avi", "a:b %03d -i.avi"]
    for name in names:
        make_video(videos / name)
    raw = os.fsencode(videos) + b"/\xff\xfe.avi"
    shutil.copyfile(videos / names[0], raw)
    config = build_config(tmp_path, tmp_path / "out", source={"kind": "flat", "videos": str(videos)})
    summary = build(config)
    assert (summary.num_samples, summary.num_rejected) == (4, 0)
    store = open_store(config.out)
    (shard,) = read_manifest(store).shards
    index = read_index(store, shard)
    assert index.labels.tolist() == [-1] * 4
    with tarfile.open(Path(config.out, "shard-000000.tar")) as tar:
        paths = [json.loads(tar.extractfile(m).read())["path"] for m in tar if m.name.endswith(".json")]  # type: ignore[union-attr]
    assert sorted(map(os.fsencode, paths)) == sorted([*map(os.fsencode, names), b"\xff\xfe.avi"])


def test_a_video_that_vanished_after_the_plan_is_transient(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Path(shutil.copytree(source, tmp_path / "gone"))
    read_catalog = shardify.catalogs.read_catalog

    def read_then_lose(config: Any) -> Any:
        catalog = read_catalog(config)
        (gone / "videos" / catalog.videos[3].path).unlink()
        return catalog

    monkeypatch.setattr(shardify.build.run, "read_catalog", read_then_lose)
    summary = build(build_config(gone, tmp_path / "out"))
    assert (summary.num_transient, summary.reasons) == (1, {"cannot be read: No such file or directory": 1})


def test_reasons_are_grouped_where_only_numbers_differ() -> None:
    reasons = ["5 frames, but min_frames is 16", "not a video", "7 frames, but min_frames is 16", "cut at 3"]
    assert group_reasons(reasons) == {"N frames, but min_frames is 16": 2, "cut at 3": 1, "not a video": 1}


def test_a_shard_whose_videos_all_fail_now_keeps_no_old_tar(
    source: Path, copy: Path, fail_decoding: Callable[[str, Exception], None]
) -> None:
    (copy / "shard-000001.json").unlink()
    fail_decoding("", VideoError(status="transient", reason="read error"))
    build(build_config(source, copy, max_rejected_share=1.0))
    assert [path.name for path in copy.glob("shard-000001.*")] == ["shard-000001.json"]
    assert 1 not in {shard.number for shard in read_manifest(open_store(copy)).shards}
