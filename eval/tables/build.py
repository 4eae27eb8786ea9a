"""The paper's tables with what was measured beside what is reported, and the probes that the paper does not have.

In: folders that evaluations wrote below, or none. Out: :class:`~eval.tables.format.Table`s. A table is printed once for
the paper's own data sets, and once for every other data set that it was measured on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from eval.results.combined import Combined, combine
from eval.results.paper import like_data_set
from eval.results.rows import find_rows, is_of_rows
from eval.tables.format import LineKind, Number, Table, TableRow, to_csv, to_markdown
from eval.tables.layouts import LAYOUTS, Layout
from eval.tables.lines import Entry, Line, Target, lines_of, targets_of
from eval.tables.probes import probe_tables
from eval.tables.words import (
    INTERVALS,
    NONE,
    NOT_MEASURED,
    Footnotes,
    certain,
    data_set_words,
    file_words,
    measured_cell,
    number_cell,
    number_of,
)
from shardify.errors import UsageError
from shardify.storage import open_store
from shardify.storage.locations import is_url, join_location
from shardify.storage.work_folder import work_folder

MARKDOWN_NAME = "tables.md"


def build_tables(roots: Iterable[Path]) -> list[Table]:
    """All tables, from all results below some folders.

    Args:
        roots: folders that evaluations wrote below; with none, the tables say what there is to measure.

    Returns:
        Tables 1 to 3, the still videos, Table 4, and the probes; each for one data set after the other.

    Raises:
        UsageError: if a folder does not exist.
        WorkError: if a result is damaged.
    """
    results = combine(roots)
    tables = [_table(layout, target, results) for layout in LAYOUTS for target in targets_of(layout, results)]
    return [*tables, *probe_tables(results)]


def tables_of(locations: Iterable[str]) -> list[Table]:
    """:func:`build_tables` of folders and of places in object stores, whose results are fetched for it."""
    with ExitStack() as stack:
        folders = [stack.enter_context(work_folder(place, is_of_rows, create=False)) for place in locations]
        for folder in folders:
            if is_url(folder.location) and not find_rows(folder.path):
                raise UsageError(f"{folder.location} holds no results; give what evaluations wrote below")
        tables = build_tables([folder.path for folder in folders])
        copies = {str(folder.path): folder.location for folder in folders if is_url(folder.location)}
    return [replace(table, notes=tuple(_named(note, copies) for note in table.notes)) for table in tables]


def _named(note: str, copies: Mapping[str, str]) -> str:
    """A note with the places that the user knows instead of their copies on this machine."""
    for copy, place in copies.items():
        note = note.replace(copy, place)
    return note


def tables_markdown(tables: Sequence[Table]) -> str:
    """All tables below each other."""
    return "\n".join(to_markdown(table) for table in tables)


def write_tables(tables: Sequence[Table], out: str | Path) -> list[str]:
    """Write MARKDOWN_NAME, and a CSV file for each table, into a folder, which is made, or to a URL.

    Returns:
        The files.
    """
    store = open_store(out, create=True)
    texts = {f"{table.name}.csv": to_csv(table) for table in tables} | {MARKDOWN_NAME: tables_markdown(tables)}
    for name, text in texts.items():
        store.write(name, text.encode())
    return [join_location(out, name) for name in texts]


def _table(layout: Layout, target: Target, results: Sequence[Combined]) -> Table:
    footnotes = Footnotes(with_roots=len({result.root for result in results}) > 1)
    lines = lines_of(layout, target, results)
    draw = _below if layout.below_each_other else _beside
    name, tested_on = layout.table.name, "UCF101 and HMDB51"
    if target.data_set is not None:
        name, tested_on = f"{name}_{file_words(target.data_set)}", data_set_words(target.data_set)
    elif all(figure.question.data_set == "ucf101" for figure in target.figures):
        tested_on = "UCF101"
    rows = tuple(row for line in lines for row in draw(line, target, footnotes))
    return Table(
        name=name,
        title=f"{layout.table.title}, tested on {tested_on}",
        columns=_columns(layout, target),
        num_label_columns=len(layout.labels) + layout.below_each_other,
        rows=rows,
        notes=(*_notes(layout, target), INTERVALS, *footnotes.sentences),
    )


def _columns(layout: Layout, target: Target) -> tuple[str, ...]:
    if layout.below_each_other:
        return (*layout.labels, "number", *(figure.heading for figure in target.figures), "note")
    columns = []
    for figure in target.figures:
        names_data_set = figure.heading == data_set_words(figure.question.data_set)
        measured_on = data_set_words(target.data_set) if target.data_set and names_data_set else figure.heading
        columns += [] if target.is_foreign else [f"paper {figure.heading}"]
        columns += [f"measured {measured_on}"]
    return (*layout.labels, *columns, "note")


def _notes(layout: Layout, target: Target) -> tuple[str, ...]:
    """What has to be said below a table, above all where a number of the paper stands beside one on other data."""
    if target.data_set is None:
        return layout.notes
    name = data_set_words(target.data_set)
    if target.is_foreign:
        about_paper = ("The paper", "The star")
        notes = [note for note in layout.notes if not note.startswith(about_paper)]
        return (*notes, f"The paper has no numbers for {name}.")
    paper = data_set_words(like_data_set(target.data_set) or "")
    warning = f"The paper's numbers are for the whole of {paper} and networks of full width: no target for {name}."
    return (*layout.notes, warning)


def _beside(line: Line, target: Target, footnotes: Footnotes) -> Iterator[TableRow]:
    """The paper's number of each figure, then the measured one."""
    cells: list[str] = []
    for entry in line.entries:
        if not target.is_foreign:
            cells.append(number_cell(entry.reported, entry.figure.metric))
        cells.append(_measured(line, entry))
    cells.append(footnotes.mark(_results_by_heading(line)))
    yield TableRow(kind=line.kind, cells=(*line.labels, *cells), numbers=_numbers(line, target))


