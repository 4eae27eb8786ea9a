"""Text and frames for pictures drawn with Pillow. Sizes are in pixels."""

from __future__ import annotations

import functools
from pathlib import Path

import matplotlib as mpl
from PIL import Image, ImageFont

from shardify.arrays import ImageArray

INK, FAINT, PAPER = "#202124", "#5f6368", "#ffffff"
RIGHT, WRONG = "#0072b2", "#d55e00"
"""Blue and vermilion (Okabe and Ito), which colour-blind people can tell apart."""

_ELLIPSIS = "…"


@functools.cache
def load_font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """matplotlib's DejaVu Sans, as in the charts; it has ✓, ✗ and accented letters."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / name), size)


def shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text if it fits into `width` pixels, else its first letters and an ellipsis."""
    if font.getlength(text) <= width:
        return text
    lengths = range(len(text) - 1, 0, -1)
    shorter = (text[:length].rstrip() + _ELLIPSIS for length in lengths)
    return next((candidate for candidate in shorter if font.getlength(candidate) <= width), _ELLIPSIS)


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of at most `width` pixels, broken at spaces; words that are too long are shortened."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(shorten(word, font, width))
    return lines


def scaled_width(frame: ImageArray, height: int) -> int:
    """The width of a frame after scaling it to a height."""
    rows, columns, _ = frame.shape
    return max(1, round(height * int(columns) / int(rows)))


def scale_frame(frame: ImageArray, height: int) -> Image.Image:
    """Scale a frame to a height; keeps the aspect ratio."""
    return Image.fromarray(frame).resize((scaled_width(frame, height), height), Image.Resampling.LANCZOS)
