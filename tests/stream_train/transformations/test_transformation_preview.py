"""The picture of the transformations shows the frames that it names: those of the index sequences, on one video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from helpers_shards import build_config, make_source, make_video
from PIL import Image

from shardify.build.run import build
from shardify.inspection.strips import Strip
from shardify.shards.format import shard_name
from shardify.shards.index import read_index
from shardify.shards.manifest import read_manifest
from shardify.storage import open_store
from shardify.storage.store import Store
from stream_train.transformations.preview import transformation_strips, write_transformations


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    source = make_source(tmp_path_factory.mktemp("source"))
    make_video(source / "videos/Spin/v_Spin_g04_c01.avi", num_frames=130, seed=5)
    out = tmp_path_factory.mktemp("shards")
    build(build_config(source, out))
    return open_store(out)


def flat_store(folder: Path, lengths: list[int], min_frames: int = 16) -> Store:
    for i, num_frames in enumerate(lengths):
        make_video(folder / "videos" / f"v{i}.avi", num_frames=num_frames, seed=i)
    source = {"kind": "flat", "videos": str(folder / "videos")}
    config = build_config(folder, folder / "out", source=source, min_frames=min_frames)
    build(config)
    return open_store(config.out)


def assert_frames_are_those_named(store: Store, strip: Strip, key: str) -> None:
    manifest = read_manifest(store)
    shard, entry = next((s, e) for s in manifest.shards for e in read_index(store, s) if e.key == key)
    offsets = entry.frame_offsets(manifest.packing)
    for frame, caption in zip(strip.frames, strip.captions, strict=True):
        number = int(caption)
        jpeg = store.read_range(shard_name(shard.number, "tar"), int(offsets[number]), int(entry.frame_bytes[number]))
        assert np.array_equal(frame, simplejpeg.decode_jpeg(jpeg))


def test_transformations_of_a_long_video(store: Store) -> None:
    strips = transformation_strips(store, read_manifest(store))
    assert [strip.title for strip in strips] == [*(f"speed {k}" for k in range(4)), "random", "periodic", "warp"]
    numbers = {strip.title: [int(caption) for caption in strip.captions] for strip in strips}
    for kappa in range(4):
        assert numbers[f"speed {kappa}"] == [j << kappa for j in range(16)]
    assert sorted(numbers["random"]) == list(range(16)) != numbers["random"]
    assert numbers["periodic"] == [0, 2, 4, 6, 8, 10, 12, 14, 16, 14, 12, 10, 8, 6, 4, 2]
    steps = np.diff(numbers["warp"])
    assert steps.min() >= 1
    assert steps.max() <= 8
    assert len(set(steps.tolist())) > 2
    for strip in strips:
        assert_frames_are_those_named(store, strip, "Spin__v_Spin_g04_c01")


@pytest.mark.parametrize(("num_frames", "speeds"), [(16, 1), (30, 1), (31, 2), (61, 3), (121, 4)])
def test_transformations_fit_the_longest_video(tmp_path: Path, num_frames: int, speeds: int) -> None:
    store = flat_store(tmp_path, [num_frames])
    strips = transformation_strips(store, read_manifest(store))
    assert len(strips) == speeds + 3
    assert all(int(caption) < num_frames for strip in strips for caption in strip.captions)


def test_short_videos_loop(tmp_path: Path) -> None:
    store = flat_store(tmp_path, [5], min_frames=1)
    speed, *_ = transformation_strips(store, read_manifest(store))
    assert [int(caption) for caption in speed.captions] == [j % 5 for j in range(16)]


def test_the_picture_is_written(store: Store, tmp_path: Path) -> None:
    path = write_transformations(store, tmp_path / "new")
    assert path == str(tmp_path / "new" / "transformations.png")
    with Image.open(path) as picture:
        assert picture.height > 200
        assert picture.width > 800
