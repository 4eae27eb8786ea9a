"""The paper's tables with measured numbers beside the reported ones; and tables of probes, which the paper lacks.

In: folders with results of evaluations, or none. Out: :class:`~eval.tables.format.Table`s. Each table exists once for
the paper's own data sets, and once for every other data set with results.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from eval.results.combined import combine
from eval.results.rows import find_rows, is_of_rows
from eval.results.words import NONE, data_set_words
from eval.suite import EVALUATIONS
from eval.tables.differences import difference_tables
from eval.tables.footnotes import INTERVALS, Footnotes
from eval.tables.format import LineKind, Number, Table, TableRow, file_words, to_csv, to_markdown
from eval.tables.layouts import LAYOUTS, SETTINGS, Layout
from eval.tables.lines import Line, Results, Target, lines_of, targets_of
from eval.tables.probes import probe_tables
from shardify.errors import UsageError
from shardify.storage import open_store
from shardify.storage.locations import is_url, join_location
from shardify.storage.work_folder import work_folder
from stream_train.training.config import flatten

MARKDOWN_NAME = "tables.md"
_SETTING = re.compile(r"\{(\w+)\}")


def build_tables(roots: Iterable[Path]) -> list[Table]:
    """Tables 1 to 3, still videos, Table 4, probes and differences, for all data sets; without folders the paper's.

    Raises:
        UsageError: if a folder does not exist.
        WorkError: if a result is damaged.
    """
    results = combine(roots)
    return [*paper_tables(results), *probe_tables(results), *difference_tables(results)]


def paper_tables(results: Results) -> list[Table]:
    """The paper's tables, for all data sets with results; without results the paper's."""
    return [_table(layout, target, results) for layout in LAYOUTS for target in targets_of(layout, results)]


def tables_of(locations: Iterable[str]) -> list[Table]:
    """:func:`build_tables` of folders and URLs; results in object stores are downloaded.

    Also raises UsageError if one of them holds no results.
    """
    with ExitStack() as stack:
        folders = [stack.enter_context(work_folder(location, is_of_rows, create=False)) for location in locations]
        for folder in folders:
            if not find_rows(folder.path):
                raise UsageError(
                    f"{folder.location} holds no results of evaluations. `video-eval all CONFIG --set "
                    "networks.pretrained.path=RUN` makes them for a network; `video-eval tables` alone prints the "
                    "paper's numbers"
                )
        tables = build_tables([folder.path for folder in folders])
        copies = {str(folder.path): folder.location for folder in folders if is_url(folder.location)}
    return [replace(table, notes=tuple(_named(note, copies) for note in table.notes)) for table in tables]


def _named(note: str, copies: Mapping[str, str]) -> str:
    """A note with the user's locations instead of their local copies."""
    for copy, location in copies.items():
        note = note.replace(copy, location)
    return note


def tables_markdown(tables: Sequence[Table]) -> str:
    """All tables in one text."""
    return "\n".join(to_markdown(table) for table in tables)


def write_tables(tables: Sequence[Table], out: str | Path) -> list[str]:
    """Write MARKDOWN_NAME and a CSV file for each table with numbers to a folder (created if missing) or URL.

    Returns the files.
    """
    store = open_store(out, create=True)
    numbered = [table for table in tables if any(row.numbers for row in table.rows)]
    texts = {f"{table.name}.csv": to_csv(table) for table in numbered} | {MARKDOWN_NAME: tables_markdown(tables)}
    for name, text in texts.items():
        store.write(name, text.encode())
    return [join_location(out, name) for name in texts]


