"""Pictures of a data set: a contact sheet, and the temporal transformations of one of its videos (Figure 1).

In: a store that holds a finished data set. Out: PNG files, in a folder or an object store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageDraw, ImageFont

from shardify.catalogs.base import NO_LABEL
from shardify.errors import WorkError, one_line
from shardify.index_sequences import (
    CLIP_LENGTH,
    MAX_SKIP,
    NUM_SPEEDS,
    frames_for_speed,
    periodic_indices,
    random_indices,
    speed_indices,
    step_of,
    warp_indices,
)
from shardify.shards.format import Manifest, SampleEntry, read_index, read_manifest, shard_name
from shardify.storage import FolderStore, Store
from shardify.storage.work_folder import require_writable, work_folder

CONTACT_SHEET_NAME = "contact_sheet.png"
TRANSFORMATIONS_NAME = "transformations.png"

MAX_SHEET_ROWS = 24
SHEET_COLUMNS = 8
MAX_SEARCHED_SHARDS = 8
"""Indexes read in search of a long video; enough, since shards are mixed at random."""

_MARGIN = 16
_GAP = 4
_FRAME_HEIGHT = 72
_FONT_SIZE = 14
_SMALL_FONT_SIZE = 12
_EVERY = ("every frame", "every 2nd frame", "every 4th frame", "every 8th frame")
_INK, _FAINT, _PAPER = "#202124", "#6b6f76", "#ffffff"


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One row of a picture."""

    title: str
    subtitle: str
    frames: tuple[npt.NDArray[np.uint8], ...]
    """uint8 (H, W, 3) each."""
    captions: tuple[str, ...]
    """What stands under each frame."""


@dataclass(frozen=True, kw_only=True)
class FoundSample:
    """A sample and where it lies."""

    shard: int
    entry: SampleEntry


def write_preview(store: Store, out: str | Path) -> tuple[str, str]:
    """Draw both pictures.

    Args:
        store: where the data set lies.
        out: folder for the pictures, made if absent, or URL.

    Returns:
        Where the contact sheet and the transformations lie.

    Raises:
        UsageError: if there is no finished data set, it holds no sample, or nothing can be written to `out`.
        WorkError: if a shard is damaged, or the disk is full.
    """
    require_writable(out)
    manifest = read_manifest(store)
    manifest.shards_of(None)  # raises unless there is a sample
    with work_folder(out) as folder:
        save_picture(_draw(contact_strips(store, manifest)), folder.path / CONTACT_SHEET_NAME)
        save_picture(_draw(transformation_strips(store, manifest)), folder.path / TRANSFORMATIONS_NAME)
        folder.publish()
        return folder.place(CONTACT_SHEET_NAME), folder.place(TRANSFORMATIONS_NAME)


def contact_strips(store: Store, manifest: Manifest) -> list[Strip]:
    """One sample of each class (of MAX_SHEET_ROWS classes spread over all), or the first samples if there are none."""
    strips = []
    for found in _samples_to_show(store, manifest):
        entry = found.entry
        indices = np.linspace(0, entry.num_frames - 1, SHEET_COLUMNS).round().astype(np.int64)
        title = entry.key if entry.label == NO_LABEL else manifest.classes[entry.label]
        seconds = f", {entry.num_frames / entry.fps:.1f} s" if entry.fps else ""
        strips.append(_strip(store, manifest, found, indices, title, f"{entry.num_frames} frames{seconds}"))
    return strips


