"""Figure 4: the parts of a clip that networks look at, as a picture of some frames and as a short video.

In: a clip's frames, and the maps of each network (:func:`eval.evaluations.guided_backpropagation.saliency_maps`). Out:
a PNG and an H.264 MP4. Maps are drawn as heat over darkened, grey frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from eval.pictures.lettering import FAINT, INK, PAPER, load_font, scale_frame, scaled_width, shorten, wrap
from eval.pictures.movie import write_movie
from shardify.arrays import ImageArray
from shardify.storage.folder_store import whole_file

FIGURE_COLUMNS = 8
"""Maximum number of frames of a clip in the picture."""
MOVIE_FRAMES_PER_SECOND = 8.0
MOVIE_LOOPS = 3

_HEAT = "inferno"
_FAINTEST_HEAT = 0.3
"""Position of value 0 in the colour scale, whose beginning is as dark as the frame."""
_FRAME_BRIGHTNESS = 0.45
_OPAQUE_ABOVE = 2 / 3
"""Map value above which the heat hides the frame."""

_MARGIN, _GAP = 20, 4
_TITLE_SIZE, _TEXT_SIZE, _SMALL_SIZE = 19, 16, 14
_LINE = 1.3
"""Line spacing in font sizes."""
_FIGURE_FRAME_HEIGHT, _MOVIE_FRAME_HEIGHT = 120, 224
_LABEL_WIDTH = 200
"""Width of the column with the networks' names."""


@dataclass(frozen=True, kw_only=True)
class SaliencyRow:
    """One network's answer about a clip, and its maps."""

    name: str
    says: str
    """Its winning class and the probability, such as "JumpingJack 87 %"."""
    maps: npt.NDArray[np.floating]
    """Float (T, H, W) in [0, 1], of the frames' size."""


@dataclass(frozen=True, kw_only=True)
class SaliencyBlock:
    """One clip and the maps of some networks."""

    title: str
    frames: ImageArray
    """uint8 (T, H, W, 3), RGB: the cropped input of the networks."""
    indices: npt.NDArray[np.integer]
    """Integers (T,): the frame numbers in the video."""
    rows: tuple[SaliencyRow, ...]

    def __post_init__(self) -> None:
        num_frames = len(self.frames)
        if self.frames.shape[3:] != (3,) or self.frames.dtype != np.uint8:
            raise ValueError(f"frames are {self.frames.dtype} {self.frames.shape}, not uint8 (T, H, W, 3)")
        if self.indices.shape != (num_frames,):
            raise ValueError(f"indices have shape {self.indices.shape}, but there are {num_frames} frames")
        for row in self.rows:
            if row.maps.shape != self.frames.shape[:3]:
                raise ValueError(f"maps of {row.name} have shape {row.maps.shape}, frames {self.frames.shape}")


def saliency_figure(blocks: Sequence[SaliencyBlock], path: Path) -> None:
    """Draw blocks below each other: up to FIGURE_COLUMNS evenly spaced frames, and below them each network's maps.

    Raises:
        ValueError: if there is no block.
        WorkError: if the disk is full.
    """
    if not blocks:
        raise ValueError("a saliency figure needs at least one block")
    with whole_file(path) as temporary:
        _stack([*(_draw_block(block) for block in blocks), _draw_legend()]).save(temporary, format="PNG")


def saliency_movie(blocks: Sequence[SaliencyBlock], path: Path) -> None:
    """Play blocks below each other, clip and maps side by side, slowly and MOVIE_LOOPS times, in an MP4.

    Raises:
        ValueError: if there is no block, or the clips differ in length.
        UsageError: if there is no ffmpeg.
        WorkError: if ffmpeg fails, or the disk is full.
    """
    lengths = {len(block.frames) for block in blocks}
    if len(lengths) != 1:
        raise ValueError(f"a saliency movie needs clips of one length, not of {sorted(lengths)} frames")
    moments = [np.asarray(_stack([_draw_moment(block, moment) for block in blocks])) for moment in range(lengths.pop())]
    write_movie(moments * MOVIE_LOOPS, path, frames_per_second=MOVIE_FRAMES_PER_SECOND)


