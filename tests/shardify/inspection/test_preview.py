"""Contact sheets show the frames that they name, one row per class, and nothing is cut off."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers_shards import CLASSES, build_config, make_video
from PIL import Image

from shardify.build.run import build
from shardify.errors import UsageError, WorkError
from shardify.inspection.preview import contact_strips, write_contact_sheet
from shardify.inspection.strips import Strip, draw_strips
from shardify.shards.format import shard_name
from shardify.shards.index import SampleEntry, read_index
from shardify.shards.manifest import read_manifest
from shardify.storage import open_store
from shardify.storage.store import Store


@pytest.fixture
def store(built_folder: Path) -> Store:
    return open_store(built_folder)


def flat_store(folder: Path, lengths: list[int], min_frames: int = 16) -> Store:
    for i, num_frames in enumerate(lengths):
        make_video(folder / "videos" / f"v{i}.avi", num_frames=num_frames, seed=i)
    source = {"kind": "flat", "videos": str(folder / "videos")}
    config = build_config(folder, folder / "out", source=source, min_frames=min_frames)
    build(config)
    return open_store(config.out)


def test_contact_sheet_has_a_row_per_class_with_its_first_and_last_frame(store: Store) -> None:
    strips = contact_strips(store, read_manifest(store))
    assert [strip.title for strip in strips] == list(CLASSES)
    for strip in strips:
        num_frames = int(strip.subtitle.split()[0])
        assert strip.subtitle == f"{num_frames} frames, {num_frames / 25:.1f} s"
        captions = [int(caption) for caption in strip.captions]
        assert (captions[0], captions[-1]) == (0, num_frames - 1)
        assert captions == sorted(set(captions))
        assert len(captions) == 8


def test_unlabelled_samples_are_shown_by_key(tmp_path: Path) -> None:
    store = flat_store(tmp_path, [20, 17])
    assert sorted(strip.title for strip in contact_strips(store, read_manifest(store))) == ["v0", "v1"]


def test_pictures_have_clear_margins(store: Store, tmp_path: Path) -> None:
    """Nothing is drawn into the margins, so nothing is cut off there."""
    path = write_contact_sheet(store, tmp_path / "new" / "folder")
    assert path == str(tmp_path / "new" / "folder" / "contact_sheet.png")
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)
    assert pixels.shape[0] > 200
    assert pixels.shape[1] > 800
    for edge in (pixels[:8], pixels[-8:], pixels[:, :8], pixels[:, -8:]):
        assert edge.min() == 255
    assert pixels.min() < 60


def test_long_class_names_widen_the_picture(store: Store) -> None:
    manifest = read_manifest(store)
    long = tuple(f"{name} and a rather long description of it" for name in CLASSES)
    wide = [
        Strip(**vars(strip) | {"title": title})
        for strip, title in zip(contact_strips(store, manifest), long, strict=True)
    ]
    narrow, broad = draw_strips(contact_strips(store, manifest)), draw_strips(wide)
    assert broad.width > narrow.width + 100
    assert broad.height == narrow.height


def damage(store: Store, folder: Path, change: Callable[[bytearray, int, int], None]) -> tuple[Store, str]:
    """A copy of a data set, the first frame of its first sample changed; also that sample's key."""
    copy = open_store(shutil.copytree(store.location, folder / "copy"))
    shard = read_manifest(copy).shards[0]
    entry = read_index(copy, shard)[0]
    path = folder / "copy" / shard_name(shard.number, "tar")
    data = bytearray(path.read_bytes())
    change(data, entry.offset, int(entry.frame_bytes[0]))
    path.write_bytes(data)
    return copy, entry.key


def test_a_damaged_frame_is_named_instead_of_drawn(tmp_path: Path) -> None:
    def flip(data: bytearray, start: int, num_bytes: int) -> None:
        data[start + num_bytes // 2] ^= 0x10

    store, key = damage(flat_store(tmp_path, [20]), tmp_path, flip)
    message = rf"shard-000000\.tar: frame 0 of sample {key} \(bytes \d+ to \d+\) does not match its checksum; .*damaged"
    with pytest.raises(WorkError, match=message):
        write_contact_sheet(store, tmp_path / "pictures")
    assert not list((tmp_path / "pictures").iterdir())


def test_a_frame_that_is_no_picture_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def blank(data: bytearray, start: int, num_bytes: int) -> None:
        data[start : start + num_bytes] = bytes(num_bytes)

    store, key = damage(flat_store(tmp_path, [20]), tmp_path, blank)
    monkeypatch.setattr(SampleEntry, "check", lambda *_: None)  # as if it had been packed like that
    with pytest.raises(
        WorkError, match=rf"shard-000000\.tar: frame 0 of sample {key} is not a sound JPEG \(.*verify --deep"
    ):
        write_contact_sheet(store, tmp_path / "pictures")


def test_a_full_disk_leaves_no_half_picture(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(_: Image.Image, path: Path, **__: object) -> None:
        path.write_bytes(b"half a picture")
        raise OSError(errno.ENOSPC, "No space left on device")

    write_contact_sheet(store, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(Image.Image, "save", fill)
    with pytest.raises(WorkError, match=r"no space left while writing .*contact_sheet\.png"):
        write_contact_sheet(store, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_pictures_may_go_to_a_bucket(
    store: Store, tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "contact_sheet.png"
    assert write_contact_sheet(store, f"{s3_url}/pictures") == f"{s3_url}/pictures/{name}"
    write_contact_sheet(store, "here")
    bucket = open_store(f"{s3_url}/pictures")
    assert {name: bucket.read(name) for name in bucket.names()} == {name: (tmp_path / "here" / name).read_bytes()}
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("out", ["s3:/bucket/x", "https://h/x", "file"])
def test_read_only_locations_are_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=out):
        write_contact_sheet(store, out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
