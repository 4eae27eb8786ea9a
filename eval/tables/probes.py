"""The probes that the paper does not have: simple classifiers on frozen features, with all or few labels.

In: all results. Out: a table for each data set that was probed, a column for each network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from eval.results.combined import Combined
from eval.tables.format import Table, TableRow
from eval.tables.words import (
    INTERVALS,
    NONE,
    NOT_MEASURED,
    Footnotes,
    data_set_words,
    file_words,
    measured_cell,
    network_words,
    number_cell,
    number_of,
    training_words,
)

NAME = "probes"
METRIC = "accuracy"
USUAL_NETWORKS = ("pretrained", "random")
USUAL_VARIANTS = (
    "fc-all",
    *(f"{kind}-{budget}" for kind in ("linear", "knn") for budget in ("all", "10pct", "10", "5", "1")),
)
"""What stands in the table as long as nothing is measured."""

_CLASSIFIERS = {"fc": "three new layers", "linear": "logistic regression", "knn": "nearest neighbours"}
_NOTES = (
    "Accuracy of classifiers on frozen convolutions; of the paper only `three new layers` with all labels (Table 1).",
    "Logistic regression and nearest neighbours see one vector a video, the mean over its clips.",
    "With few labels, seeds are draws of the labelled videos.",
)


def probe_tables(results: Sequence[Combined]) -> list[Table]:
    """One table a data set, UCF101's if none was probed."""
    probes = [result for result in results if result.row.evaluation == "probe"]
    with_roots = len({result.root for result in results}) > 1
    names = list(dict.fromkeys(result.data_set for result in probes))
    if not names:
        return [_table("ucf101", [], with_roots=False)]
    return [_table(name, [r for r in probes if r.data_set == name], with_roots=with_roots) for name in sorted(names)]


def _table(data_set: str, probes: Sequence[Combined], *, with_roots: bool) -> Table:
    footnotes = Footnotes(with_roots=with_roots)
    columns = _columns(probes)
    variants = sorted({probe.row.variant for probe in probes} or USUAL_VARIANTS, key=_place)
    rows = [row for variant in variants for row in _rows(variant, data_set, columns, footnotes)]
    chances = {probe.row.chance.get(METRIC) for probe in probes}
    if len(chances) == 1:
        guess = number_cell(chances.pop(), METRIC)
        rows.append(TableRow(kind="chance", cells=("guessing", NONE, *(guess for _ in columns), "")))
    described = [
        f"{name}: {network_words(found[0].row.architecture)}, {training_words(found[0])}.".replace(f" {NONE},", "")
        for name, found in columns.items()
        if found
    ]
    return Table(
        name=NAME if data_set == "ucf101" else f"{NAME}_{file_words(data_set)}",
        title=f"Probes of frozen features, tested on {data_set_words(data_set)}",
        columns=("classifier", "labels", *columns, "note"),
        num_label_columns=2,
        rows=tuple(rows),
        notes=(*_NOTES, INTERVALS, *described, *footnotes.sentences),
    )


def _columns(probes: Sequence[Combined]) -> dict[str, list[Combined]]:
    """The results of each network by a heading of its own."""
    networks: dict[tuple[str, ...], list[Combined]] = {}
    for probe in probes:
        networks.setdefault((*probe.network, "" if probe.row.weights else str(probe.root)), []).append(probe)
    if not networks:
        return {name: [] for name in USUAL_NETWORKS}
    columns: dict[str, list[Combined]] = {}
    for column in networks.values():
        name = column[0].row.network
        taken = sum(heading == name or heading.startswith(f"{name} (") for heading in columns)
        columns[f"{name} ({taken + 1})" if taken else name] = column
    return columns


def _rows(
    variant: str, data_set: str, columns: Mapping[str, Sequence[Combined]], footnotes: Footnotes
) -> Iterator[TableRow]:
    """One variant's line, and further ones where a network has results with several settings."""
    found = [[result for result in results if result.row.variant == variant] for results in columns.values()]
    nothing: list[tuple[Combined | None, ...]] = [(None,) * len(found)]
    for results in list(zip_longest(*found)) or nothing:
        by_column = dict(zip(columns, results, strict=True))
        numbers = [
            number_of(
                result,
                data_set=data_set,
                evaluation="probe",
                variant=variant,
                metric=METRIC,
                reported=None if result is None else result.row.reported.get(METRIC),
            )
            for result in results
        ]
        cells = [NOT_MEASURED if r is None else measured_cell(r.metrics[METRIC], METRIC) for r in results]
        measured = {name: result for name, result in by_column.items() if result is not None}
        cells.append(footnotes.mark(measured, with_network=False))
        yield TableRow(kind="extra", cells=(*_words(variant), *cells), numbers=tuple(numbers))


def _words(variant: str) -> tuple[str, str]:
    classifier, _, budget = variant.partition("-")
    if percent := re.fullmatch(r"([\d.]+)pct", budget):
        labels = f"{percent[1]} %"
    else:
        labels = f"{budget} a class" if budget.isdigit() else budget
    return _CLASSIFIERS.get(classifier, classifier), labels


def _place(variant: str) -> tuple[int, int, float, str]:
    """Classifiers in their order; all labels first, then shares, then numbers, downwards."""
    classifier, _, budget = variant.partition("-")
    known = list(_CLASSIFIERS)
    number = float(match[0]) if (match := re.match(r"\d+(\.\d+)?", budget)) else 0.0
    kind = 0 if budget == "all" else (1 if budget.endswith("pct") else 2)
    return known.index(classifier) if classifier in known else len(known), kind, -number, variant
