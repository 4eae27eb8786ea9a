"""What the page says of each evaluation: every single result row in full, and the pictures that belong to it.

In: rows, and the pictures below the run's folder. Out: :class:`Evaluation`s, in words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from eval.report.pictures import Picture, in_order
from eval.report.words import (
    EVALUATIONS,
    EvaluationWords,
    Missing,
    evaluation_order,
    has_few_labels,
    interval_words,
    metric_words,
    number_words,
    pretraining_words,
    variant_order,
    words_for,
)
from eval.results.rows import Row

DIGEST_LETTERS = 12
"""Of a network's sha256; enough to tell networks apart."""
_LEVELS_BELOW_OUT = 5
"""A row lies in OUT/<evaluation>/<variant>/<network>/<train split>/seed<k>."""

Rows = Mapping[PurePosixPath, Row]
"""Folder, relative to the run's -> the row in it."""


@dataclass(frozen=True, kw_only=True)
class MetricCell:
    """A number and what it is to be held against, in words."""

    number: str
    interval: str
    chance: str
    """"" where nobody can say."""
    paper: str
    """"" where the paper has no like experiment."""


@dataclass(frozen=True, kw_only=True)
class ResultLine:
    """A result row."""

    place: str
    """Its folder, relative to the run's."""
    row: Row
    pretraining: str
    digest: str
    """The first letters of the weights' sha256."""
    cells: tuple[MetricCell | None, ...]
    """One for each of the evaluation's metrics."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The pictures of one result, or of several together."""

    title: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All rows of an evaluation."""

    anchor: str
    words: EvaluationWords
    metrics: tuple[str, ...]
    """Headings."""
    lines: tuple[ResultLine, ...]
    more_lines: tuple[ResultLine, ...]
    """Of probes with few labels: one for each draw of the labelled videos."""
    galleries: tuple[Gallery, ...]
    """One for each network and variant, but for probes with few labels."""
    more_galleries: tuple[Gallery, ...]
    """Of further splits and seeds, and of those probes."""
    missing: tuple[Missing, ...]


def read_evaluations(rows: Rows, pictures: Mapping[PurePosixPath, Sequence[Picture]]) -> list[Evaluation]:
    """The evaluations in the order of the page, their rows by variant, data and network.

    Args:
        rows: all of them.
        pictures: those of each row's folder.
    """
    by_name: dict[str, list[PurePosixPath]] = defaultdict(list)
    for place, row in rows.items():
        by_name[row.evaluation].append(place)
    return [
        _evaluation(name, {place: rows[place] for place in by_name[name]}, pictures)
        for name in sorted(by_name, key=lambda name: (evaluation_order(name), name))
    ]


def missing_evaluations(rows: Rows) -> list[Missing]:
    """The evaluations of which there is no row."""
    done = {row.evaluation for row in rows.values()}
    return [Missing(what=words.short, command=words.command) for name, words in EVALUATIONS.items() if name not in done]


def out_of(place: PurePosixPath) -> str:
    """The `out` of the evaluation that a row came from, relative to the run's folder."""
    return str(PurePosixPath(*place.parts[:-_LEVELS_BELOW_OUT]))


def _evaluation(name: str, rows: Rows, pictures: Mapping[PurePosixPath, Sequence[Picture]]) -> Evaluation:
    order = sorted(rows, key=lambda place: _line_order(place, rows[place]))
    metrics = list(dict.fromkeys(metric for place in order for metric in rows[place].metrics))
    galleries: list[Gallery] = []
    more: list[Gallery] = []
    seen = set()
    for place in order:
        if pictures.get(place):
            row = rows[place]
            kind = (row.variant, row.data_set, row.network, out_of(place))
            gallery = Gallery(title=_gallery_title(place, rows), pictures=in_order(pictures[place]))
            (more if kind in seen or has_few_labels(name, row.variant) else galleries).append(gallery)
            seen.add(kind)
    lines = [_line(place, rows[place], metrics) for place in order]
    words = words_for(name)
    missing = []
    if name == "retrieval" and not galleries:
        missing.append(Missing(what="the picture of queries and their nearest neighbours", command=words.command))
    return Evaluation(
        anchor=f"evaluation-{'-'.join(name.split())}",
        words=words,
        metrics=tuple(metric_words(metric) for metric in metrics),
        lines=tuple(line for line in lines if not has_few_labels(name, line.row.variant)),
        more_lines=tuple(line for line in lines if has_few_labels(name, line.row.variant)),
        galleries=tuple(galleries),
        more_galleries=tuple(more),
        missing=tuple(missing),
    )


def _line_order(place: PurePosixPath, row: Row) -> tuple[object, ...]:
    """Like the figure's; then split and seed."""
    kind = (row.architecture == "none", row.pretraining is None)
    return (
        variant_order(row.variant),
        row.data_set,
        *kind,
        out_of(place),
        row.network,
        row.train_split or "",
        row.seed,
        str(place),
    )


def _line(place: PurePosixPath, row: Row, metrics: Sequence[str]) -> ResultLine:
    return ResultLine(
        place=str(place),
        row=row,
        pretraining=pretraining_words(row.pretraining) if row.architecture != "none" else "no network",
        digest=row.weights[:DIGEST_LETTERS],
        cells=tuple(_cell(row, metric) if metric in row.metrics else None for metric in metrics),
    )


def _cell(row: Row, name: str) -> MetricCell:
    chance, paper = row.chance.get(name), row.reported.get(name)
    return MetricCell(
        number=number_words(name, row.metrics[name].value),
        interval=interval_words(name, row.metrics[name]),
        chance="" if chance is None else number_words(name, chance),
        paper="" if paper is None else number_words(name, paper),
    )


def _gallery_title(place: PurePosixPath, rows: Rows) -> str:
    """Network, variant, split and seed, and the folder where rows of several folders would be called the same."""
    row = rows[place]
    title = f"{row.network}, {row.variant}, {row.train_split or 'all'}, seed {row.seed}"
    outs = {out_of(other) for other in rows}
    return title if len(outs) == 1 else f"{title} ({out_of(place)})"
