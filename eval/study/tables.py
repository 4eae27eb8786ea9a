"""The tables of a study: the paper's with what was measured beside it, all rows side by side, and their differences.

In: the results below a study's `out`. Out: :class:`~eval.tables.format.Table`s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from eval.results.combined import Combined, combine
from eval.results.differences import paired_difference
from eval.results.paper_tables import Question
from eval.results.rows import is_of_rows
from eval.results.words import DIFFERENCE, NONE, data_set_words, metric_words, variant_order
from eval.study.config import StudyConfig
from eval.study.jobs import pretrainings_of
from eval.study.matching import clips_per_video
from eval.tables.build import paper_tables
from eval.tables.differences import verdict
from eval.tables.footnotes import INTERVALS, Footnotes
from eval.tables.format import NOT_MEASURED, Number, Table, TableRow
from shardify.storage.work_folder import work_folder

NAME = "study"
DIFFERENCES_NAME = "study_differences"
_BESIDES = {"sync": ("mae",)}
"""Metrics besides the main one that have a column."""
Column = tuple[str, str, str, str]
"""Evaluation, variant, data set, metric."""
Cells = Mapping[tuple[str, Column], Combined]
"""Row and column -> result."""


def study_tables(config: StudyConfig) -> list[Table]:
    """All tables with results so far; none without results. Raises WorkError if a result is damaged."""
    with work_folder(config.out, is_of_rows, create=False) as folder:
        found = combine([folder.path], study=folder.path)
        results = [result for result in found if result.row.network in config.rows]
        if not results:
            return []
        papers = [table for table in paper_tables(results) if any(row.is_measured for row in table.rows)]
        return [*papers, _values_table(config, results), *_differences_table(config, results)]


def _values_table(config: StudyConfig, results: Sequence[Combined]) -> Table:
    """A line for each row of the study, a column for each question."""
    cells, columns = _cells(results)
    footnotes, clips = Footnotes(with_roots=False), _clips_words(config)
    rows = []
    for name in config.rows:
        numbers = [_number(cells.get((name, column)), column) for column in columns]
        mark = footnotes.mark({_heading(c): cells[name, c] for c in columns if (name, c) in cells})
        shown = [NOT_MEASURED if number is None else number.measured_cell for number in numbers]
        kept = tuple(number for number in numbers if number is not None)
        rows.append(TableRow(kind="extra", cells=(name, clips.get(name, NONE), *shown, mark), numbers=kept))
    return Table(
        name=NAME,
        title="All rows of the study",
        columns=("row", "pre-training: clips a video x videos a step x epochs", *map(_heading, columns), "note"),
        num_label_columns=2,
        rows=tuple(rows),
        notes=(INTERVALS, *footnotes.sentences),
    )


def _differences_table(config: StudyConfig, results: Sequence[Combined]) -> Iterator[Table]:
    """Each row minus the reference, on the same videos and seeds."""
    cells, columns = _cells(results)
    reference = config.reference_row
    columns = [column for column in columns if (reference, column) in cells]
    rows = []
    for name in config.rows:
        if name == reference or not any((name, column) in cells for column in columns):
            continue
        shown, numbers = [], []
        for column in columns:
            number = _difference(cells.get((name, column)), cells[reference, column], column)
            shown.append(NONE if number is None else f"{number.measured_cell} {_verdict(column, number)}")
            numbers += [] if number is None else [number]
        rows.append(TableRow(kind="extra", cells=(name, *shown), numbers=tuple(numbers)))
    if rows:
        yield Table(
            name=DIFFERENCES_NAME,
            title=f"Each row minus {reference}, on the same test videos",
            columns=("row", *map(_heading, columns)),
            num_label_columns=1,
            rows=tuple(rows),
            notes=(
                "Points of accuracy, or steps of an error, each with the 95 % interval of a paired bootstrap.",
                f"better, worse: than {reference}; undecided: the interval holds 0; no interval: all videos agree.",
            ),
        )


def _cells(results: Sequence[Combined]) -> tuple[Cells, list[Column]]:
    """The results by row and column, and the columns that have any, in the order of the evaluations."""
    cells: dict[tuple[str, Column], Combined] = {}
    for result in results:
        row = result.row
        for metric in (result.main_metric, *_BESIDES.get(row.evaluation, ())):
            cells.setdefault((row.network, (row.evaluation, row.variant, result.data_set, metric)), result)
    columns = {column for _, column in cells}
    return cells, sorted(columns, key=lambda c: (c[2], c[0], variant_order(c[1]), c[3] == "mae"))


def _heading(column: Column) -> str:
    evaluation, variant, data_set, metric = column
    extra = "" if metric in ("accuracy", "top1") else f", {metric_words(metric)}"
    return f"{data_set_words(data_set)}: {evaluation.replace('_', '-')} {variant}{extra}"


def _number(result: Combined | None, column: Column) -> Number | None:
    if result is None:
        return None
    evaluation, variant, data_set, metric = column
    question = Question(evaluation=evaluation, variant=variant, data_set=data_set)
    return Number(question=question, metric=metric, reported=result.reported.numbers.get(metric), result=result)


def _difference(result: Combined | None, reference: Combined, column: Column) -> Number | None:
    if result is None or (difference := paired_difference(result, reference, column[3])) is None:
        return None
    name = column[3] + DIFFERENCE
    changed = _number(replace(result, metrics={name: difference}), (*column[:3], name))
    return None if changed is None else replace(changed, reported=None)


def _verdict(column: Column, number: Number) -> str:
    assert number.measured is not None
    return verdict(column[3], number.measured)


def _clips_words(config: StudyConfig) -> dict[str, str]:
    return {
        name: f"{clips_per_video(values.task)} x {values.data.videos_per_batch} x {values.epochs}"
        for name, values in pretrainings_of(config).items()
    }
