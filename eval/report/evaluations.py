"""The page's sections about evaluations: all rows and their pictures.

In: rows, and the pictures below the run's folder. Out: :class:`EvaluationResults` for the template.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from eval.report.pictures import Picture
from eval.report.words import EVALUATIONS, EvaluationWords, Missing, evaluation_order, words_for
from eval.results.rows import Row
from eval.results.words import has_few_labels, variant_order

_LEVELS_BELOW_OUT = 5
"""A row lies in OUT/<evaluation>/<variant>/<network>/<data set>-<train split>/seed<k>."""

Rows = Mapping[PurePosixPath, Row]
"""Folder, relative to the run's folder -> the row in it."""
Pictures = Mapping[PurePosixPath, Sequence[Picture]]
"""Folder -> the pictures of the row in it."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The pictures of one result."""

    title: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, kw_only=True)
class EvaluationResults:
    """All rows of an evaluation."""

    anchor: str
    words: EvaluationWords
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    more_rows: tuple[Row, ...]
    """Rows of probes with few labels: one for each draw of the labelled videos."""
    galleries: tuple[Gallery, ...]
    """One for each network and variant, except probes with few labels."""
    more_galleries: tuple[Gallery, ...]
    """Those of further splits and seeds, and of probes with few labels."""
    missing: tuple[Missing, ...]


def read_evaluations(rows: Rows, pictures: Pictures) -> list[EvaluationResults]:
    """The evaluations in the order of the page; their rows in the order of variant, data and network."""
    by_name: dict[str, dict[PurePosixPath, Row]] = defaultdict(dict)
    for folder in sorted(rows, key=lambda folder: _order(folder, rows[folder])):
        by_name[rows[folder].evaluation][folder] = rows[folder]
    names = sorted(by_name, key=lambda name: (evaluation_order(name), name))
    return [_evaluation(name, by_name[name], pictures) for name in names]


def missing_evaluations(rows: Rows) -> list[Missing]:
    """The evaluations without a row."""
    done = {row.evaluation for row in rows.values()}
    return [Missing(what=words.short, command=words.command) for name, words in EVALUATIONS.items() if name not in done]


def _evaluation(name: str, rows: Rows, pictures: Pictures) -> EvaluationResults:
    galleries: list[Gallery] = []
    more: list[Gallery] = []
    seen = set()
    for folder, row in rows.items():
        if pictures.get(folder):
            kind = (row.variant, row.data_set, row.network, _out_of(folder))
            gallery = Gallery(title=_gallery_title(folder, rows), pictures=pictures[folder])
            (more if kind in seen or has_few_labels(row) else galleries).append(gallery)
            seen.add(kind)
    words = words_for(name)
    missing = []
    if name == "retrieval" and not galleries:
        missing.append(Missing(what="the picture of queries and their nearest neighbours", command=words.command))
    return EvaluationResults(
        anchor=f"evaluation-{'-'.join(name.split())}",
        words=words,
        metrics=tuple(dict.fromkeys(metric for row in rows.values() for metric in row.metrics)),
        rows=tuple(row for row in rows.values() if not has_few_labels(row)),
        more_rows=tuple(row for row in rows.values() if has_few_labels(row)),
        galleries=tuple(galleries),
        more_galleries=tuple(more),
        missing=tuple(missing),
    )


def _order(folder: PurePosixPath, row: Row) -> tuple[object, ...]:
    """The order of rows: as in the forest figure, then by split and seed."""
    kind = (row.architecture == "none", row.pretraining is None)
    run = (_out_of(folder), row.network, row.train_split or "", row.seed, str(folder))
    return (variant_order(row.variant), row.data_set, *kind, *run)


def _out_of(folder: PurePosixPath) -> str:
    """The config's `out` of a row, relative to the run's folder."""
    return str(PurePosixPath(*folder.parts[:-_LEVELS_BELOW_OUT]))


def _gallery_title(folder: PurePosixPath, rows: Rows) -> str:
    """Network, variant, split and seed; and the `out` if rows come from several."""
    row = rows[folder]
    title = f"{row.network}, {row.variant}, {row.train_split or 'all'}, seed {row.seed}"
    return title if len({_out_of(other) for other in rows}) == 1 else f"{title} ({_out_of(folder)})"
