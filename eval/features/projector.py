"""Feature vectors as files for the projector, a plugin of TensorBoard that draws vectors in two or three dimensions.

In: vectors, and a function that shows a video. Out: a folder with the vectors, a table of names and classes, one
picture with a thumbnail of each video, and the file that names all three.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from PIL import Image, ImageOps
from tensorboard.plugins.projector.metadata import PROJECTOR_FILENAME
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from eval.features.vectors import Vectors
from shardify.arrays import ImageArray
from shardify.errors import one_line
from shardify.storage.folder_store import whole_file

TENSORS_NAME = "tensors.tsv"
METADATA_NAME = "metadata.tsv"
SPRITE_NAME = "sprite.png"
THUMBNAIL_PIXELS = 64
"""Height and width of a thumbnail, unless there are too many."""
MAX_SPRITE_PIXELS = 8192
"""Largest height and width of the picture that browsers show."""
NO_CLASS = "none"


def write_projector(folder: Path, vectors: Vectors, show: Callable[[int], ImageArray]) -> None:
    """Write all files into a folder, each as a whole, PROJECTOR_FILENAME last; equal arguments give equal files.

    `vectors` are of whole videos. `show` gives a frame (H, W, 3) of the video of a vector; the middle of it becomes the
    thumbnail. Raises WorkError if the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / TENSORS_NAME) as path:
        np.savetxt(path, vectors.values, fmt="%.9g", delimiter="\t")  # nine digits tell all float32 apart
    with whole_file(folder / METADATA_NAME) as path:
        path.write_text(metadata_table(vectors), encoding="utf-8")
    side = thumbnail_pixels(len(vectors))
    with whole_file(folder / SPRITE_NAME) as path:
        _sprite(len(vectors), side, show).save(path, format="png")
    config = ProjectorConfig()
    embedding = config.embeddings.add(
        tensor_name="features", tensor_path=TENSORS_NAME, metadata_path=METADATA_NAME, tensor_shape=vectors.values.shape
    )
    embedding.sprite.image_path = SPRITE_NAME
    embedding.sprite.single_image_dim.extend([side, side])
    with whole_file(folder / PROJECTOR_FILENAME) as path:
        path.write_text(text_format.MessageToString(config), encoding="utf-8")


def metadata_table(vectors: Vectors) -> str:
    """A line for each video: its name, and its class if the data has classes; only then there is a line of headings."""
    names = [one_line(key) for key in vectors.keys]
    if not vectors.classes:
        return "".join(f"{name}\n" for name in names)
    classes = [one_line(vectors.classes[label]) if label >= 0 else NO_CLASS for label in vectors.labels.tolist()]
    return "name\tclass\n" + "".join(f"{name}\t{of}\n" for name, of in zip(names, classes, strict=True))


def thumbnail_pixels(num_videos: int) -> int:
    """Height and width of the thumbnails in a picture of this many videos."""
    return max(1, min(THUMBNAIL_PIXELS, MAX_SPRITE_PIXELS // _num_columns(num_videos)))


def _num_columns(num_videos: int) -> int:
    """The projector reads the picture row by row, and takes it for a square."""
    return math.isqrt(max(num_videos - 1, 0)) + 1


def _sprite(num_videos: int, side: int, show: Callable[[int], ImageArray]) -> Image.Image:
    num_columns = _num_columns(num_videos)
    sprite = Image.new("RGB", (num_columns * side, num_columns * side))
    for number in range(num_videos):
        row, column = divmod(number, num_columns)
        sprite.paste(ImageOps.fit(Image.fromarray(show(number)), (side, side)), (column * side, row * side))
    return sprite
