"""The first paragraph of the page, three sentences: what was trained, what it tells, and whether its features help."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.forest import reading_order
from eval.report.pretraining import Pretraining
from eval.report.words import words_for
from eval.results.combined import Combined
from eval.results.differences import paired_difference
from eval.results.words import number_words
from eval.tables.differences import verdict
from shardify.errors import counted

SHOWN_METRICS = 2


def summary_sentences(pretraining: Pretraining | None, results: Sequence[Combined]) -> list[str]:
    """At most three sentences; all numbers stand further down on the page.

    Raises WorkError if the scores of a result's videos are damaged.
    """
    sentences = []
    if pretraining is not None:
        sentences.append(f"{pretraining.headline}.")
        complete = [metric for metric in pretraining.metrics if metric.is_complete]
        metrics = [f"{m.name} {m.held_out} (guessing {m.guessing})" for m in complete[:SHOWN_METRICS]]
        if metrics:
            sentences.append(f"On held-out videos it reaches {', '.join(metrics)}.")
    pairs = _pairs(results)
    if pairs:
        better = [pair for pair in pairs if _is_better(*pair)]
        count = f"{len(better)} of {counted(len(pairs), 'comparison')}"
        example = f", for example {_example(*better[0])}" if better else ""
        sentences.append(
            f"Its features are better than those of random weights in {count} (the 95 % interval of the difference, on "
            f"the same videos, lies above 0){example}."
        )
    elif results:
        networks = {result.network for result in results if result.row.architecture != "none"}
        data = ", ".join(dict.fromkeys(result.row.data_set for result in results))
        counts = f"{counted(len(results), 'result')} of {counted(len(networks), 'network')}"
        sentences.append(f"{counts}, tested on {data}; the figure below has their intervals.")
    return sentences


def _pairs(results: Sequence[Combined]) -> list[tuple[Combined, Combined]]:
    """For each evaluation, variant and data set: the first trained network, and the best random weights."""
    groups: dict[tuple[str, str, str], list[Combined]] = {}
    for result in sorted(results, key=reading_order):
        groups.setdefault((result.row.evaluation, result.row.variant, result.row.data_set), []).append(result)
    pairs = []
    for group in groups.values():
        networks = [result for result in group if result.row.architecture != "none"]
        trained = [result for result in networks if result.row.pretraining is not None]
        rivals = [result for result in networks if result.row.pretraining is None]
        if trained and rivals:
            pairs.append((trained[0], max(rivals, key=_value)))
    return pairs


def _value(result: Combined) -> float:
    return result.metrics[result.main_metric].value


def _is_better(ours: Combined, rival: Combined) -> bool:
    """Whether the whole interval of the difference on the same videos speaks for ours; False if it is unknown."""
    difference = paired_difference(ours, rival, ours.main_metric)
    return difference is not None and verdict(ours.main_metric, difference) == "better"


def _example(ours: Combined, rival: Combined) -> str:
    row = ours.row
    numbers = [number_words(result.main_metric, _value(result)) for result in (ours, rival)]
    return f"{words_for(row.evaluation).short} ({row.variant}): {numbers[0]} against {numbers[1]}"
