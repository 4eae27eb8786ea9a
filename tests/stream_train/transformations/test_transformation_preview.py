"""The picture of the transformations shows the frames that it names, those of the index sequences, of one video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from helpers_datasets import write_dataset
from PIL import Image

from shardify.shards.format import shard_name
from shardify.shards.index import read_index
from shardify.shards.manifest import read_manifest
from shardify.storage import open_store
from shardify.storage.store import Store
from stream_train.transformations.preview import transformation_strips, write_transformations


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Four videos, the third of 130 frames."""
    return open_store(write_dataset(tmp_path_factory.mktemp("shards"), [[20, 16], [130, 17]]))


def test_transformations_of_a_long_video(store: Store) -> None:
    strips = transformation_strips(store, read_manifest(store))
    assert [strip.title for strip in strips] == [*(f"speed {q}x" for q in (1, 2, 4, 8)), "random", "periodic", "warp"]
    numbers = {strip.title: [int(caption) for caption in strip.captions] for strip in strips}
    for kappa in range(4):
        assert numbers[f"speed {2**kappa}x"] == [j << kappa for j in range(16)]
    assert sorted(numbers["random"]) == list(range(16)) != numbers["random"]
    assert numbers["periodic"] == [0, 2, 4, 6, 8, 10, 12, 14, 16, 14, 12, 10, 8, 6, 4, 2]
    steps = np.diff(numbers["warp"])
    assert steps.min() >= 1
    assert steps.max() <= 8
    assert len(set(steps.tolist())) > 2
    manifest = read_manifest(store)
    records = [(s, e) for s in manifest.shards for e in read_index(store, s) if e.key == "video0002"]
    ((shard, entry),) = records
    offsets = entry.frame_offsets(manifest.packing)
    for strip in strips:
        for frame, number in zip(strip.frames, numbers[strip.title], strict=True):
            name, num_bytes = shard_name(shard.number, "tar"), int(entry.frame_bytes[number])
            assert np.array_equal(
                frame, simplejpeg.decode_jpeg(store.read_range(name, int(offsets[number]), num_bytes))
            )


@pytest.mark.parametrize(("num_frames", "speeds"), [(5, 1), (16, 1), (31, 2), (61, 3), (121, 4)])
def test_transformations_fit_the_longest_video(tmp_path: Path, num_frames: int, speeds: int) -> None:
    """A video shorter than a clip loops."""
    store = open_store(write_dataset(tmp_path, [[num_frames]]))
    strips = transformation_strips(store, read_manifest(store))
    assert len(strips) == speeds + 3
    assert [int(caption) for caption in strips[0].captions] == [j % num_frames for j in range(16)]
    assert all(int(caption) < num_frames for strip in strips for caption in strip.captions)


def test_the_picture_is_written(store: Store, tmp_path: Path) -> None:
    path = write_transformations(store, tmp_path / "new")
    assert path == str(tmp_path / "new" / "transformations.png")
    with Image.open(path) as picture:
        assert picture.height > 200
        assert picture.width > 800
