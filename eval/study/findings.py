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
    f"{HOLDS}: all intervals lie on the claimed side of 0; {FAILS}: one lies on the other side; {UNDECIDED}: neither.",
)


def findings_table(config: StudyConfig, compared: Comparisons) -> Iterator[Table]:
    """The findings so far: a line for each comparison, the claim and its verdict on the first."""
    rows = [row for finding in config.findings for row in _rows(finding, compared)]
    if rows:
        yield Table(
            name=NAME,
            title="Findings",
            columns=("claim", "verdict", "comparison", "difference", "alone"),
            num_label_columns=3,
            rows=tuple(rows),
            notes=_NOTES,
        )


def _rows(finding: FindingConfig, compared: Comparisons) -> Iterator[TableRow]:
    columns = [column for column in compared.columns if _is_about(finding, column)]
    numbers = [(other, c, compared.difference(finding.row, other, c)) for other in finding.than for c in columns]
    measured = [(other, column, number) for other, column, number in numbers if number is not None]
    missing = [other for other in finding.than if other not in {other for other, _, _ in measured}]
    said = [_said(column, number) for _, column, number in measured]
    claim, judged = finding.claim, judge(said, is_whole=not missing)
    for (other, column, number), word in zip(measured, said, strict=True):
        cells = (claim, judged, f"{finding.row} - {other}, {heading(column)}", number.measured_cell, word)
        yield TableRow(kind="extra", cells=cells, numbers=(number,))
        claim, judged = "", ""
    for other in missing:
        yield TableRow(kind="extra", cells=(claim, judged, f"{finding.row} - {other}", NOT_MEASURED, NONE))
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


def _is_about(finding: FindingConfig, column: Column) -> bool:
    """Whether a finding is about a column: `probe` is all probes, `probe/fc-all` one, `sync/frozen/mae` one metric."""
    evaluation, variant, _, metric = column
    for asked in finding.judged_by:
        name, *rest = asked.split("/")
        if name == evaluation and (not rest or rest[0] == variant) and metric == (rest[1] if len(rest) > 1 else metric):
            return True
    return False