def _table(layout: Layout, target: Target, results: Results) -> Table:
    footnotes = Footnotes(with_roots=len({result.root for result in results}) > 1)
    draw = _below if layout.below_each_other else _beside
    lines = lines_of(layout, target, results)
    rows = tuple(row for line in lines for row in draw(line, target, footnotes))
    name, tested_on = layout.table.name, "UCF101 and HMDB51"
    if target.data_set is not None:
        name, tested_on = f"{name}_{file_words(target.data_set)}", data_set_words(target.data_set)
    elif all(column.question.data_set == "ucf101" for column in target.columns):
        tested_on = "UCF101"
    return Table(
        name=name,
        title=f"{layout.table.title}, tested on {tested_on}",
        columns=(*layout.labels, *_headings(layout, target), "note"),
        num_label_columns=len(layout.labels) + layout.below_each_other,
        rows=rows,
        notes=(*_notes(layout, target, lines), INTERVALS, *footnotes.sentences),
    )


def _headings(layout: Layout, target: Target) -> Iterator[str]:
    if layout.below_each_other:
        yield "number"
    for column in target.columns:
        if layout.below_each_other:
            yield column.heading
            continue
        if not target.is_foreign:
            yield f"paper {column.heading}"
        names_data_set = column.heading == data_set_words(column.question.data_set)
        yield f"measured {data_set_words(target.data_set) if target.data_set and names_data_set else column.heading}"


def _notes(layout: Layout, target: Target, lines: Sequence[Line]) -> tuple[str, ...]:
    """The notes of a layout; beside data that is not the paper's, without those about its numbers."""
    measured = [flatten(result.row.config) for line in lines for result in line.results]
    asked = {column.question.evaluation for column in target.columns}
    usual = [flatten(e.section().model_dump()) for e in EVALUATIONS if e.name in asked]
    notes = [
        _SETTING.sub(lambda match: _setting(match[1], measured) or _setting(match[1], usual), note)
        for note in layout.notes
    ]
    if target.data_set is None:
        return (*notes, *layout.paper_notes)
    return (*notes, f"The paper has no numbers for {data_set_words(target.data_set)}.")


def _setting(name: str, configs: Sequence[Mapping[str, Any]]) -> str:
    """The values of a setting, wherever it stands in the configs: "stride" -> "1 or 4"; empty if no config has it."""
    values = dict.fromkeys(value for config in configs for key, value in config.items() if key.split(".")[-1] == name)
    words = SETTINGS.get(name, {})
    return " or ".join(words.get(value, str(value)) for value in values)


def _beside(line: Line, target: Target, footnotes: Footnotes) -> Iterator[TableRow]:
    """One row: for each column the paper's number, then the measured one."""
    cells = [
        cell
        for number in line.numbers
        for cell in (*([] if target.is_foreign else [number.reported_cell]), _measured(line, number))
    ]
    yield TableRow(kind=line.kind, cells=(*line.labels, *cells, _mark(line, target, footnotes)), numbers=line.numbers)


def _below(line: Line, target: Target, footnotes: Footnotes) -> Iterator[TableRow]:
    """Two rows: the paper's numbers, then the measured ones."""
    kind: LineKind = "published" if line.kind == "published" else "paper"
    has_measured = line.is_measurable or line.kind in {"measured", "extra", "chance"}
    if any(number.reported is not None for number in line.numbers):
        cells = [number.reported_cell for number in line.numbers]
        numbers = () if has_measured else line.numbers
        yield TableRow(kind=kind, cells=(*(line.paper_labels or line.labels), kind, *cells, ""), numbers=numbers)
    if has_measured:
        name = NONE if line.kind == "chance" else "measured"
        cells = [name, *(_measured(line, number) for number in line.numbers), _mark(line, target, footnotes)]
        yield TableRow(kind=line.kind, cells=(*line.labels, *cells), numbers=line.numbers)


def _measured(line: Line, number: Number) -> str:
    return NONE if number.measured is None and not line.is_measurable else number.measured_cell


def _mark(line: Line, target: Target, footnotes: Footnotes) -> str:
    numbers = zip(target.columns, line.numbers, strict=True)
    return footnotes.mark({column.heading: number.result for column, number in numbers if number.result is not None})
