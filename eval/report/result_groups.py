"""The table of runs side by side: a line for each evaluation, network and metric, a column for each run.

In: runs. Out: :class:`ResultGroup`s of lines, as text.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from eval.report.comparability import result_differences
from eval.report.forest import reading_order
from eval.report.runs import RunOf
from eval.report.words import words_for
from eval.results.combined import Combined
from eval.results.differences import paired_difference
from eval.results.words import (
    DIFFERENCE,
    evidence_words,
    has_few_labels,
    interval_words,
    metric_words,
    number_words,
    plain_number,
)
from eval.tables.differences import seeds_words, verdict

Group = tuple[str, str, str]
"""Evaluation, variant, data set."""
Results = dict[int, list[Combined]]
"""A run's number -> its results of one network in one group; more than one if it was tested with other settings."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A number of a run."""

    number: str
    interval: str
    difference: str
    """From the first run that has the line, on the same videos; "" if that is not known."""
    detail: str
    """The evidence, unless the whole group shares it; and the folder, if the run has several numbers here."""


@dataclass(frozen=True, kw_only=True)
class ResultLine:
    """A metric of a network."""

    network: str
    metric: str
    guess: str
    cells: Sequence[Sequence[Shown]]
    """For each run its numbers, usually one or none."""


@dataclass(frozen=True, kw_only=True)
class ResultGroup:
    """The lines of one variant of an evaluation on one data set."""

    title: str
    subtitle: str
    shared: str
    """The evidence, if all share it."""
    differences: Sequence[str]
    """What besides the networks differs between the runs."""
    has_few_labels: bool
    lines: Sequence[ResultLine]
    """The main metric of each network."""
    more_lines: Sequence[ResultLine]
    """Further metrics."""


def result_groups(runs: Sequence[RunOf]) -> list[ResultGroup]:
    """All results of the runs, in the order of the evaluations.

    Raises WorkError if the scores of a result's videos are damaged.
    """
    every = [(number, result) for number, run in enumerate(runs) for result in run.results]
    groups: dict[Group, dict[str, Results]] = {}
    for number, result in sorted(every, key=lambda found: reading_order(found[1])):
        row = result.row
        networks = groups.setdefault((row.evaluation, row.variant, result.data_set), {})
        networks.setdefault(row.network, {}).setdefault(number, []).append(result)
    return [_group(group, networks, runs) for group, networks in groups.items()]


def _group(group: Group, networks: dict[str, Results], runs: Sequence[RunOf]) -> ResultGroup:
    evaluation, variant, data_set = group
    results = [result for by_run in networks.values() for found in by_run.values() for result in found]
    evidence = {evidence_words(result) for result in results}
    shared = evidence.pop() if len(evidence) == 1 else ""
    differences = [words for by_run in networks.values() for words in _differences(by_run, runs)]
    lines = [
        (metric == found.main_metric, _line(network, metric, by_run, runs, with_evidence=bool(evidence)))
        for network, by_run in networks.items()
        for found in [next(iter(by_run.values()))[0]]
        for metric in dict.fromkeys(m for own in by_run.values() for result in own for m in result.metrics)
    ]
    return ResultGroup(
        title=words_for(evaluation).short,
        subtitle=f"{variant} · {data_set}",
        shared=shared,
        differences=list(dict.fromkeys(differences)),
        has_few_labels=has_few_labels(results[0].row),
        lines=[line for is_main, line in lines if is_main],
        more_lines=[line for is_main, line in lines if not is_main],
    )


def _differences(by_run: Results, runs: Sequence[RunOf]) -> list[str]:
    """Between the runs with one result; several results of a run have their folders beside them."""
    return result_differences({runs[number].name: found[0] for number, found in by_run.items() if len(found) == 1})


def _line(network: str, metric: str, by_run: Results, runs: Sequence[RunOf], *, with_evidence: bool) -> ResultLine:
    having = {n: [r for r in found if metric in r.metrics] for n, found in by_run.items()}
    single = {n: found[0] for n, found in having.items() if len(found) == 1}
    first = next(iter(sorted(single)), None)

    def shown(number: int, result: Combined) -> Shown:
        found = result.metrics[metric]
        detail = [evidence_words(result)] if with_evidence else []
        if number not in single:
            detail.append(os.path.relpath(result.root, runs[number].path.resolve()))
        is_compared = first is not None and number in single and number != first
        return Shown(
            number=number_words(metric, found.value),
            interval=interval_words(metric, found),
            difference=_difference_words(result, single[first], metric) if is_compared and first is not None else "",
            detail="; ".join(detail),
        )

    guesses = {r.row.chance.get(metric) for found in having.values() for r in found}
    guess = guesses.pop() if len(guesses) == 1 else None
    return ResultLine(
        network=network,
        metric=metric_words(metric),
        guess="" if guess is None else f"guessing {number_words(metric, guess)}",
        cells=[[shown(number, result) for result in having.get(number, [])] for number in range(len(runs))],
    )


def _difference_words(result: Combined, first: Combined, metric: str) -> str:
    """`+3.1 [1.0, 5.2] better, on 1 seed`; "" if the two were not tested on the same data."""
    if {row.fingerprint for _, row in result.rows} != {row.fingerprint for _, row in first.rows}:
        return ""
    difference = paired_difference(result, first, metric)
    if difference is None:
        return ""
    name = metric + DIFFERENCE
    sign = "+" if difference.value > 0 else ""
    interval = f"{interval_words(name, difference)} " if difference.has_interval else ""
    said = verdict(metric, difference) + seeds_words(result, first)
    return f"{sign}{plain_number(name, difference.value)} {interval}{said}"
