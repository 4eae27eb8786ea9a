"""The figure that the page opens with: a line for each network and evaluation, value and interval on one axis.

In: combined results. Out: :class:`ForestPanel`s, whose numbers the template draws.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.report.words import (
    count_words,
    evaluation_order,
    has_few_labels,
    interval_words,
    is_share,
    metric_words,
    number_words,
    pretraining_words,
    variant_order,
    words_for,
)
from eval.results.combined import Combined

AXIS_TICKS = (0, 25, 50, 75, 100)
"""Percent; every line of the page has this axis."""


@dataclass(frozen=True, kw_only=True)
class ForestLine:
    """A network's main number. Places on the axis are percent of its width."""

    label: str
    detail: str
    """What the number rests on, as far as the panel does not say so."""
    number: str
    interval: str
    notes: tuple[str, ...]
    """What guessing and the paper reach, likewise."""
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
    """What holds for all lines."""
    has_few_labels: bool
    """See the function of that name."""
    lines: tuple[ForestLine, ...]


def forest_panels(run: Path, results: Sequence[Combined]) -> list[ForestPanel]:
    """All results whose main metric is a share, in the order of the evaluations.

    Args:
        run: the folder that the page is about.
        results: what was found below it.
    """
    panels: dict[tuple[str, str, str], list[Combined]] = defaultdict(list)
    for result in sorted(results, key=reading_order):
        if is_share(main_metric(result)):
            panels[result.row.evaluation, result.row.variant, result.row.data_set].append(result)
    return [_panel(run, together) for together in panels.values()]


def reading_order(result: Combined) -> tuple[object, ...]:
    """Evaluations in the order of the page; within a panel what is pre-trained, random weights, no network."""
    row = result.row
    is_no_network = row.architecture == "none"
    place = (evaluation_order(row.evaluation), variant_order(row.variant), row.data_set)
    return (*place, is_no_network, row.pretraining is None, row.network)


def main_metric(result: Combined) -> str:
    """Name of the metric that a result is judged by."""
    return next(iter(result.row.metrics))


def _panel(run: Path, results: Sequence[Combined]) -> ForestPanel:
    row = results[0].row
    evidence, chance = ([words(result) for result in results] for words in (evidence_words, _chance_words))
    shared = [words[0] for words in (evidence, chance) if len(set(words)) == 1 and words[0]]
    return ForestPanel(
        title=words_for(row.evaluation).short,
        subtitle=f"{row.variant} · {row.data_set} · {metric_words(main_metric(results[0]))}",
        shared=" · ".join(shared),
        has_few_labels=has_few_labels(row.evaluation, row.variant),
        lines=tuple(_line(run, result, results, shared) for result in results),
    )


def _line(run: Path, result: Combined, panel: Sequence[Combined], shared: Sequence[str]) -> ForestLine:
    name = main_metric(result)
    metric, chance, paper = result.metrics[name], result.row.chance.get(name), result.row.reported.get(name)
    detail = [evidence_words(result)]
    if sum(other.row.network == result.row.network for other in panel) > 1:  # told apart by more than the name
        detail += [pretraining_words(result.row.pretraining), os.path.relpath(result.root, run.resolve())]
    notes = [_chance_words(result), "" if paper is None else f"paper {number_words(name, paper)}"]
    return ForestLine(
        label=result.row.network,
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
    name = main_metric(result)
    chance = result.row.chance.get(name)
    return "" if chance is None else f"guessing {number_words(name, chance)}"


def evidence_words(result: Combined) -> str:
    """How many videos, groups, splits and seeds a number rests on."""
    videos = f"{count_words(result.num_videos, 'video')} in {count_words(result.num_groups, 'group')}"
    runs = [count_words(result.num_splits, "split")] if result.num_splits > 1 else []
    runs += [count_words(result.num_seeds, "seed")] if result.num_seeds > 1 else [f"seed {result.row.seed}"]
    return ", ".join([videos, *runs])


def _on_axis(share: float) -> float:
    """Percent of the axis' width, within it."""
    return round(100 * min(max(share, 0.0), 1.0), 2)
