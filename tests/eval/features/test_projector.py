"""The projector's files, read by TensorBoard's own plugin."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from helpers_video_eval import assert_error, invoke
from PIL import Image
from tensorboard.backend.event_processing import data_provider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client

from eval.features import projector
from eval.features.projector import MAX_SPRITE_PIXELS, metadata_table, thumbnail_pixels, write_projector
from eval.features.vectors import Vectors
from shardify.arrays import ImageArray


class Served:
    """What a browser gets from TensorBoard about a folder."""

    def __init__(self, folder: Path) -> None:
        multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
        provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
        self.apps = ProjectorPlugin(
            TBContext(logdir=str(folder), multiplexer=multiplexer, data_provider=provider)
        ).get_plugin_apps()

    def get(self, path: str, **query: str) -> bytes:
        answer = Client(self.apps[path]).get("/", query_string=query)
        assert answer.status_code == 200, answer.data
        return bytes(answer.data)


def coloured(number: int) -> ImageArray:
    """A wide frame in the video's own grey, with white edges left and right."""
    frame = np.full((24, 40, 3), 255, np.uint8)
    frame[:, 4:36] = 20 * number
    return frame


def make_vectors(num_videos: int = 5, classes: tuple[str, ...] = ("run", "jump\thigh")) -> Vectors:
    values = np.random.default_rng(0).normal(size=(num_videos, 3)).astype(np.float32)
    labels = np.arange(num_videos) % 3 - 1 if classes else np.full(num_videos, -1)
    keys = tuple(f"folder/v{number} \n{number}.mp4" for number in range(num_videos))
    return Vectors(keys=keys, labels=labels.astype(np.int64), values=values, classes=classes)


def test_tensorboard_reads_every_vector_name_and_thumbnail(tmp_path: Path) -> None:
    vectors = make_vectors()
    write_projector(tmp_path / "p", vectors, coloured)
    served = Served(tmp_path / "p")
    assert json.loads(served.get("/runs")) == ["."]
    (embedding,) = json.loads(served.get("/info", run="."))["embeddings"]
    assert embedding["tensorShape"] == [5, 3]
    named = {"run": ".", "name": embedding["tensorName"]}
    values = np.frombuffer(served.get("/tensor", **named), dtype=np.float32).reshape(5, 3)
    assert np.array_equal(values, vectors.values), "to the last bit"
    lines = served.get("/metadata", **named).decode().splitlines()
    assert lines == [
        "name\tclass",
        *("folder/v0 0.mp4\tnone", "folder/v1 1.mp4\trun", "folder/v2 2.mp4\tjump high"),
        *("folder/v3 3.mp4\tnone", "folder/v4 4.mp4\trun"),
    ]
    sprite = np.asarray(Image.open(io.BytesIO(served.get("/sprite_image", **named))))
    width, height = embedding["sprite"]["singleImageDim"]
    assert sprite.shape == (3 * height, 3 * width, 3), "as square as can be"
    for number in range(9):
        row, column = divmod(number, 3)
        thumbnail = sprite[row * height : (row + 1) * height, column * width : (column + 1) * width]
        assert (thumbnail == (20 * number if number < 5 else 0)).all(), number


def test_names_alone_have_no_heading(tmp_path: Path) -> None:
    """The projector takes the first line of a table with one column for a name."""
    assert metadata_table(make_vectors(2, classes=())) == "folder/v0 0.mp4\nfolder/v1 1.mp4\n"


@pytest.mark.parametrize(("num_videos", "pixels"), [(1, 64), (128**2, 64), (128**2 + 1, 63), (10**5, 25), (10**9, 1)])
def test_the_picture_is_no_larger_than_a_browser_takes(num_videos: int, pixels: int) -> None:
    assert thumbnail_pixels(num_videos) == pixels
    if pixels > 1:
        assert pixels * np.ceil(np.sqrt(num_videos)) <= MAX_SPRITE_PIXELS


def test_equal_vectors_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_projector(tmp_path / name, make_vectors(), coloured)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["metadata.tsv", "projector_config.pbtxt", "sprite.png", "tensors.tsv"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_the_command_writes_the_folder(
    world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, run = world
    monkeypatch.setattr(projector, "THUMBNAIL_PIXELS", 8)
    words = ("features", shards, run, "--out", tmp_path / "x.npz", "--split", "test1")
    sets = [word for key in (f"projector={tmp_path / 'p'}", "features.clips_per_video=1") for word in ("--set", key)]
    assert invoke(*words, *sets).exit_code == 0
    with np.load(tmp_path / "x.npz") as arrays:
        served = Served(tmp_path / "p")
        values = np.frombuffer(served.get("/tensor", run=".", name="features"), dtype=np.float32)
        assert np.array_equal(values, arrays["vectors"].ravel())
        lines = served.get("/metadata", run=".", name="features").decode().splitlines()[1:]
        assert lines == [f"{n}\tclass{k}" for n, k in zip(arrays["names"], arrays["labels"], strict=True)]
    with Image.open(tmp_path / "p" / "sprite.png") as sprite:
        assert sprite.size == (24, 24)
    assert_error(invoke(*words, *sets, "--set", "windows.seconds=1"), 2, "projector", "windows")
