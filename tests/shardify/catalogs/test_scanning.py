"""Everything below a source is told apart: videos by name or content, and what else was seen, with the reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from helpers_catalogs import by_path, catalog_of, put
from helpers_videos import run_ffmpeg

from shardify.catalogs.content import HEAD_BYTES, looks_like_video
from shardify.catalogs.reasons import (
    HALF,
    HIDDEN,
    LOOP,
    NO_CLASS,
    NOWHERE,
    OTHER_ARCHIVE,
    OTHER_CONTENT,
    OTHER_NAME,
    SPECIAL,
    SYSTEM,
    UNREADABLE,
)
from shardify.catalogs.scanning import scan_files
from shardify.errors import UsageError
from shardify.shards.seen import LeftOut
from shardify.storage import open_store

MP4 = "\0\0\0 ftypisom\0\0\2\0isomiso2"


def left_out(root: Path, **source: Any) -> dict[str, tuple[int, str]]:
    """Count and example by reason."""
    return {part.reason: (part.count, part.example) for part in catalog_of(videos=root, **source).left_out}


def test_content_tells_where_the_name_does_not(tmp_path: Path) -> None:
    names = ["a.3g2", "b.qt", "c.mpe", "no ending", "d.mp4?dl=1", "...And so on.mp4", "notes of a title."]
    put(tmp_path, dict.fromkeys(names, MP4) | {"readme": "text", "f.ogg": "OggS, a song", "a.mp4": "anything"})
    put(tmp_path, dict.fromkeys(["g.mp4.part", "h.mkv.crdownload", "i.f137.mp4.part-Frag12"], MP4))
    put(tmp_path, {"picture.jpg": MP4, "j.mp4.zip": MP4})  # what the name tells is believed
    assert [video.path for video in catalog_of(kind="flat", videos=tmp_path).videos] == sorted([*names, "a.mp4"])
    assert left_out(tmp_path, kind="flat") == {
        HALF: (3, "g.mp4.part"),
        OTHER_CONTENT: (2, "f.ogg"),
        OTHER_ARCHIVE: (1, "j.mp4.zip"),
        OTHER_NAME: (1, "picture.jpg"),
    }


def test_formats_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    """One ffmpeg writes all of them."""
    codecs = dict.fromkeys(("mp4", "mov", "3gp", "matroska", "avi", "asf", "mpegts", "nut", "m4v"), "mpeg4")
    codecs |= {"mpeg": "mpeg1video", "vob": "mpeg2video", "mpeg1video": "mpeg1video", "mxf": "mpeg2video"}
    codecs |= {"ogg": "libtheora", "flv": "flv", "ivf": "libvpx", "gif": "gif", "h264": "libx264", "webm": "libvpx"}
    codecs |= {"rawvideo": "rawvideo"}
    videos = [("-map", "0:v", "-f", name, "-c:v", codec, tmp_path / name) for name, codec in codecs.items()]
    videos.append(("-map", "0:v", "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", tmp_path / "y4m"))
    songs = [("-map", "1:a", "-f", name, tmp_path / name) for name in ("ipod", "wav", "mp3", "oga")]
    sources = ("-f", "lavfi", "-i", "testsrc=s=64x48:d=0.4:r=25", "-f", "lavfi", "-i", "sine=d=0.4")
    run_ffmpeg(*sources, *(word for output in (*videos, *songs) for word in output))
    known = {path.name: looks_like_video(path.read_bytes()[:HEAD_BYTES]) for path in tmp_path.iterdir()}
    assert {name for name, is_known in known.items() if is_known} == codecs.keys() - {"rawvideo"} | {"y4m"}


def test_text_is_no_video() -> None:
    assert not looks_like_video(b"")
    assert not looks_like_video(b"Good morning, everyone.\n" * 100)


def test_what_is_no_file_is_counted_with_an_example(tmp_path: Path) -> None:
    put(tmp_path, ["cat/1.mp4", "cat/.DS_Store", ".git/config", "loose.mp4"])
    (tmp_path / "bird").symlink_to("/no/longer/mounted/bird")
    (tmp_path / "cat" / "2.mp4").symlink_to("/no/longer/mounted/2.mp4")
    (tmp_path / "cat" / "3.mp4").symlink_to("3.mp4")
    (tmp_path / "cat" / "above").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    expected = {
        NOWHERE: (3, "bird"),
        HIDDEN: (2, ".git"),
        LOOP: (1, "cat/above"),
        SPECIAL: (1, "pipe.mp4"),
        NO_CLASS: (1, "loose.mp4"),
    }
    assert left_out(tmp_path, kind="folder") == expected
    assert catalog_of(kind="folder", videos=tmp_path).num_unlisted == 1


def test_deleted_videos_and_previews_of_the_system_are_no_classes(tmp_path: Path) -> None:
    put(tmp_path, ["cat/1.mp4", "$RECYCLE.BIN/S-1-5/$R1.mp4", "#recycle/cat/2.mp4", "cat/@eaDir/1.mp4/x.mp4"])
    catalog = catalog_of(kind="folder", videos=tmp_path)
    assert (list(by_path(catalog)), catalog.classes) == (["cat/1.mp4"], ("cat",))
    assert catalog.left_out == (LeftOut(reason=SYSTEM, count=3, example="#recycle"),)


def test_folders_that_may_not_be_read_are_counted_and_failing_disks_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, ["a/1.mp4", "b/2.mp4"])
    scandir = os.scandir
    failure: OSError = PermissionError(13, "Permission denied")

    def refuse(path: Any) -> Any:
        if Path(path).name == "b":
            raise failure
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert scan_files(tmp_path).left_out == (LeftOut(reason=UNREADABLE, count=1, example="b/"),)
    failure = OSError(5, "Input/output error")
    with pytest.raises(UsageError, match=r"cannot list .*/b: Input/output error"):
        scan_files(tmp_path)


def test_buckets_are_told_apart_in_the_same_way(s3_url: str) -> None:
    store = open_store(s3_url)
    objects = {"a/1.mp4": "x", "a/no ending": MP4, "a/readme": "text", "a/.b": "x", "@eaDir/2.mp4": "x", "empty": ""}
    for name, text in objects.items():
        store.write(name, text.encode())
    found = scan_files(s3_url)
    assert (found.videos, found.others) == (
        ("a/1.mp4", "a/no ending"),
        {"a/readme": OTHER_CONTENT, "empty": OTHER_CONTENT},
    )
    hidden, system = (
        LeftOut(reason=HIDDEN, count=1, example="a/.b"),
        LeftOut(reason=SYSTEM, count=1, example="@eaDir/2.mp4"),
    )
    assert found.left_out == (system, hidden)
