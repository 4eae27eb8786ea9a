"""Pictures of a run: the curves of metrics.jsonl and confusion matrices, as PNG."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from shardify.arrays import FloatArray, IntArray
from shardify.storage.folder_store import whole_file
from stream_train.training.metrics import SCORE_ENDINGS, Record, metric_names, score_words

CURVES_NAME = "curves.png"
VALIDATION_PREFIX = "validation_"
SMOOTHING_SHARE = 0.03
"""Records averaged for the bold line, as a share of all of them."""
_MAX_COUNTED, _MAX_WRITTEN = 8, 20
"""Most classes of a confusion matrix with share and count in its cells, and most with only the share."""
_MATRIX_INCHES = (2.6, 13.0)
"""Smallest and largest side of a confusion matrix."""
_FONT_POINTS = (6.0, 9.0)
"""Smallest and largest letters of its class names."""
_TITLE_POINTS, _TITLE_LETTERS_PER_INCH = 10, 11
_POINTS_PER_INCH = 72


def draw_curves(records: Sequence[Record], path: Path, title: str, guesses: Mapping[str, float]) -> None:
    """Loss and accuracies over epochs, as PNG.

    Records are lines of metrics.jsonl; metrics with VALIDATION_PREFIX become points. `guesses`, by the accuracy's name,
    become dotted lines.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    write_title(figure, title)
    losses, accuracies = figure.subplots(1, 2)
    training = [record for record in records if "loss" in record]
    parts = dict.fromkeys(name for record in training for name in record if name.startswith("loss_"))
    for name in [*(["loss"] if training else []), *(parts if len(parts) > 1 else [])]:  # a single part is the loss
        _curve(losses, training, name, label=name.removeprefix("loss_"))
    for name in metric_names(training, ending=SCORE_ENDINGS):
        colour = _curve(accuracies, training, name, label=score_words(name))
        held_out = [record for record in records if VALIDATION_PREFIX + name in record]
        if held_out:
            points = [record[VALIDATION_PREFIX + name] for record in held_out]
            epochs = [record["epoch"] for record in held_out]
            accuracies.plot(epochs, points, "o--", color=colour, markersize=4, label=f"{score_words(name)}, held-out")
        if name in guesses:
            accuracies.axhline(guesses[name], color=colour, linestyle=":", linewidth=1)
    losses.set(xlabel="epoch", ylabel="loss")
    accuracies.set(xlabel="epoch", ylabel="score (dotted: guessing)", ylim=(0, 1))
    for axes in (losses, accuracies):
        axes.grid(alpha=0.25)
        if axes.lines:
            axes.legend(fontsize=8)
    save_figure(figure, path)


def draw_confusion(counts: IntArray, names: Sequence[str], path: Path, title: str, *, noun: str = "clip") -> None:
    """A confusion matrix as PNG, shaded by the share of its row, for two classes up to hundreds.

    `counts` is int64 (K, K): rows are the true classes, columns the network's answers; `noun` is what is counted.
    Cells hold share and count if legible, else the share in percent, else nothing. Without text, the shades also show
    small shares; with very many classes, only every second, third ... class is named.
    """
    num_classes = len(names)
    cell = 0.62 if num_classes <= _MAX_COUNTED else 0.36 if num_classes <= _MAX_WRITTEN else 0.125  # inches
    side = float(np.clip(num_classes * cell, *_MATRIX_INCHES))
    cell_points = side / num_classes * _POINTS_PER_INCH
    font = float(np.clip(0.8 * cell_points, *_FONT_POINTS))
    name_points = max(map(len, names)) * 0.55 * font  # roughly
    is_upright = name_points > 0.95 * cell_points
    margin = name_points / _POINTS_PER_INCH
    size = (side + margin + 1.8, side + (margin if is_upright else 0) + 1)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    norm = PowerNorm(1 if num_classes <= _MAX_WRITTEN else 0.5, vmin=0, vmax=1)
    image = axes.imshow(shares, norm=norm, cmap="Blues", interpolation="nearest")
    named = range(0, num_classes, math.ceil(1.1 * font / cell_points))
    axes.set_xticks(named, [names[i] for i in named], fontsize=font, rotation=90 if is_upright else 0)
    axes.set_yticks(named, [names[i] for i in named], fontsize=font)
    axes.set(xlabel="network says", ylabel=f"{noun} is")
    write_title(figure, title)
    if num_classes <= _MAX_WRITTEN:
        _write_cells(axes, counts, shares)
    bar = figure.colorbar(
        image, ax=axes, label="share of the row", format=PercentFormatter(1), fraction=0.3 / size[0], pad=0.1 / size[0]
    )
    bar.set_ticks([0, 0.05, 0.2, 0.4, 0.6, 0.8, 1] if num_classes > _MAX_WRITTEN else [0, 0.2, 0.4, 0.6, 0.8, 1])
    save_figure(figure, path)


def _curve(axes: Axes, records: Sequence[Record], name: str, label: str) -> str:
    """Draw the records as a faint line, their running mean as a bold line; returns the colour."""
    points = np.array([(record["epoch"], record[name]) for record in records if name in record])
    (faint,) = axes.plot(points[:, 0], points[:, 1], alpha=0.25, linewidth=1)
    colour = to_hex(faint.get_color())
    width = max(1, round(len(points) * SMOOTHING_SHARE))
    means = [points[max(0, i + 1 - width) : i + 1, 1].mean() for i in range(len(points))]
    axes.plot(points[:, 0], means, color=colour, linewidth=1.8, label=label)
    return colour


def _write_cells(axes: Axes, counts: IntArray, shares: FloatArray) -> None:
    """Write share and count into every cell; with more classes, the share in percent into cells that are not empty."""
    has_room = len(counts) <= _MAX_COUNTED
    for (row, column), share in np.ndenumerate(shares):
        count = counts[row, column]
        text = f"{share:.0%}\n{count}" if has_room else f"{100 * share:.0f}" if count else ""
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=colour)


def write_title(figure: Figure, *lines: str) -> None:
    """Write lines above a figure of known size; breaks lines that are wider than the figure."""
    letters = int(_TITLE_LETTERS_PER_INCH * figure.get_figwidth())
    figure.suptitle("\n".join(textwrap.fill(line, letters) for line in lines), fontsize=_TITLE_POINTS)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all, into an existing folder. Raises WorkError if the disk is full."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
