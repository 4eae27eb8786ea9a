"""The table of differences: this method's network against each other network, on the same test videos.

In: all results. Out: one table, without lines if no two networks answered the same question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from eval.results.combined import Combined
from eval.results.differences import num_paired_seeds, paired_difference
from eval.results.paper_tables import Question
from eval.results.rows import Metric
from eval.results.words import DIFFERENCE, data_set_words, is_error, metric_words, variant_order
from eval.tables.footnotes import Footnotes
from eval.tables.format import Number, Table, TableRow
from eval.tables.lines import Results
from shardify.errors import counted
from shardify.progress import counting

NAME = "differences"
_NOTES = (
    "The first network minus the second, on the same videos: points of accuracy, or steps of the error.",
    "In brackets the 95 % interval of the difference: a paired bootstrap over source groups, and over seeds.",
    "Whether the intervals of two networks overlap says little; this interval decides.",
    "better, worse: the interval of the difference does not hold 0; undecided: it does; no interval: all videos agree.",
    "on 1 seed, on 2 seeds: only these seeds are there for both networks.",
)


def difference_tables(results: Results) -> list[Table]:
    """The table of all differences, if there are any."""
    footnotes = Footnotes(with_roots=len({result.root for result in results}) > 1)
    questions = counting(_questions(results), unit="question", doing="differences")
    rows = tuple(row for asked in questions for row in _rows(asked, footnotes))
    if not rows:
        return []
    table = Table(
        name=NAME,
        title="Differences between networks, on the same test videos",
        columns=("evaluation", "tested on", "network", "minus", "difference", "verdict", "note"),
        num_label_columns=4,
        rows=rows,
        notes=(*_NOTES, *footnotes.sentences),
    )
    return [table]


def _questions(results: Results) -> list[list[Combined]]:
    """Results of at least two networks on the same evaluation, variant and data set."""
    found: dict[tuple[object, ...], list[Combined]] = defaultdict(list)
    for result in results:
        row = result.row
        found[(row.evaluation, variant_order(row.variant), result.data_set)].append(result)
    return [found[key] for key in sorted(found, key=repr) if len(found[key]) > 1]


def _rows(asked: Sequence[Combined], footnotes: Footnotes) -> Iterator[TableRow]:
    """The first result, by the order of `combine`, against each of the others."""
    first, *others = asked
    metric = first.main_metric
    for other in others:
        difference = paired_difference(first, other, metric)
        if difference is None:
            continue
        row = first.row
        name = metric + DIFFERENCE
        number = Number(
            question=Question(evaluation=row.evaluation, variant=row.variant, data_set=first.data_set),
            metric=name,
            result=replace(first, metrics={name: difference}),
        )
        labels = (
            f"{row.evaluation.replace('_', '-')} {row.variant}, {metric_words(metric)}",
            data_set_words(first.data_set),
            _name(first, other),
            _name(other, first),
        )
        note = footnotes.mark({"network": first, "minus": other}, with_network=False)
        cells = (*labels, number.measured_cell, verdict(metric, difference) + seeds_words(first, other), note)
        yield TableRow(kind="extra", cells=cells, numbers=(number,))


def _name(result: Combined, beside: Combined) -> str:
    """The network's name in its config, with its folder if the other has the same name."""
    row = result.row
    return row.network if row.network != beside.row.network else f"{row.network} ({result.root.name})"


def seeds_words(one: Combined, other: Combined) -> str:
    """`, on 1 seed` if a difference rests on fewer seeds than one of the two has; else blank."""
    number = num_paired_seeds(one, other)
    return "" if number == max(one.num_seeds, other.num_seeds) else f", on {counted(number, 'seed')}"


def verdict(metric: str, difference: Metric) -> str:
    """What the interval of a difference says about the first network."""
    if not difference.has_interval:
        return "no interval"
    if difference.low <= 0 <= difference.high:
        return "undecided"
    return "better" if (difference.value > 0) != is_error(metric) else "worse"
