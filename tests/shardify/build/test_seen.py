"""Nothing that was seen below the videos is lost in silence: it is taken, or counted with its reason and named."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from helpers_archives import files_below, samples, write_tar
from helpers_shards import build_config, contents, make_video

from shardify.build.run import build, finish
from shardify.catalogs.reasons import (
    HALF,
    HIDDEN,
    NO_CLASS,
    NOWHERE,
    OTHER_ARCHIVE,
    OTHER_CONTENT,
    OTHER_NAME,
    OVERWRITTEN,
    UNLISTED,
)
from shardify.frames.decoding import Frames, VideoError, decode_video
from shardify.inspection.summary import summarise_dataset, summary_lines
from shardify.inspection.verify import verify
from shardify.shards.manifest import Manifest, read_manifest
from shardify.shards.record import dump_json
from shardify.shards.seen import LeftOut, Seen
from shardify.storage import open_store


def test_the_manifest_and_the_summaries_tell_what_was_seen(source: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(source, tmp_path / "in"))
    for name in ("notes.txt", "Fall/v_Fall_g09_c09.avi.part", "Fall/v_Fall_g09_c08.avi"):
        (root / "videos" / name).write_text("text")
    (root / "videos" / "Zoom" / "old.avi").symlink_to("/nowhere")
    (root / "videos" / "Fall" / "v_Fall_g01_c01.avi").rename(root / "videos" / "Fall" / "v_fall_g01_c01.AVI")
    with (root / "lists" / "classInd.txt").open("a") as file:
        file.write("4 Ropeclimb\n5 Yo_yo\n")
    summary = build(build_config(root, tmp_path / "out"))
    lines = [
        "of 28 files seen, 4 left out:",
        "      1  link that leads nowhere                Zoom/old.avi",
        "      1  not a video, by its name               notes.txt",
        "      1  unfinished download or temporary file  Fall/v_Fall_g09_c09.avi.part",
        "      1  video in no list                       Fall/v_Fall_g09_c08.avi",
        "no video of 2 of 5 classes: Ropeclimb, Yo_yo",
    ]
    assert "\n".join(lines) in "\n".join(line.rstrip() for line in summary.lines())
    renamed = {"Fall/v_Fall_g01_c01.avi": "Fall/v_fall_g01_c01.AVI"}
    assert json.loads((tmp_path / "out" / "build.json").read_bytes())["renamed"] == renamed
    manifest = read_manifest(open_store(tmp_path / "out"))
    assert manifest.seen == summary.seen
    assert summary.seen is not None
    assert [part.reason for part in summary.seen.left_out] == [NOWHERE, OTHER_NAME, HALF, UNLISTED]
    inspected = summary_lines(summarise_dataset(open_store(tmp_path / "out")))
    assert all(f"  {line}" in inspected for line in lines)
    assert finish(build_config(root, tmp_path / "out")).seen == summary.seen


def test_other_files_do_not_make_it_another_source(source: Path, built: dict[str, bytes], tmp_path: Path) -> None:
    """A rerun renews what was seen; every other byte stays."""
    root = Path(shutil.copytree(source, tmp_path / "in"))
    config = build_config(root, tmp_path / "out")
    build(config)
    assert contents(tmp_path / "out") == built
    (root / "videos" / "notes.txt").write_text("text")
    summary = build(config)
    expected = (LeftOut(reason=OTHER_NAME, count=1, example="notes.txt"),)
    assert (summary.num_shards_written, summary.seen) == (0, Seen(num_taken=24, left_out=expected, num_classes=3))
    now = contents(tmp_path / "out")
    assert {name for name in now if now[name] != built.get(name)} == {"build.json", "manifest.json"}


def test_data_sets_of_earlier_versions_have_no_account_and_get_one(
    built_folder: Path, source: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(built_folder, tmp_path / "out"))
    for name in ("build.json", "manifest.json"):
        values = json.loads((out / name).read_bytes())
        del values["seen"]
        (out / name).write_bytes(dump_json(values, indent=1))
    assert verify(open_store(out)).problems == ()
    assert read_manifest(open_store(out)).seen is None
    assert "files seen" not in "\n".join(summary_lines(summarise_dataset(open_store(out))))
    assert build(build_config(source, out)).num_shards_written == 0
    assert contents(out) == contents(built_folder)
    assert Manifest.from_json((out / "manifest.json").read_bytes()).seen == Seen(num_taken=24, num_classes=3)


def test_names_have_the_bytes_that_tar_would_unpack(archived_source: Path, tmp_path: Path) -> None:
    """Links lead to their file, the later of two members of one name wins, and everything else is counted."""
    videos = list(files_below(archived_source / "videos").values())
    members = {"cat/1.avi": videos[0], "cat/2.avi": videos[1], "cat/no ending": videos[2], "readme": b"text"}
    path = write_tar(tmp_path / "in" / "mine.tar", members)
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("dog/3.avi")
        link.type, link.linkname = tarfile.LNKTYPE, "cat/1.avi"
        tar.addfile(link)
        again = tarfile.TarInfo("cat/1.avi")
        again.size = len(videos[3])
        tar.addfile(again, io.BytesIO(videos[3]))
        for name in ("fish/4.avi", "cat/3.mp4.part", "a.zip", "cat/._1.avi"):
            tar.addfile(tarfile.TarInfo(name))
    (tmp_path / "classes.txt").write_text("cat\ndog\nbird\n")
    (tmp_path / "in" / "notes.txt").write_text("beside the archive")
    source = {"kind": "folder", "videos": str(tmp_path / "in"), "label_map": str(tmp_path / "classes.txt")}
    summary = build(build_config(archived_source, tmp_path / "out", source=source))
    for name, data in {"1.avi": videos[3], "2.avi": videos[1], "no ending": videos[2], "3.avi": videos[0]}.items():
        (tmp_path / "loose" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "loose" / name).write_bytes(data)
    build(build_config(archived_source, tmp_path / "flat", source={"kind": "flat", "videos": str(tmp_path / "loose")}))
    packed, loose = samples(tmp_path / "out"), samples(tmp_path / "flat")
    assert {name: frames for name, (_, frames, *_) in packed.items()} == {
        name: frames for name, (_, frames, *_) in loose.items()
    }
    assert {name: label for name, (*_, label) in packed.items()} == {"1.avi": 0, "2.avi": 0, "no ending": 0, "3.avi": 1}
    assert summary.seen == Seen(
        num_taken=4,
        left_out=tuple(
            LeftOut(reason=reason, count=count, example=example)
            for reason, count, example in [
                (OTHER_ARCHIVE, 1, "mine.tar/a.zip"),
                (HIDDEN, 1, "mine.tar/cat/._1.avi"),
                (OTHER_CONTENT, 1, "mine.tar/readme"),
                (OTHER_NAME, 1, "notes.txt"),
                (OVERWRITTEN, 1, "mine.tar/cat/1.avi"),
                (HALF, 1, "mine.tar/cat/3.mp4.part"),
                (NO_CLASS, 1, "mine.tar/fish/4.avi"),
            ]
        ),
        empty_classes=("bird",),
        num_classes=3,
    )
    assert read_manifest(open_store(tmp_path / "out")).seen == summary.seen


def test_missing_videos_have_hints(source: Path, tmp_path: Path) -> None:
    """Beside the list, and in an archive, where they are known only when it was read."""
    videos = files_below(source / "videos")
    packed = {name.replace("Zoom_g02", "Zoom_g2"): data for name, data in videos.items()}
    for name, data in packed.items():
        (tmp_path / "loose" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "loose" / name).write_bytes(data)
    write_tar(tmp_path / "packed" / "all.tar", packed)
    for place, start in (("loose", ""), ("packed", "all.tar/")):
        lists = {"kind": "ucf101", "videos": str(tmp_path / place), "lists": str(source / "lists")}
        summary = build(build_config(source, tmp_path / "out" / place, source=lists))
        hint = f"{start}Zoom/v_Zoom_g2_c01.avi"
        assert f"did you mean {hint} for Zoom/v_Zoom_g02_c01.avi, and 1 more?" in "\n".join(summary.lines())
        missing = (tmp_path / "out" / place / "missing.jsonl").read_text().splitlines()
        assert json.loads(missing[0])["did_you_mean"] == hint
        assert verify(open_store(tmp_path / "out" / place)).problems == ()


@pytest.mark.parametrize("broken", ["a_download", "z_download"])
@pytest.mark.parametrize("damage", ["noise", "cut"])
def test_the_whole_file_of_a_video_is_used_wherever_it_sorts(tmp_path: Path, broken: str, damage: str) -> None:
    name = "ccccccccccc_000100_000110.mkv"
    make_video(tmp_path / "videos" / "fixed" / name, num_frames=80)
    good = (tmp_path / "videos" / "fixed" / name).read_bytes()
    (tmp_path / "videos" / broken).mkdir()
    (tmp_path / "videos" / broken / name).write_bytes(b"noise" * 100 if damage == "noise" else good[: len(good) // 2])
    (tmp_path / "list.csv").write_text("label,youtube_id,time_start,time_end,split\nyoga,ccccccccccc,100,110,train\n")
    lists = {"videos": str(tmp_path / "videos"), "lists": str(tmp_path / "list.csv")}
    source: dict[str, Any] = {"kind": "kinetics", "release": 400, **lists}
    summary = build(build_config(tmp_path, tmp_path / "out", source=source))
    assert (summary.num_samples, summary.num_frames, summary.num_rejected) == (1, 80, 0)
    assert list(samples(tmp_path / "out")) == [name]
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        file = tar.extractfile(next(member for member in tar if member.name.endswith(".json")))
        assert file is not None
        assert json.loads(file.read())["path"] == f"fixed/{name}"
    store = open_store(tmp_path / "out")
    assert store.exists("broken.jsonl") == (broken == "a_download")  # the other one need not be read
    if broken == "a_download":
        line = json.loads(store.read("broken.jsonl"))
        assert (line["path"], line["shard"]) == (f"a_download/{name}", 0)
        assert ("of 80 frames" if damage == "cut" else "header is damaged") in line["reason"]
        said = "1 broken file of videos with several (see broken.jsonl), such as"
        assert f"{said} {line['path']}: {line['reason']}" in summary.lines()
    assert verify(store).problems == ()


def test_a_file_that_failed_for_the_moment_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(path: Path, *args: Any, **kwargs: Any) -> Frames:
        if path.parent.name == "a":
            raise VideoError(status="transient", reason="read error")
        return decode_video(path, *args, **kwargs)

    name = "ccccccccccc_000100_000110.mkv"
    for folder, num_frames in (("a", 80), ("b", 60)):
        make_video(tmp_path / "videos" / folder / name, num_frames=num_frames)
    (tmp_path / "list.csv").write_text("label,youtube_id,time_start,time_end,split\nyoga,ccccccccccc,100,110,train\n")
    lists = {"videos": str(tmp_path / "videos"), "lists": str(tmp_path / "list.csv")}
    config = build_config(tmp_path, tmp_path / "out", source={"kind": "kinetics", "release": 400, **lists})
    monkeypatch.setattr("shardify.build.shard_writer.decode_video", decode)
    summary = build(config)
    assert (summary.num_frames, summary.num_rejected, summary.num_transient) == (60, 0, 1)
    assert "1 file may go better with --retry-failed" in summary.lines()
    monkeypatch.undo()
    assert build(config, retry_failed=True).num_frames == 80
    assert not (tmp_path / "out" / "broken.jsonl").exists()


def test_videos_far_shorter_than_announced_are_taken_and_listed(tmp_path: Path) -> None:
    make_video(tmp_path / "videos" / "whole.mkv", num_frames=80)
    whole = (tmp_path / "videos" / "whole.mkv").read_bytes()
    (tmp_path / "videos" / "half.mkv").write_bytes(whole[: len(whole) // 2])
    config = build_config(tmp_path, tmp_path / "out", source={"kind": "flat", "videos": str(tmp_path / "videos")})
    summary = build(config)
    assert (summary.num_samples, summary.num_rejected, summary.num_short) == (2, 0, 1)
    (line,) = (tmp_path / "out" / "short.jsonl").read_text().splitlines()
    short = json.loads(line)
    assert (short["path"], short["num_announced"], short["key"], short["shard"]) == ("half.mkv", 80, "half", 0)
    assert 16 <= short["num_frames"] <= 64
    said = "1 video far shorter than announced, but taken (see short.jsonl)"
    assert f"{said}: half.mkv gave {short['num_frames']} of 80 frames" in summary.lines()
    store = open_store(tmp_path / "out")
    assert read_manifest(store).num_short == 1
    assert f"  {said}" in summary_lines(summarise_dataset(store))
    assert verify(store).problems == ()

    (tmp_path / "videos" / "half.mkv").write_bytes(whole)  # downloaded again: a new shard has no short video
    (tmp_path / "out" / "shard-000000.json").unlink()
    assert build(config).num_short == 0
    assert not store.exists("short.jsonl")
