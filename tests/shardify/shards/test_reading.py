"""Finished shards as a sequence: every video, its label, and its frames as ffmpeg gave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from helpers_shards import build_config, make_video

from shardify import build_shards, open_shards
from shardify.catalogs.folder import FolderConfig
from shardify.errors import DamageError, UsageError
from shardify.frames.decoding import decode_video
from shardify.storage.folder_store import FolderStore

LENGTHS = {"cat/a": 17, "cat/b": 20, "dog/c": 16}


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reading")
    for seed, (name, num_frames) in enumerate(LENGTHS.items()):
        make_video(folder / "videos" / f"{name}.avi", num_frames, seed=seed)
    source = FolderConfig(kind="folder", videos=str(folder / "videos"))
    build_shards(build_config(folder, folder / "shards").model_copy(update={"source": source, "videos_per_shard": 2}))
    return folder / "shards"


def test_every_video_with_its_label_and_frames(location: Path) -> None:
    shards = open_shards(location)
    assert (len(shards), shards.classes) == (3, ("cat", "dog"))
    assert sorted(sample.num_frames for sample in shards) == sorted(LENGTHS.values())
    config = build_config(location.parent, location).frames
    for sample in shards[:]:
        (name,) = [name for name in LENGTHS if sample.key.endswith(name[-1])]
        assert shards.classes[sample.label] == name[:3]
        jpegs = decode_video(location.parent / "videos" / f"{name}.avi", config).jpegs
        wanted = np.stack([simplejpeg.decode_jpeg(jpeg) for jpeg in jpegs])
        np.testing.assert_array_equal(sample.frames(), wanted)
        np.testing.assert_array_equal(sample.frames([5, 2]), wanted[[5, 2]])
    assert shards[-1].key == shards[2].key


def test_few_indexes_are_kept(location: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardify.shards.reading.MAX_INDEXES", 1)
    shards = open_shards(location)
    keys = [sample.key for sample in open_shards(location)]
    assert [shards[position].key for position in (0, 2, 1, -1)] == [keys[0], keys[2], keys[1], keys[-1]]
    assert len(shards._indexes) == 1


def test_all_frames_come_with_one_read(location: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    read_range = FolderStore.read_range

    def counted(store: FolderStore, name: str, start: int, num_bytes: int) -> bytes:
        sizes.append(num_bytes)
        return read_range(store, name, start, num_bytes)

    monkeypatch.setattr(FolderStore, "read_range", counted)
    sample = open_shards(location)[0]
    frame_bytes = sample._entry.frame_bytes.tolist()
    assert len(list(sample.pictures())) == sample.num_frames
    assert sizes == [sum(frame_bytes)]
    sample.frames([5, 2])
    assert sizes[1:] == [frame_bytes[5], frame_bytes[2]]


def test_what_does_not_exist_is_named(location: Path) -> None:
    shards = open_shards(location)
    with pytest.raises(IndexError, match="sample 3 of 3"):
        shards[3]
    with pytest.raises(IndexError, match="frame 99"):
        shards[0].frames([99])
    with pytest.raises(UsageError, match="nowhere"):
        open_shards(location, "nowhere")


def test_a_changed_byte_is_noticed(location: Path, tmp_path: Path) -> None:
    for path in location.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = tmp_path / "shard-000000.tar"
    data = bytearray(shard.read_bytes())
    shards = open_shards(tmp_path)
    entry = shards[0]._entry
    data[entry.offset + 30] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DamageError, match="frame 0 of"):
        open_shards(tmp_path)[0].frames([0])
