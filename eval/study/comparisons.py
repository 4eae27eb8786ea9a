"""What a study compares: the results of each row by question, and their differences on the same test videos.

In: combined results. Out: :class:`Combined` by row and :data:`Question column <Column>`, and paired differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from eval.results.combined import Combined
from eval.results.differences import num_paired_seeds, paired_difference
from eval.results.paper_tables import Question
from eval.results.words import DIFFERENCE, data_set_words, metric_words, variant_order
from eval.tables.format import Number

_BESIDES = {"sync": ("mae",)}
"""Metrics besides the main one that are compared."""
Column = tuple[str, str, str, str]
"""Evaluation, variant, data set, metric."""


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """The results of a study."""

    cells: Mapping[tuple[str, Column], Combined]
    """Row and column -> result."""
    columns: Sequence[Column]
    """Those with any result, in the order of the evaluations."""

    @classmethod
    def of(cls, results: Sequence[Combined]) -> Self:
        cells: dict[tuple[str, Column], Combined] = {}
        for result in results:
            row = result.row
            for metric in (result.main_metric, *_BESIDES.get(row.evaluation, ())):
                cells.setdefault((row.network, (row.evaluation, row.variant, result.data_set, metric)), result)
        columns = {column for _, column in cells}
        ordered = sorted(columns, key=lambda c: (c[2], c[0], variant_order(c[1]), c[3] == "mae"))
        return cls(cells=cells, columns=ordered)

    def number(self, row: str, column: Column) -> Number | None:
        """A row's number; None if it has none."""
        result = self.cells.get((row, column))
        return None if result is None else _number(result, column, result.reported.numbers.get(column[3]))

    def difference(self, row: str, other: str, column: Column) -> Number | None:
        """`row` minus `other` on the same videos and seeds; None if they share none."""
        one, two = self.cells.get((row, column)), self.cells.get((other, column))
        if one is None or two is None or (difference := paired_difference(one, two, column[3])) is None:
            return None
        name = column[3] + DIFFERENCE
        return _number(replace(one, metrics={name: difference}), (*column[:3], name), None)

    def num_seeds(self, row: str, other: str, column: Column) -> int:
        """How many seeds both rows have."""
        return num_paired_seeds(self.cells[row, column], self.cells[other, column])


def heading(column: Column) -> str:
    """A column's question, for people: `UCF101: transfer finetune`."""
    evaluation, variant, data_set, metric = column
    extra = "" if metric in ("accuracy", "top1") else f", {metric_words(metric)}"
    return f"{data_set_words(data_set)}: {evaluation.replace('_', '-')} {variant}{extra}"


def _number(result: Combined, column: Column, reported: float | None) -> Number:
    evaluation, variant, data_set, metric = column
    question = Question(evaluation=evaluation, variant=variant, data_set=data_set)
    return Number(question=question, metric=metric, reported=reported, result=result)
