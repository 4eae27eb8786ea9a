"""Charts of results: accuracy of each class, and accuracy over the number of labelled videos.

In: counts and metrics. Out: PNG. Confusion matrices are drawn by `stream_train.training.pictures`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from eval.results.rows import Metric
from shardify.arrays import IntArray
from stream_train.training.pictures import save_figure, write_title

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's colours, which colour-blind people can tell apart. Each also has its own marker."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", ":")
"""Used if there are more networks than colours."""

_MAX_BARS = 55
"""Maximum number of classes in one column of the chart."""
_BAR_INCHES = 0.17
_LETTER_INCHES = 0.068
"""Approximate width of a letter in a class name."""
_DODGE = 1.05
"""Factor between the x of neighbouring networks, so that their intervals do not overlap."""
_TICKS_APART = 1.25
"""Minimum factor between two ticks."""


@dataclass(frozen=True, kw_only=True)
class LabelCurve:
    """The accuracy of one network with one probe, over the number of labelled videos."""

    probe: str
    """Title of the panel: linear, knn, fc."""
    network: str
    metrics: Mapping[float, Metric]
    """Labelled videos per class (the mean over classes), above 0 -> accuracy in [0, 1]."""


def class_figure(
    correct: IntArray,
    num_videos: IntArray,
    classes: Sequence[str],
    path: Path,
    *,
    title: str,
    chance: float | None = None,
) -> None:
    """Draw the accuracy of each class as horizontal bars, the best on top, with the number of its test videos.

    `correct` and `num_videos`, int64 (K,), count the right answers and all test videos of each class; classes without
    videos have no bar. Guessing, in [0, 1], is a dotted line. The folder of the PNG exists.

    Raises:
        ValueError: if the counts contradict each other, or no class has a video.
        WorkError: if the disk is full.
    """
    if not len(correct) == len(num_videos) == len(classes) or np.any((correct < 0) | (correct > num_videos)):
        raise ValueError(f"of {len(classes)} classes, {correct} of {num_videos} videos cannot be right")
    shown = [i for i in range(len(classes)) if num_videos[i] > 0]
    if not shown:
        raise ValueError("no class has a test video")
    shown.sort(key=lambda i: (-correct[i] / num_videos[i], classes[i]))
    bars = [(f"{classes[i]} ({num_videos[i]})", float(correct[i] / num_videos[i])) for i in shown]
    mean = float(correct.sum() / num_videos.sum())
    facts = f"dashed: {correct.sum()} of all {num_videos.sum()} videos, {mean:.1%}"
    if len(shown) < len(classes):
        facts += f"; classes without test videos: {len(classes) - len(shown)}"
    num_columns = math.ceil(len(bars) / _MAX_BARS)
    num_rows = math.ceil(len(bars) / num_columns)
    names = max(len(label) for label, _ in bars) * _LETTER_INCHES
    figure = Figure(figsize=(num_columns * (2.9 + names), 1.3 + num_rows * _BAR_INCHES), layout="constrained")
    write_title(figure, title, facts)
    for column, axes in enumerate(figure.subplots(1, num_columns, squeeze=False)[0]):
        _draw_bars(axes, bars[column * num_rows : (column + 1) * num_rows], num_rows)
        axes.axvline(mean, color="black", linestyle="--", linewidth=1)
        _draw_chance(axes.axvline, axes.set_xlabel, chance)
    save_figure(figure, path)


def low_label_figure(curves: Sequence[LabelCurve], path: Path, *, title: str, chance: float | None = None) -> None:
    """Draw accuracy over labelled videos per class: one panel per probe, one line per network, with 95 % intervals.

    Panels, colours and legend keep the order of probes and networks. Guessing, in [0, 1], is a dotted line. The folder
    of the PNG exists.

    Raises:
        ValueError: if there is no curve, or a curve has no point or a point at 0 labelled videos.
        WorkError: if the disk is full.
    """
    if not curves or not all(curve.metrics and min(curve.metrics) > 0 for curve in curves):
        raise ValueError("a low-label figure needs curves, each with points at more than 0 labelled videos a class")
    probes = list(dict.fromkeys(curve.probe for curve in curves))
    networks = list(dict.fromkeys(curve.network for curve in curves))
    legend_rows = math.ceil(len(networks) / len(probes))
    figure = Figure(figsize=(1 + 3.4 * len(probes), 3.6 + 0.22 * legend_rows), layout="constrained")
    write_title(figure, title)
    panels = figure.subplots(1, len(probes), sharey=True, squeeze=False)[0]
    for axes, probe in zip(panels, probes, strict=True):
        axes.set_title(probe, fontsize=10)
        _draw_panel(axes, [curve for curve in curves if curve.probe == probe], networks)
        axes.set_xlabel("labelled videos a class")
    metrics = [metric for curve in curves for metric in curve.metrics.values()]
    highest = max(metric.high if metric.has_interval else metric.value for metric in metrics)
    panels[0].set_ylim(0, min(1.0, 1.1 * highest) or 1.0)
    panels[0].yaxis.set_major_formatter(PercentFormatter(1))
    for axes in panels:
        _draw_chance(axes.axhline, panels[0].set_ylabel, chance)
    lines = {name: line for axes in panels for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        [lines[network] for network in networks], networks, loc="outside lower center", ncols=len(probes), fontsize=9
    )
    save_figure(figure, path)


def _draw_chance(draw_line: Callable[..., object], set_label: Callable[[str], object], chance: float | None) -> None:
    """Set the label of the axis, and draw guessing as a dotted line."""
    set_label("accuracy" if chance is None else "accuracy (dotted: guessing)")
    if chance is not None:
        draw_line(chance, color="black", linestyle=":", linewidth=1)


def _draw_bars(axes: Axes, bars: Sequence[tuple[str, float]], num_rows: int) -> None:
    """Draw bars and their values from the top down, in a column with room for `num_rows`."""
    axes.barh(range(len(bars)), [share for _, share in bars], height=0.75, color=COLOURS[0])
    for row, (_, share) in enumerate(bars):
        place: dict[str, Any] = {"y": row, "s": f"{share:.0%}", "va": "center_baseline", "fontsize": 7}
        if share > 0.9:  # no space right of the bar
            axes.text(share - 0.01, ha="right", color="white", **place)
        else:  # white box, because the dashed line may cross
            axes.text(
                share + 0.01, bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}, **place
            )
    axes.set_yticks(range(len(bars)), [label for label, _ in bars], fontsize=8)
    axes.set(xlim=(0, 1), ylim=(num_rows - 0.4, -0.6))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)


def _draw_panel(axes: Axes, curves: Sequence[LabelCurve], networks: Sequence[str]) -> None:
    """Draw the curves of one probe; a network has the same colour in every panel."""
    for curve in curves:
        place = networks.index(curve.network)
        points = sorted(curve.metrics.items())
        dodge = _DODGE ** (place - (len(networks) - 1) / 2)
        below = [metric.value - metric.low for _, metric in points]  # without an interval: NaN, not drawn
        above = [metric.high - metric.value for _, metric in points]
        axes.errorbar(
            [number * dodge for number, _ in points],
            [metric.value for _, metric in points],
            yerr=[below, above],
            label=curve.network,
            color=COLOURS[place % len(COLOURS)],
            marker=_MARKERS[place % len(_MARKERS)],
            linestyle=_LINES[place // len(COLOURS) % len(_LINES)],
            markersize=5,
            linewidth=1.4,
            elinewidth=1,
            capsize=2.5,
        )
    ticks = _spread_ticks({number for curve in curves for number in curve.metrics})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.25)


def _spread_ticks(numbers: Collection[float]) -> list[float]:
    """The numbers that get a tick: whole numbers first; none is close to another tick."""
    ticks: list[float] = []
    for number in sorted(numbers, key=lambda number: (number != round(number), number)):
        if all(max(number, tick) / min(number, tick) >= _TICKS_APART for tick in ticks):
            ticks.append(number)
    return sorted(ticks)
