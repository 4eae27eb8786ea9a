"""Any data set as a CSV file: `path,label,split`, one row for each video.

    path,label,split
    cats/0001.mp4,cat,train
    dogs/0007.mp4,dog,train;small

`label` and `split` may be absent or blank; semicolons separate several splits. A video for training is no video for
testing: `train;test`, `train1;test1` are refused. All labels are whole numbers, or all are
names. A number is also its own class name; -1 means no label, and 7.0 is 7 (pandas writes it so beside blank cells).
Names are numbered in alphabetical order, or in the order of `label_map`; names that differ only in spaces, underscores
and Unicode form are one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Literal

from shardify.catalogs.archived import Listed
from shardify.catalogs.base import Catalog, VideosConfig, make_catalog
from shardify.catalogs.files import Row, read_csv, read_label_map
from shardify.catalogs.scanning import scan_files
from shardify.catalogs.words import one_spelling, split_of
from shardify.errors import UsageError
from shardify.shards.format import NO_LABEL
from shardify.storage.locations import Location, split_location

_MAX_NUMBER = 99_999
"""Largest numeric label; every number up to the largest label of a list gets a class name."""


class CSVConfig(VideosConfig):
    """A CSV list and the folder where its paths start."""

    kind: Literal["csv"]
    lists: Location
    """The CSV file, local or at a URL; its paths start at `videos`."""
    label_map: Location | None = None
    """Text file of class names, one per line, in label order; null: see the module."""


def read_csv_list(config: CSVConfig) -> Catalog:
    """Read the list and compare it with the folder; splits keep the list's names and the order of their first rows.

    Raises:
        UsageError: if the folder or list is missing, empty or malformed, a video is listed twice, or for training and
            testing, a path leads out of the folder, a label is not in the label map, or no listed video is there.
    """
    found = scan_files(config.videos)
    rows: dict[str, Row] = {}
    for row in read_csv(config.lists, required=("path",), optional=("label", "split")):
        path = _parse_path(config.lists, row)
        if path in rows:
            raise UsageError(f"{config.lists} line {row.number}: {path} is already on line {rows[path].number}")
        rows[path] = row
    classes, labels = _number_classes(config, _first_rows(rows.values()))
    listed = {
        path: Listed(label=labels.get(row.values["label"], NO_LABEL), splits=_parse_splits(config.lists, row))
        for path, row in rows.items()
    }
    splits = tuple(dict.fromkeys(split for video in listed.values() for split in video.splits))
    catalog = make_catalog(config.videos, listed, found, classes=classes, splits=splits)
    unread = ", ".join(dict.fromkeys(name for row in rows.values() for name in row.unread))
    notes = [f"columns of {split_location(config.lists)[1]} that are not read: {unread}"] if unread else []
    notes += [
        f"{noun} nan: it is taken as it stands; leave the cell blank where a video has none"
        for noun, names in (("class", classes), ("split", splits))
        if "nan" in names
    ]
    return replace(catalog, notes=(*catalog.notes, *notes))


def _parse_path(file: str, row: Row) -> str:
    parsed = PurePosixPath(row.values["path"])
    if parsed.is_absolute() or ".." in parsed.parts:
        raise UsageError(f"{file} line {row.number}: path {str(parsed)!r} must lead from source.videos downwards")
    return str(parsed)


def _parse_splits(file: str, row: Row) -> tuple[str, ...]:
    names = tuple(name.strip() for name in row.values["split"].split(";") if name.strip())
    for name in names:
        if re.fullmatch(r"[A-Za-z0-9_-]+", name) is None:
            raise UsageError(f"{file} line {row.number}: split {name!r} may hold letters, digits, _ and - only")
    parts = {split_of(name) or name for name in names}
    if any(part.startswith("train") and part.replace("train", "test", 1) in parts for part in parts):
        raise UsageError(
            f"{file} line {row.number}: split {';'.join(names)!r}; a test must be unseen, give one of them"
        )
    return names


def _first_rows(rows: Iterable[Row]) -> dict[str, int]:
    """The labels in the list, each with the number of its first line."""
    first: dict[str, int] = {}
    for row in rows:
        if name := row.values["label"]:
            first.setdefault(name, row.number)
    return first


def _number_classes(config: CSVConfig, names: Mapping[str, int]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Class names by label, and the label of each name in the list; `names` gives each name's first line."""
    if config.label_map is not None:
        classes = read_label_map(config.label_map)
        spelling = one_spelling(names, classes)
        for name, line in names.items():
            if spelling[name] not in classes:
                raise UsageError(f"{config.lists} line {line}: label {name!r} is not in {config.label_map}")
    elif numerals := [name for name in names if re.fullmatch(r"-?\d+(\.0*)?", name, re.ASCII)]:
        for name, line in names.items():
            if name not in numerals:
                raise UsageError(
                    f"{config.lists} line {line}: label {name!r}, but line {names[numerals[0]]} has the number "
                    f"{numerals[0]}; labels are all numbers or all names (name the numbers too, or set label_map)"
                )
        numbers = {name: _parse_number(config.lists, name, names[name]) for name in numerals}
        return tuple(str(number) for number in range(max(numbers.values()) + 1)), numbers
    else:
        spelling = one_spelling(names)
        classes = tuple(sorted(set(spelling.values())))
    labels = {name: label for label, name in enumerate(classes)}
    return classes, {name: labels[spelling[name]] for name in names}


def _parse_number(file: str, name: str, line: int) -> int:
    number = int(name.partition(".")[0][:20])  # longer numbers are too large anyway
    if not NO_LABEL <= number <= _MAX_NUMBER:
        raise UsageError(
            f"{file} line {line}: label {name[:20]}; numeric labels go from 0 to {_MAX_NUMBER}, -1 or blank is none"
        )
    return number
