"""Tables of the probes: simple classifiers on frozen features, with all or few labels, most of them not in the paper.

In: all results. Out: one table per data set with probes, with one column per network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest

from eval.results.combined import Combined
from eval.results.paper_tables import Question
from eval.results.words import (
    NONE,
    PROBE_CLASSIFIERS,
    data_set_words,
    network_words,
    plain_number,
    training_words,
    variant_order,
)
from eval.tables.footnotes import INTERVALS, Footnotes
from eval.tables.format import Number, Table, TableRow, file_words
from eval.tables.lines import Results

NAME = "probes"
METRIC = "accuracy"
USUAL_NETWORKS = ("pretrained", "random")
USUAL_VARIANTS = (
    "fc-all",
    *(f"{kind}-{budget}" for kind in ("linear", "knn") for budget in ("all", "10pct", "10", "5", "1")),
)
"""The lines of a table without results."""

_NOTES = (
    "Accuracy of classifiers on frozen convolutions; of the paper only `three new layers` with all labels (Table 1).",
    "Logistic regression and nearest neighbours see one vector a video, the mean over its clips.",
    "With few labels, seeds are draws of the labelled videos.",
)


def probe_tables(results: Results) -> list[Table]:
    """One table for each data set with probes; without any, an empty table for UCF101."""
    probes = [result for result in results if result.row.evaluation == "probe"]
    with_roots = len({result.root for result in results}) > 1
    names = sorted({result.data_set for result in probes} or {"ucf101"})
    return [_table(name, [r for r in probes if r.data_set == name], Footnotes(with_roots=with_roots)) for name in names]


def _table(data_set: str, probes: Results, footnotes: Footnotes) -> Table:
    columns = _columns(probes)
    variants = sorted({probe.row.variant for probe in probes} or USUAL_VARIANTS, key=variant_order)
    rows = [row for variant in variants for row in _rows(variant, data_set, columns, footnotes)]
    chances = {probe.row.chance.get(METRIC) for probe in probes}
    if len(chances) == 1:
        guess = plain_number(METRIC, chances.pop())
        rows.append(TableRow(kind="chance", cells=("guessing", NONE, *(guess for _ in columns), "")))
    networks = {name: found[0].row for name, found in columns.items() if found}
    described = [
        f"{name}: {network_words(row.architecture)}, {training_words(row)}.".replace(f" {NONE},", "")
        for name, row in networks.items()
    ]
    return Table(
        name=NAME if data_set == "ucf101" else f"{NAME}_{file_words(data_set)}",
        title=f"Probes of frozen features, tested on {data_set_words(data_set)}",
        columns=("classifier", "labels", *columns, "note"),
        num_label_columns=2,
        rows=tuple(rows),
        notes=(*_NOTES, INTERVALS, *described, *footnotes.sentences),
    )


def _columns(probes: Results) -> dict[str, list[Combined]]:
    """The results of each network, by a unique heading."""
    networks: dict[tuple[str, ...], list[Combined]] = {}
    for probe in probes:
        networks.setdefault((*probe.network, "" if probe.row.weights else str(probe.root)), []).append(probe)
    columns: dict[str, list[Combined]] = {}
    for column in networks.values():
        name = column[0].row.network
        taken = sum(heading == name or heading.startswith(f"{name} (") for heading in columns)
        columns[f"{name} ({taken + 1})" if taken else name] = column
    return columns or {name: [] for name in USUAL_NETWORKS}


def _rows(variant: str, data_set: str, columns: Mapping[str, Results], footnotes: Footnotes) -> Iterator[TableRow]:
    """One line of a variant; more lines if a network has results with several settings."""
    found = [[result for result in results if result.row.variant == variant] for results in columns.values()]
    question = Question(evaluation="probe", variant=variant, data_set=data_set)
    for results in list(zip_longest(*found)) or [(None,) * len(found)]:
        numbers = [
            Number(
                question=question,
                metric=METRIC,
                reported=None if r is None else r.reported.numbers.get(METRIC),
                result=r,
            )
            for r in results
        ]
        measured = {name: r for name, r in zip(columns, results, strict=True) if r is not None}
        cells = (*_words(variant), *(n.measured_cell for n in numbers), footnotes.mark(measured, with_network=False))
        yield TableRow(kind="extra", cells=cells, numbers=tuple(numbers))


def _words(variant: str) -> tuple[str, str]:
    classifier, _, budget = variant.partition("-")
    if percent := re.fullmatch(r"([\d.]+)pct", budget):
        labels = f"{percent[1]} %"
    else:
        labels = f"{budget} a class" if budget.isdigit() else budget
    return PROBE_CLASSIFIERS.get(classifier, classifier), labels
