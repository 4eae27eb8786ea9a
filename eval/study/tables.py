"""The tables of a study: its findings, the paper's and what was measured, all rows, their differences, their audits.

In: a study's results and audits. Out: :class:`~eval.tables.format.Table`s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eval.results.combined import Combined
from eval.results.words import NONE
from eval.study.audits import Audits, audits_table
from eval.study.comparisons import Column, Comparisons, heading
from eval.study.config import StudyConfig
from eval.study.findings import findings_table
from eval.study.jobs import pretrainings_of
from eval.study.matching import clips_per_video
from eval.tables.build import paper_tables
from eval.tables.differences import verdict
from eval.tables.footnotes import INTERVALS, Footnotes
from eval.tables.format import NOT_MEASURED, Number, Table, TableRow
from shardify.progress import counting

NAME = "study"
DIFFERENCES_NAME = "study_differences"


def study_tables(config: StudyConfig, results: Sequence[Combined], audits: Audits) -> list[Table]:
    """All tables with results so far; none without results. Raises WorkError if a result is damaged."""
    if not results:
        return []
    compared = Comparisons.of(results)
    papers = [table for table in paper_tables(results) if any(row.is_measured for row in table.rows)]
    mine = [_values_table(config, compared), *_differences_table(config, compared)]
    return [*findings_table(config, compared), *papers, *mine, *audits_table(audits)]


def _values_table(config: StudyConfig, compared: Comparisons) -> Table:
    """A line for each row of the study, a column for each question."""
    cells, columns = compared.cells, compared.columns
    footnotes, clips = Footnotes(with_roots=False), _clips_words(config)
    rows = []
    for name in config.rows:
        numbers = [compared.number(name, column) for column in columns]
        mark = footnotes.mark({heading(c): cells[name, c] for c in columns if (name, c) in cells})
        shown = [NOT_MEASURED if number is None else number.measured_cell for number in numbers]
        kept = tuple(number for number in numbers if number is not None)
        rows.append(TableRow(kind="extra", cells=(name, clips.get(name, NONE), *shown, mark), numbers=kept))
    return Table(
        name=NAME,
        title="All rows of the study",
        columns=("row", "pre-training: clips a video x videos a step x epochs", *map(heading, columns), "note"),
        num_label_columns=2,
        rows=tuple(rows),
        notes=(INTERVALS, *footnotes.sentences),
    )


def _differences_table(config: StudyConfig, compared: Comparisons) -> Iterator[Table]:
    """Each row minus the reference, on the same videos and seeds."""
    reference = config.reference_row
    columns = [column for column in compared.columns if (reference, column) in compared.cells]
    rows = []
    for name in counting(config.rows, unit="row", doing="differences"):
        if name == reference or not any((name, column) in compared.cells for column in columns):
            continue
        numbers = [compared.difference(name, reference, column) for column in columns]
        shown = [_shown(column, number) for column, number in zip(columns, numbers, strict=True)]
        kept = tuple(number for number in numbers if number is not None)
        rows.append(TableRow(kind="extra", cells=(name, *shown), numbers=kept))
    if rows:
        yield Table(
            name=DIFFERENCES_NAME,
            title=f"Each row minus {reference}, on the same test videos",
            columns=("row", *map(heading, columns)),
            num_label_columns=1,
            rows=tuple(rows),
            notes=(
                "Points of accuracy, or steps of an error, each with the 95 % interval of a paired bootstrap.",
                f"better, worse: than {reference}; undecided: the interval holds 0; no interval: all videos agree.",
            ),
        )


def _shown(column: Column, number: Number | None) -> str:
    if number is None:
        return NONE
    assert number.measured is not None
    return f"{number.measured_cell} {verdict(column[3], number.measured)}"


def _clips_words(config: StudyConfig) -> dict[str, str]:
    return {
        name: f"{clips_per_video(values.task)} x {values.data.videos_per_batch} x {values.epochs}"
        for name, values in pretrainings_of(config).items()
    }