def transformation_strips(store: Store, manifest: Manifest) -> list[Strip]:
    """The 16-frame clips of Figure 1, all cut from one long video: each speed that fits, random, periodic, warp."""
    found = _long_sample(store, manifest)
    num_frames = found.entry.num_frames
    largest = max((kappa for kappa in range(NUM_SPEEDS) if frames_for_speed(kappa) <= num_frames), default=0)
    generator = np.random.default_rng(0)  # any fixed draw will do for a picture
    permutation = generator.permutation(CLIP_LENGTH)
    longest_step = max(1, min(MAX_SKIP + 1, (num_frames - 1) // (CLIP_LENGTH - 1)))
    steps = generator.integers(1, longest_step, CLIP_LENGTH - 1, endpoint=True)
    kappa = min(1, largest)
    turn = 8 * step_of(kappa)
    rows = [(f"speed {k}", _EVERY[k], speed_indices(k)) for k in range(largest + 1)]
    rows += [
        ("random", "16 frames in random order", random_indices(permutation)),
        ("periodic", "forward, then backward", periodic_indices(kappa, turn)),
        ("warp", f"skips of 0 to {longest_step - 1} frames", warp_indices(steps)),
    ]
    return [_strip(store, manifest, found, indices, title, subtitle) for title, subtitle, indices in rows]


def _samples_to_show(store: Store, manifest: Manifest) -> list[FoundSample]:
    num_classes = len(manifest.classes)
    shown = set(np.linspace(0, num_classes - 1, min(num_classes, MAX_SHEET_ROWS)).round().astype(int).tolist())
    by_label: dict[int, FoundSample] = {}
    unlabelled: list[FoundSample] = []
    for shard in manifest.shards:
        for entry in read_index(store, shard):
            found = FoundSample(shard=shard.number, entry=entry)
            if entry.label == NO_LABEL:
                unlabelled.append(found)
            elif entry.label in shown:
                by_label.setdefault(entry.label, found)
        if len(by_label) == len(shown) and (shown or len(unlabelled) >= MAX_SHEET_ROWS):
            break
    return [by_label[label] for label in sorted(by_label)] or unlabelled[:MAX_SHEET_ROWS]


def _long_sample(store: Store, manifest: Manifest) -> FoundSample:
    """The first sample that is long enough for all speeds, or else the longest one."""
    longest: FoundSample | None = None
    for shard in manifest.shards[:MAX_SEARCHED_SHARDS]:
        for entry in read_index(store, shard):
            if longest is None or entry.num_frames > longest.entry.num_frames:
                longest = FoundSample(shard=shard.number, entry=entry)
            if longest.entry.num_frames >= frames_for_speed(NUM_SPEEDS - 1):
                return longest
    assert longest is not None, "shards of a manifest hold samples"
    return longest


def _strip(
    store: Store, manifest: Manifest, found: FoundSample, indices: npt.NDArray[np.int64], title: str, subtitle: str
) -> Strip:
    """Read and decode some frames; samples shorter than the clip loop."""
    indices = indices % found.entry.num_frames
    return Strip(
        title=title,
        subtitle=subtitle,
        frames=tuple(_read_frame(store, manifest, found, int(i)) for i in indices),
        captions=tuple(str(i) for i in indices),
    )


def _read_frame(store: Store, manifest: Manifest, found: FoundSample, frame: int) -> npt.NDArray[np.uint8]:
    """One frame, uint8 (H, W, 3), checked against its checksum."""
    entry, name = found.entry, shard_name(found.shard, "tar")
    start = int(entry.frame_offsets(manifest.packing)[frame])
    jpeg = store.read_range(name, start, int(entry.frame_bytes[frame]))
    origin = f"{store.location}/{name}"
    entry.check(frame, jpeg, start, origin)
    try:
        picture: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(jpeg)
    except ValueError as error:
        raise WorkError(
            f"{origin}: frame {frame} of sample {entry.key} is no sound JPEG ({one_line(error)}); "
            "run `shardify verify --deep`, then rebuild that shard"
        ) from None
    return picture


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG, whole or not at all, into a folder that exists.

    Raises:
        WorkError: if the disk is full.
    """
    store = FolderStore(path.parent)
    with store.temporary(path.name) as temporary:
        picture.save(temporary, format="PNG")
        store.write_file(path.name, temporary)


def _draw(strips: Sequence[Strip]) -> Image.Image:
    """Lay strips out below each other, titles in a column on the left, captions under the frames."""
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
