"""The audits of a study's pre-trainings, side by side.

In: the audit.json of each row and seed. Out: one :class:`~eval.tables.format.Table`, if there is any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from pydantic import TypeAdapter, ValidationError

from eval.results.words import NONE, plain_number
from eval.study.config import StudyConfig
from eval.tables.format import Table, TableRow
from shardify.errors import WorkError
from stream_train.audit.table import AUDIT_NAME, Audit, shown_metrics
from stream_train.training.metrics import score_words

NAME = "study_audits"
_GROUPS = ("network", "observer")
Audits = Mapping[str, Sequence[Audit]]
"""Row -> its audits, one for each seed that has one."""


def is_audit(name: str) -> bool:
    """Whether a name or path is that of an audit."""
    return name.rpartition("/")[2] == AUDIT_NAME


def read_audits(config: StudyConfig, folder: Path) -> Audits:
    """The audits of a study whose jobs lie below a folder. Raises WorkError if one is damaged."""
    found = {}
    for row in config.rows:
        if audits := [read_audit(path) for path in sorted((folder / row).glob(f"seed*/{AUDIT_NAME}"))]:
            found[row] = audits
    return found


def read_audit(path: Path) -> Audit:
    """One audit. Raises WorkError if it is damaged."""
    try:
        return TypeAdapter(Audit).validate_json(path.read_bytes())
    except ValidationError:
        raise WorkError(f"{path} is damaged; delete it and run the study again") from None


def audits_table(audits: Audits) -> Iterator[Table]:
    """What each pretext score is made of: a line for each row and question, means over seeds."""
    names = dict.fromkeys(
        line.name for of_row in audits.values() for audit in of_row for line in audit.rows if line.group in _GROUPS
    )
    rows = [
        TableRow(kind="extra", cells=(row, str(len(of_row)), score_words(metric), *_cells(of_row, metric, names)))
        for row, of_row in audits.items()
        for metric in shown_metrics(of_row[0])
    ]
    if rows:
        yield Table(
            name=NAME,
            title="Audits of the pretext tasks, on held-out videos",
            columns=("row", "seeds", "score", "guessing", *names),
            num_label_columns=3,
            rows=tuple(rows),
            notes=(
                "As in training: the score to explain. The next ones are of the same network on changed clips.",
                "Order destroyed near guessing: the score comes from the order of frames.",
                "One frame repeated above guessing: appearance gives answers away.",
                "JPEG sizes, frame differences: boosted trees on these numbers alone.",
                "Frame numbers: the best that the task allows.",
            ),
        )


def _cells(audits: Sequence[Audit], metric: str, names: Mapping[str, None]) -> Iterator[str]:
    yield _mean(metric, [audit.guesses.get(metric) for audit in audits])
    for name in names:
        lines = [line for audit in audits for line in audit.rows if line.name == name]
        yield _mean(metric, [line.scores.get(metric) for line in lines])


def _mean(metric: str, values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return plain_number(metric, fmean(known)) if known else NONE