def _below(line: Line, target: Target, footnotes: Footnotes) -> Iterator[TableRow]:
    """The paper's numbers on a row of their own, and the measured ones on the next."""
    kind: LineKind = "published" if line.kind == "published" else "paper"
    has_measured = line.is_measurable or line.kind in {"measured", "extra", "chance"}
    if any(entry.reported is not None for entry in line.entries):
        cells = [number_cell(entry.reported, entry.figure.metric) for entry in line.entries]
        numbers = () if has_measured else _numbers(line, target)
        yield TableRow(kind=kind, cells=(*line.labels, kind, *cells, ""), numbers=numbers)
    if has_measured:
        cells = [_measured(line, entry) for entry in line.entries]
        cells.append(footnotes.mark(_results_by_heading(line)))
        yield TableRow(
            kind=line.kind,
            cells=(*line.labels, NONE if line.kind == "chance" else "measured", *cells),
            numbers=_numbers(line, target),
        )


def _measured(line: Line, entry: Entry) -> str:
    metric = entry.figure.metric
    if entry.chance is not None:
        return number_cell(entry.chance, metric)
    if entry.result is None or metric not in entry.result.metrics:
        return NOT_MEASURED if line.is_measurable else NONE
    return measured_cell(entry.result.metrics[metric], metric)


def _results_by_heading(line: Line) -> dict[str, Combined]:
    return {entry.figure.heading: entry.result for entry in line.entries if entry.result is not None}


def _numbers(line: Line, target: Target) -> tuple[Number, ...]:
    numbers = []
    for entry in line.entries:
        question = entry.figure.question
        number = number_of(
            entry.result,
            data_set=target.data_set or question.data_set,
            evaluation=question.evaluation,
            variant=question.variant,
            metric=entry.figure.metric,
            reported=entry.reported,
        )
        numbers.append(number if entry.chance is None else replace(number, measured=certain(entry.chance)))
    return tuple(numbers)
