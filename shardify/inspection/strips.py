"""Rows of frames as one PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from shardify.arrays import ImageArray, IntArray
from shardify.shards.manifest import Manifest, read_manifest
from shardify.shards.reading import Sample
from shardify.storage.folder_store import whole_file
from shardify.storage.store import Store
from shardify.storage.work_folder import require_writable, work_folder

_MARGIN, _GAP, _FRAME_HEIGHT = 16, 4, 72
_FONT_SIZE, _SMALL_FONT_SIZE = 14, 12
_INK, _FAINT, _PAPER = "#202124", "#6b6f76", "#ffffff"


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One row of a picture."""

    title: str
    subtitle: str
    frames: tuple[ImageArray, ...]
    """uint8 (H, W, 3) each."""
    captions: tuple[str, ...]


def make_strip(sample: Sample, indices: IntArray, title: str, subtitle: str) -> Strip:
    """Read and decode some frames; an index beyond the sample's end starts again at frame 0."""
    frames = (indices % sample.num_frames).tolist()
    return Strip(
        title=title,
        subtitle=subtitle,
        frames=tuple(sample.pictures(frames)),
        captions=tuple(map(str, frames)),
    )


def draw_strips(strips: Sequence[Strip]) -> Image.Image:
    """Draw strips below each other, with titles in a column on the left and captions under the frames."""
    font, small = ImageFont.load_default(_FONT_SIZE), ImageFont.load_default(_SMALL_FONT_SIZE)
    height, width = strips[0].frames[0].shape[:2]
    frame_width = max(1, round(_FRAME_HEIGHT * width / height))
    texts = [(font, strip.title) for strip in strips] + [(small, strip.subtitle) for strip in strips]
    title_width = max(int(font_.getlength(text)) for font_, text in texts) + _MARGIN
    row_height = _FRAME_HEIGHT + _SMALL_FONT_SIZE + 4 * _GAP
    columns = max(len(strip.frames) for strip in strips)
    size = (
        2 * _MARGIN + title_width + columns * (frame_width + _GAP) - _GAP,
        2 * _MARGIN + len(strips) * row_height - 2 * _GAP,
    )
    picture = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(picture)
    for row, strip in enumerate(strips):
        top = _MARGIN + row * row_height
        middle = top + _FRAME_HEIGHT // 2
        pen.text((_MARGIN, middle - _GAP), strip.title, fill=_INK, font=font, anchor="ls")
        pen.text((_MARGIN, middle + _GAP), strip.subtitle, fill=_FAINT, font=small, anchor="lt")
        for column, (frame, caption) in enumerate(zip(strip.frames, strip.captions, strict=True)):
            left = _MARGIN + title_width + column * (frame_width + _GAP)
            image = Image.fromarray(frame).resize((frame_width, _FRAME_HEIGHT), Image.Resampling.LANCZOS)
            picture.paste(image, (left, top))
            below = (left + frame_width // 2, top + _FRAME_HEIGHT + _GAP)
            pen.text(below, caption, fill=_FAINT, font=small, anchor="mt")
    return picture


def write_strips(
    store: Store, out: str | Path, name: str, strips_of: Callable[[Store, Manifest], Sequence[Strip]]
) -> str:
    """Draw the strips that `strips_of` chooses into the PNG `name` in `out`, a URL or a folder, made if absent.

    Returns the picture's location. Raises UsageError if there is no finished data set, it holds no sample, or `out`
    cannot be written, WorkError if a shard is damaged, or the disk is full.
    """
    require_writable(out)
    manifest = read_manifest(store)
    manifest.shards_of(None)  # raises unless there is a sample
    with work_folder(out) as folder:
        with whole_file(folder.path / name) as path:
            draw_strips(strips_of(store, manifest)).save(path, format="PNG")
        folder.publish()
        return folder.location_of(name)
