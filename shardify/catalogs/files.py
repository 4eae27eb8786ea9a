"""The lists of catalogs: numbered lines, CSV rows, class names. Errors name the file and line.

In: locations from a source config. Out: what the lists say.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from shardify.catalogs.content import why_hidden
from shardify.errors import UsageError, first_names, one_line
from shardify.storage import open_store
from shardify.storage.locations import is_url, split_location

Json = TypeVar("Json", list[Any], dict[str, Any])

_WANTED = "check source.lists, and source.label_map if it is set"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One non-blank line of a list."""

    number: int
    """From 1, blank lines included, as in an editor."""
    text: str
    """Without surrounding whitespace or line end."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a CSV list."""

    number: int
    """The line of the file where the row ends, from 1."""
    values: dict[str, str]
    """Cell by column name, without surrounding whitespace."""
    unread: tuple[str, ...] = ()
    """The list's other columns."""


class NoColumnError(UsageError):
    """A CSV file lacks columns, so it may be another kind of list."""

    def __init__(self, text: str, *, columns: str) -> None:
        super().__init__(text)
        self.columns = columns


def list_names(folder: str) -> list[str]:
    """Sorted names of the files directly in `source.lists`, a folder or URL; UsageError if there is no such folder."""
    if not is_url(folder) and not Path(folder).is_dir():
        reason = "it is a file, not a folder" if Path(folder).exists() else "no such folder"
        raise UsageError(f"source.lists = {folder}: {reason}; give the right one with --set source.lists=FOLDER")
    return open_store(folder).names()


def note_of_unread(names: Sequence[str], wanted: str) -> tuple[str, ...]:
    """A note on the other files in the folder of the lists, if there are any that are not hidden."""
    seen = [name for name in names if not why_hidden(name)]
    return (f"not read, because they are no {wanted}: {first_names(seen)}",) if seen else ()


def read_lines(path: str) -> list[Line]:
    """Read a text list; it may have any system's line ends, a byte-order mark and blank lines.

    Raises UsageError if the file cannot be read, is not UTF-8, or has only blank lines.
    """
    stream = io.StringIO(_read_text(path), newline=None)
    lines = [Line(number=number, text=line.strip()) for number, line in enumerate(stream, start=1)]
    lines = [line for line in lines if line.text]
    if not lines:
        raise UsageError(f"{path}: the list is empty")
    return lines


def read_csv(path: str, required: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a CSV list with a header line, local or at a URL.

    `required` columns need a value in every row; `optional` ones may be absent or blank, and are then "". Names of
    columns may have capitals. Other columns are not read. Raises NoColumnError if the file lacks a column, UsageError
    if it cannot be read or lacks any row, has such a column twice, or a row is malformed.
    """
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    try:
        known = (*required, *optional)
        header = [low if (low := name.strip().lower()) in known else name.strip() for name in next(reader, [])]
        lacking = [name for name in required if name not in header]
        if lacking:
            raise NoColumnError(
                f"{path}: no column {', '.join(lacking)} in its first line {','.join(header)!r}; "
                f"required: {', '.join(required)}"
                + (f"; optional: {', '.join(optional)}" if optional else "")
                + _other_separator(header),
                columns=", ".join(lacking),
            )
        if twice := [name for name in known if header.count(name) > 1]:
            raise UsageError(f"{path}: column {', '.join(twice)} is there twice; keep one of them")
        unread = tuple(name for name in header if name and name not in known)
        is_empty = True
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise UsageError(f"{path} line {reader.line_num}: {len(cells)} cells, but the header has {len(header)}")
            named = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            values = {name: named.get(name, "") for name in known}
            blank = [name for name in required if not values[name]]
            if blank:
                raise UsageError(f"{path} line {reader.line_num}: column {', '.join(blank)} is blank")
            yield Row(number=reader.line_num, values=values, unread=unread)
            is_empty = False
    except csv.Error as error:
        raise UsageError(f"{path} line {reader.line_num}: not valid CSV: {error}") from None
    if is_empty:
        raise UsageError(f"{path}: the list is empty")


def _other_separator(header: Sequence[str]) -> str:
    """Advice if a header that should have commas has something else."""
    for mark, noun in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            return f". Its cells are separated by {noun}; save it with commas"
    return ""


def read_label_map(path: str) -> tuple[str, ...]:
    """Class names, one per line, in label order; UsageError if the file is unreadable, empty, or repeats a class."""
    names: dict[str, int] = {}
    for line in read_lines(path):
        if line.text in names:
            raise UsageError(f"{path} line {line.number}: class {line.text!r} is already on line {names[line.text]}")
        names[line.text] = line.number
    return tuple(names)


def read_json(path: str, kind: type[Json]) -> Json:
    """A JSON file whose top is a list or a map; UsageError if it is unreadable or something else."""
    try:
        values = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not valid JSON: {one_line(error)}") from None
    if not isinstance(values, kind):
        raise UsageError(f"{path}: it holds no JSON {kind.__name__}")
    return values


def _read_text(path: str) -> str:
    try:
        if is_url(path):
            folder, name = split_location(path)
            data = open_store(folder).read(name)
        else:
            data = Path(path).read_bytes()
        return data.decode("utf-8-sig")  # read_text would change line ends
    except UnicodeDecodeError:
        raise UsageError(f"cannot read list {path}: it is not a UTF-8 text file; {_WANTED}") from None
    except OSError as error:
        raise UsageError(f"cannot read list {path}: {error.strerror}; {_WANTED}") from None
