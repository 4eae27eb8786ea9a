"""The plots of runs side by side: held-out results over the epochs, a line for each run.

In: runs. Out: :class:`Plot`s, whose positions are percent of the plot's width and height, for the template.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from eval.report.pretraining import Pretraining
from eval.report.runs import RunOf
from eval.results.words import number_words
from stream_train.training.metrics import SCORE_ENDINGS
from stream_train.training.pictures import VALIDATION_PREFIX

LOWEST = -1.0
"""Worse scores, which only `_explained` can have, are drawn here."""
_MOST_TICKS = 5
_ALIKE = 1e-9
Point = tuple[float, float]
"""Epoch and value."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A held-out result."""

    x: float
    y: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A run's results."""

    number: int
    """The run's number on the page, which gives colour and marker."""
    name: str
    marks: Sequence[Mark]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A metric of all runs that have it, on one pair of axes."""

    title: str
    lines: Sequence[Line]
    epochs: Sequence[tuple[float, str]]
    """Position and text of each tick."""
    values: Sequence[tuple[float, str]]
    guess_at: float | None
    """None if it is unknown, or the runs' differ."""
    guess: str


def held_out_plots(runs: Sequence[RunOf]) -> list[Plot]:
    """A plot for each metric of any run's validations, in the runs' order; all have the same axes."""
    points: dict[str, dict[int, list[Point]]] = {}
    for number, run in enumerate(runs):
        for name, found in (_points(run.pretraining) if run.pretraining else {}).items():
            points.setdefault(name, {})[number] = found
    everything = [point for lines in points.values() for found in lines.values() for point in found]
    if not everything:
        return []
    locator = MaxNLocator(_MOST_TICKS, steps=[1, 2, 5, 10])
    epochs = [float(tick) for tick in locator.tick_values(0, max(epoch for epoch, _ in everything))]
    lowest = min(0.0, max(LOWEST, math.floor(4 * min(value for _, value in everything)) / 4))
    return [_plot(name, lines, runs, epochs, lowest) for name, lines in points.items()]


def _points(pretraining: Pretraining) -> dict[str, list[Point]]:
    """Metric -> its held-out results; a validation after training counts, if a record names the epoch of its step."""
    found: dict[str, dict[int, Point]] = {}
    epochs = {}
    for record in pretraining.records:
        step = int(record["step"])
        epochs[step] = record["epoch"]
        for name, value in record.items():
            if name.startswith(VALIDATION_PREFIX) and name.endswith(SCORE_ENDINGS):
                found.setdefault(name.removeprefix(VALIDATION_PREFIX), {})[step] = (record["epoch"], value)
    validation = pretraining.validation
    if validation is not None and validation.step in epochs:
        for name, value in validation.figures.items():
            if name.endswith(SCORE_ENDINGS):
                found.setdefault(name, {}).setdefault(validation.step, (epochs[validation.step], value))
    return {name: sorted(by_step.values()) for name, by_step in found.items()}


def _plot(
    name: str, lines: dict[int, list[Point]], runs: Sequence[RunOf], epochs: Sequence[float], lowest: float
) -> Plot:
    def down(value: float) -> float:
        return round(100 * (1 - max(value, lowest)) / (1 - lowest), 2)

    def mark(run: str, epoch: float, value: float) -> Mark:
        words = f"{run}: epoch {epoch:.1f}, {number_words(name, value)}"
        return Mark(x=round(100 * epoch / epochs[-1], 2), y=down(value), words=words)

    guesses = [run.guesses[name] for n in lines if (run := runs[n].pretraining) is not None and name in run.guesses]
    is_shared = bool(guesses) and max(guesses) - min(guesses) < _ALIKE
    num_ticks = round(4 * (1 - lowest)) + 1
    values = [lowest + tick / 4 for tick in range(num_ticks)]
    return Plot(
        title=name.replace("_", " "),
        lines=[
            Line(number=n, name=runs[n].name, marks=[mark(runs[n].name, *point) for point in found])
            for n, found in lines.items()
        ],
        epochs=[(round(100 * epoch / epochs[-1], 2), f"{epoch:g}") for epoch in epochs],
        values=[(down(value), f"{100 * value:.0f}") for value in values],
        guess_at=down(guesses[0]) if is_shared else None,
        guess=number_words(name, guesses[0]) if is_shared else "",
    )
