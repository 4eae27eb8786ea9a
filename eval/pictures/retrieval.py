"""Figure 5: query videos and their nearest neighbours, as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from eval.pictures.lettering import INK, PAPER, RIGHT, WRONG, load_font, scale_frame, scaled_width, shorten
from shardify.arrays import ImageArray
from shardify.storage.folder_store import whole_file

_FRAME_HEIGHT = 96
_MARGIN, _GAP, _GROUP_GAP = 20, 3, 26
_BORDER = 4
_HEADING_SIZE, _TEXT_SIZE = 17, 15
_LINE = 1.4
"""Line spacing in font sizes."""
_RANKS = ("nearest", "second nearest", "third nearest")


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A video near the query."""

    class_name: str
    frames: tuple[ImageArray, ...]
    """uint8 (H, W, 3) each, RGB; as many as in the query."""
    similarity: float
    """Cosine in [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """A test video and its nearest neighbours."""

    class_name: str
    frames: tuple[ImageArray, ...]
    """uint8 (H, W, 3) each, RGB."""
    neighbours: tuple[Neighbour, ...]
    """Nearest first."""

    def __post_init__(self) -> None:
        counts = {len(self.frames), *(len(neighbour.frames) for neighbour in self.neighbours)}
        if len(counts) != 1 or 0 in counts:
            raise ValueError(f"query and neighbours show {sorted(counts)} frames; all must show equally many")


def retrieval_figure(queries: Sequence[Query], path: Path) -> None:
    """Draw a row for each query: its frames, then those of its neighbours, with class and similarity below.

    A neighbour of the query's class has a blue border, a tick and the words "same class"; other neighbours have a
    vermilion border, a cross and "other class". The folder of the PNG exists.

    Raises:
        ValueError: if there is no query, or their numbers of frames or neighbours differ.
        WorkError: if the disk is full.
    """
    shapes = {(len(query.frames), len(query.neighbours)) for query in queries}
    if len(shapes) != 1:
        raise ValueError(f"queries show (frames, neighbours) of {sorted(shapes)}; all must show equally many")
    num_frames, num_neighbours = shapes.pop()
    shown = [frames for query in queries for frames in (query.frames, *(n.frames for n in query.neighbours))]
    frame_width = max(scaled_width(frame, _FRAME_HEIGHT) for frames in shown for frame in frames)
    group_width = num_frames * (frame_width + _GAP) - _GAP + 2 * _BORDER
    heading = round(_HEADING_SIZE * _LINE) + _GAP
    row_height = _FRAME_HEIGHT + 2 * _BORDER + round(_TEXT_SIZE * _LINE) + _MARGIN
    size = (
        2 * _MARGIN + (1 + num_neighbours) * (group_width + _GROUP_GAP) - _GROUP_GAP,
        2 * _MARGIN + heading + len(queries) * row_height - _MARGIN,
    )
    picture = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(picture)
    lefts = [_MARGIN + group * (group_width + _GROUP_GAP) for group in range(1 + num_neighbours)]
    ranks = [*_RANKS, *(f"{rank}th nearest" for rank in range(len(_RANKS) + 1, num_neighbours + 1))]
    for left, title in zip(lefts, ["query", *ranks[:num_neighbours]], strict=True):
        font = load_font(_HEADING_SIZE, bold=True)
        pen.text((left + group_width // 2, _MARGIN), title, fill=INK, font=font, anchor="ma")
    for row, query in enumerate(queries):
        top = _MARGIN + heading + row * row_height
        _draw_group(picture, (lefts[0], top), group_width, query.frames, query.class_name, INK)
        for left, neighbour in zip(lefts[1:], query.neighbours, strict=True):
            is_right = neighbour.class_name == query.class_name
            sign, verdict = ("\N{CHECK MARK}", "same class") if is_right else ("\N{BALLOT X}", "other class")
            caption = f"{sign} {neighbour.class_name}, {verdict}, cosine {neighbour.similarity:.2f}"
            colour = RIGHT if is_right else WRONG
            _draw_group(picture, (left, top), group_width, neighbour.frames, caption, colour)
    with whole_file(path) as temporary:
        picture.save(temporary, format="PNG")


def _draw_group(
    picture: Image.Image, place: tuple[int, int], width: int, frames: Sequence[ImageArray], caption: str, colour: str
) -> None:
    """Draw frames side by side in a border, and the caption centred below."""
    left, top = place
    bottom = top + _FRAME_HEIGHT + 2 * _BORDER
    pen = ImageDraw.Draw(picture)
    pen.rectangle((left, top, left + width - 1, bottom - 1), outline=colour, width=_BORDER - 1)
    step = (width - 2 * _BORDER + _GAP) // len(frames)
    for number, frame in enumerate(frames):
        image = scale_frame(frame, _FRAME_HEIGHT)
        picture.paste(image, (left + _BORDER + number * step + (step - _GAP - image.width) // 2, top + _BORDER))
    font = load_font(_TEXT_SIZE)
    pen.text((left + width // 2, bottom + _GAP), shorten(caption, font, width), fill=colour, font=font, anchor="ma")
