"""The forest figure at the top of the page: one line for each network and evaluation, with value and interval.

In: combined results. Out: :class:`ForestPanel`s, which the template draws.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.report.words import evaluation_order, words_for
from eval.results.combined import Combined
from eval.results.training import recipe_words
from eval.results.words import (
    evidence_words,
    has_few_labels,
    interval_words,
    is_error,
    metric_words,
    number_words,
    paper_words,
    training_words,
    variant_order,
)

AXIS_TICKS = (0, 25, 50, 75, 100)
"""Percent; all lines share this axis."""


@dataclass(frozen=True, kw_only=True)
class ForestLine:
    """The main number of a network. Positions (`*_at`) are percent of the axis' width."""

    label: str
    detail: str
    """The evidence for the number, unless all lines of the panel share it."""
    number: str
    interval: str
    notes: tuple[str, ...]
    """The numbers of guessing and of the paper, unless all lines of the panel share them."""
    value_at: float
    ends_at: tuple[float, float] | None
    chance_at: float | None
    paper_at: float | None


@dataclass(frozen=True, kw_only=True)
class ForestPanel:
    """The lines of one variant of an evaluation on one data set."""

    title: str
    subtitle: str
    shared: str
    """Text that holds for all lines."""
    has_few_labels: bool
    lines: tuple[ForestLine, ...]


def forest_panels(run: Path, results: Sequence[Combined]) -> list[ForestPanel]:
    """The results whose main metric is a share, in the order of the evaluations."""
    panels: dict[tuple[str, str, str], list[Combined]] = defaultdict(list)
    for result in sorted(results, key=reading_order):
        if not is_error(result.main_metric):
            panels[result.row.evaluation, result.row.variant, result.row.data_set].append(result)
    return [_panel(run, together) for together in panels.values()]


def reading_order(result: Combined) -> tuple[object, ...]:
    """Evaluations in the order of the page; in a panel trained networks, then random weights, then no network."""
    row = result.row
    position = (evaluation_order(row.evaluation), variant_order(row.variant), row.data_set)
    return (*position, row.architecture == "none", row.pretraining is None, row.network)


def _panel(run: Path, results: Sequence[Combined]) -> ForestPanel:
    row = results[0].row
    recipes = [recipe_words(result.row) for result in results]
    evidence, chance = ([words(result) for result in results] for words in (evidence_words, _chance_words))
    shared = [words[0] for words in (recipes, evidence, chance) if len(set(words)) == 1 and words[0]]
    return ForestPanel(
        title=words_for(row.evaluation).short,
        subtitle=f"{row.variant} · {row.data_set} · {metric_words(results[0].main_metric)}",
        shared=" · ".join(shared),
        has_few_labels=has_few_labels(row),
        lines=tuple(_line(run, result, results, shared) for result in results),
    )


def _line(run: Path, result: Combined, panel: Sequence[Combined], shared: Sequence[str]) -> ForestLine:
    row, name = result.row, result.main_metric
    metric, chance, paper = result.metrics[name], row.chance.get(name), result.reported.numbers.get(name)
    detail = [*filter(None, [recipe_words(row)]), evidence_words(result)]
    if sum(other.row.network == row.network for other in panel) > 1:  # several networks with the same name
        detail += [training_words(row), os.path.relpath(result.root, run.resolve())]
    notes = [_chance_words(result), paper_words(name, result.reported)]
    return ForestLine(
        label=row.network,
        detail=" · ".join(words for words in detail if words not in shared),
        number=number_words(name, metric.value),
        interval=interval_words(name, metric),
        notes=tuple(words for words in notes if words and words not in shared),
        value_at=_on_axis(metric.value),
        ends_at=(_on_axis(metric.low), _on_axis(metric.high)) if metric.has_interval else None,
        chance_at=None if chance is None else _on_axis(chance),
        paper_at=None if paper is None else _on_axis(paper),
    )


def _chance_words(result: Combined) -> str:
    chance = result.row.chance.get(result.main_metric)
    return "" if chance is None else f"guessing {number_words(result.main_metric, chance)}"


def _on_axis(share: float) -> float:
    return round(100 * min(max(share, 0.0), 1.0), 2)
