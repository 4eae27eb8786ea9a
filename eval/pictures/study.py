"""The picture of a study: every row in every question, with intervals.

In: metrics by row and question. Out: PNG.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eval.pictures.charts import COLOURS
from eval.results.rows import Metric
from stream_train.training.pictures import save_figure, write_title

_COLUMNS = 3
_ROW_INCHES = 0.24


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One question."""

    title: str
    metrics: Mapping[str, Metric]
    """Row -> accuracy in [0, 1]."""
    chance: float | None


def study_figure(panels: Sequence[Panel], rows: Sequence[str], reference: str, path: Path, *, title: str) -> None:
    """Draw a panel for each question: a line for each row, with value and interval; guessing is dotted.

    The reference has a colour of its own, and its value is a dashed line. The folder of the PNG exists.

    Raises:
        ValueError: if there is no panel.
        WorkError: if the disk is full.
    """
    if not panels:
        raise ValueError("a picture of a study needs results")
    num_columns = min(_COLUMNS, len(panels))
    num_lines = math.ceil(len(panels) / num_columns)
    size = (1.6 + 3.1 * num_columns, 0.7 + num_lines * (0.8 + _ROW_INCHES * len(rows)))
    figure = Figure(figsize=size, layout="constrained")
    write_title(figure, title, "95 % intervals; dotted: guessing; dashed: the row that others are compared with")
    grid = figure.subplots(num_lines, num_columns, squeeze=False, sharey=True)
    for place, axes in enumerate(grid.flat):
        if place < len(panels):
            _draw(axes, panels[place], rows, reference)
        else:
            axes.set_visible(False)
    save_figure(figure, path)


def _draw(axes: Axes, panel: Panel, rows: Sequence[str], reference: str) -> None:
    for line, name in enumerate(rows):
        if (metric := panel.metrics.get(name)) is None:
            continue
        colour = COLOURS[name == reference]
        if metric.has_interval:
            axes.plot([metric.low, metric.high], [line, line], color=colour, linewidth=1.4)
        axes.plot([metric.value], [line], "o", color=colour, markersize=4.5)
    if reference in panel.metrics:
        axes.axvline(panel.metrics[reference].value, color=COLOURS[1], linestyle="--", linewidth=0.8)
    if panel.chance is not None:
        axes.axvline(panel.chance, color="black", linestyle=":", linewidth=1)
    axes.set_title(panel.title, fontsize=9)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.25)