def overlay_heat(frame: ImageArray, saliency: npt.NDArray[np.floating], height: int) -> Image.Image:
    """A map, float (H, W) in [0, 1], as heat over its darkened, grey frame, scaled to `height` pixels."""
    large = scale_frame(frame, height)
    size = (large.width, large.height)
    grey = np.asarray(large.convert("L"), dtype=np.float32)[:, :, None] * _FRAME_BRIGHTNESS
    values = np.asarray(Image.fromarray(saliency.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    heat = mpl.colormaps[_HEAT](_FAINTEST_HEAT + (1 - _FAINTEST_HEAT) * values)[:, :, :3] * 255
    opacity = np.minimum(values / _OPAQUE_ABOVE, 1)[:, :, None]
    return Image.fromarray((grey * (1 - opacity) + heat * opacity).round().astype(np.uint8))


def _draw_block(block: SaliencyBlock) -> Image.Image:
    """The title, a row of frames with their numbers, then a row of maps for each network."""
    shown = range(0, len(block.frames), -(-len(block.frames) // FIGURE_COLUMNS))
    frame_width = scaled_width(block.frames[0], _FIGURE_FRAME_HEIGHT)
    heading, caption = round(_TITLE_SIZE * _LINE) + _GAP, round(_SMALL_SIZE * _LINE) + _GAP
    size = (
        _LABEL_WIDTH + len(shown) * (frame_width + _GAP),
        heading + caption + (1 + len(block.rows)) * (_FIGURE_FRAME_HEIGHT + _GAP),
    )
    picture = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(picture)
    _draw_title(pen, block.title, picture.width)
    _draw_label(pen, (0, heading), "input", "frame numbers below")
    for column, moment in enumerate(shown):
        left = _LABEL_WIDTH + column * (frame_width + _GAP)
        picture.paste(scale_frame(block.frames[moment], _FIGURE_FRAME_HEIGHT), (left, heading))
        below = (left + frame_width // 2, heading + _FIGURE_FRAME_HEIGHT + _GAP)
        pen.text(below, str(block.indices[moment]), fill=FAINT, font=load_font(_SMALL_SIZE), anchor="ma")
    for number, row in enumerate(block.rows, start=1):
        top = heading + caption + number * (_FIGURE_FRAME_HEIGHT + _GAP)
        _draw_label(pen, (0, top), row.name, row.says)
        for column, moment in enumerate(shown):
            heat = overlay_heat(block.frames[moment], row.maps[moment], _FIGURE_FRAME_HEIGHT)
            picture.paste(heat, (_LABEL_WIDTH + column * (frame_width + _GAP), top))
    return picture


def _draw_title(pen: ImageDraw.ImageDraw, title: str, width: int) -> None:
    font = load_font(_TITLE_SIZE, bold=True)
    pen.text((0, 0), shorten(title, font, width), fill=INK, font=font, anchor="la")


def _draw_label(pen: ImageDraw.ImageDraw, place: tuple[int, int], name: str, says: str) -> None:
    """Draw a row's name and, below it and fainter, the network's answer; vertically centred beside the frames."""
    font, small = load_font(_TEXT_SIZE), load_font(_SMALL_SIZE)
    width = _LABEL_WIDTH - 2 * _GAP
    lines = [(line, font, INK) for line in wrap(name, font, width)]
    lines += [(line, small, FAINT) for line in wrap(says, small, width)]
    spacing = round(_TEXT_SIZE * _LINE)
    top = place[1] + (_FIGURE_FRAME_HEIGHT - len(lines) * spacing) // 2
    for number, (line, line_font, colour) in enumerate(lines):
        pen.text((place[0], top + number * spacing), line, fill=colour, font=line_font, anchor="la")


def _draw_legend() -> Image.Image:
    font = load_font(_SMALL_SIZE)
    text = "|guided gradient \N{MINUS SIGN} its frame's median|, one scale a clip and network: low"
    height, ramp_width, high = round(_SMALL_SIZE * _LINE), 160, "high"
    left = round(font.getlength(text)) + 2 * _GAP
    picture = Image.new("RGB", (left + ramp_width + 2 * _GAP + round(font.getlength(high)), height), PAPER)
    pen = ImageDraw.Draw(picture)
    ramp = np.tile(np.linspace(0, 1, ramp_width), (height, 1))
    picture.paste(overlay_heat(np.full((height, ramp_width, 3), 128, np.uint8), ramp, height), (left, 0))
    pen.text((0, height // 2), text, fill=FAINT, font=font, anchor="lm")
    pen.text((picture.width, height // 2), high, fill=FAINT, font=font, anchor="rm")
    return picture


def _draw_moment(block: SaliencyBlock, moment: int) -> Image.Image:
    """One frame of the movie: the title, then the frame and its map of each network side by side."""
    tiles = [("input", f"frame {block.indices[moment]}", scale_frame(block.frames[moment], _MOVIE_FRAME_HEIGHT))]
    for row in block.rows:
        heat = overlay_heat(block.frames[moment], row.maps[moment], _MOVIE_FRAME_HEIGHT)
        tiles.append((row.name, row.says, heat))
    font, small = load_font(_TEXT_SIZE), load_font(_SMALL_SIZE)
    heading, spacing = round(_TITLE_SIZE * _LINE) + _GAP, round(_TEXT_SIZE * _LINE)
    tile_width = tiles[0][2].width
    names = [wrap(name, font, tile_width) for name, _, _ in tiles]
    above = heading + (max(map(len, names)) + 1) * spacing + _GAP
    size = (len(tiles) * (tile_width + 2 * _GAP) - 2 * _GAP, above + _MOVIE_FRAME_HEIGHT)
    picture = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(picture)
    _draw_title(pen, block.title, picture.width)
    for column, (_, says, tile) in enumerate(tiles):
        left = column * (tile_width + 2 * _GAP)
        for number, line in enumerate(names[column]):
            pen.text((left, heading + number * spacing), line, fill=INK, font=font, anchor="la")
        below = (left, heading + len(names[column]) * spacing)
        pen.text(below, shorten(says, small, tile_width), fill=FAINT, font=small, anchor="la")
        picture.paste(tile, (left, above))
    return picture


def _stack(strips: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other on one sheet, with margins."""
    width = max(strip.width for strip in strips) + 2 * _MARGIN
    picture = Image.new("RGB", (width, sum(strip.height + _MARGIN for strip in strips) + _MARGIN), PAPER)
    top = _MARGIN
    for strip in strips:
        picture.paste(strip, (_MARGIN, top))
        top += strip.height + _MARGIN
    return picture
