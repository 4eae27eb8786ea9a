"""The table of a study's findings: each claim of its config, and whether the paired differences bear it out.

In: a study's config and results. Out: one :class:`~eval.tables.format.Table`, if the config has claims.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eval.results.words import NONE
from eval.study.comparisons import Column, Comparisons, heading
from eval.study.config import FindingConfig, StudyConfig
from eval.tables.differences import verdict
from eval.tables.format import NOT_MEASURED, Number, Table, TableRow

NAME = "study_findings"
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
_NOTES = (
    "Each comparison is a difference on the same test videos and seeds, with the 95 % interval of a paired bootstrap.",
    f"{HOLDS}: all intervals lie on the claimed side of 0; {FAILS}: one lies on the other side; both with all seeds.",
    f"{UNDECIDED}: neither, or something is still missing.",
)


def findings_table(config: StudyConfig, compared: Comparisons) -> Iterator[Table]:
    """The findings so far: a line for each comparison, the claim and its verdict on the first."""
    rows = [row for finding in config.findings for row in _rows(finding, compared, len(config.seeds))]
    if rows:
        yield Table(
            name=NAME,
            title="Findings",
            columns=("claim", "verdict", "comparison", "difference", "alone"),
            num_label_columns=3,
            rows=tuple(rows),
            notes=_NOTES,
        )


def _rows(finding: FindingConfig, compared: Comparisons, num_seeds: int) -> Iterator[TableRow]:
    lines: list[tuple[str, str, str, tuple[Number, ...]]] = []
    said, is_whole = [], True
    for other in finding.than:
        for asked in finding.judged_by:
            found = [
                (c, n) for c in _columns(finding, asked, compared) if (n := compared.difference(finding.row, other, c))
            ]
            if not found:
                lines.append((f"{finding.row} - {other}, {asked}", NOT_MEASURED, NONE, ()))
                is_whole = False
            for column, number in found:
                word, seeds = _said(column, number), compared.num_seeds(finding.row, other, column)
                said.append(word if seeds >= num_seeds else UNDECIDED)
                is_whole = is_whole and seeds >= num_seeds
                shown = word if seeds >= num_seeds else f"{word}, {seeds} of {num_seeds} seeds"
                words = f"{finding.row} - {other}, {heading(column)}"
                lines.append((words, number.measured_cell, shown, (number,)))
    claim, judged = finding.claim, judge(said, is_whole=is_whole)
    for words, difference, shown, numbers in lines:
        yield TableRow(kind="extra", cells=(claim, judged, words, difference, shown), numbers=numbers)
        claim, judged = "", ""


def judge(said: Sequence[str], *, is_whole: bool) -> str:
    """The verdict on a claim from those on its comparisons: `better`, `worse`, `undecided`, `no interval`."""
    if not said:
        return NOT_MEASURED
    if "worse" in said:
        return FAILS
    return HOLDS if is_whole and set(said) == {"better"} else UNDECIDED


def _said(column: Column, number: Number) -> str:
    assert number.measured is not None
    return verdict(column[3], number.measured)


def _columns(finding: FindingConfig, asked: str, compared: Comparisons) -> list[Column]:
    """The columns of a question: `probe` is all probes, `probe/fc-all` one of them, `sync/frozen/mae` one metric."""
    parts = asked.split("/")
    return [
        column
        for column in compared.columns
        if finding.data_set in (None, column[2])
        if all(part == name for part, name in zip(parts, (column[0], column[1], column[3]), strict=False))
    ]
