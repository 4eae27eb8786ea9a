"""Any data set that a CSV file can describe: `path,label,split`, one row a video.

    path,label,split
    cats/0001.mp4,cat,train
    dogs/0007.mp4,dog,train;small

`label` and `split` may be left out or blank; several splits are separated by semicolons. If every label is a whole
number it is used as it stands (and names itself); otherwise classes are numbered in alphabetical order, or as
`label_map` says.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Literal

from shardify.catalogs.base import NO_LABEL, Catalog, Listed, make_catalog
from shardify.catalogs.files import Row, read_csv, read_label_map, scan_files
from shardify.config import StrictModel
from shardify.errors import UsageError

_MAX_NUMBER = 99_999
"""Largest numeric label: each number up to it gets a class name."""


class CSVConfig(StrictModel):
    """A CSV list and the folder that its paths start from."""

    kind: Literal["csv"]
    videos: Path
    """Folder that the listed paths are relative to."""
    lists: Path
    """The CSV file."""
    label_map: Path | None = None
    """Text file of class names, one a line, in label order; null: see above."""


def read_csv_list(config: CSVConfig) -> Catalog:
    """Read the list and hold it against the folder.

    Splits are named as in the list, in the order in which they first occur.

    Raises:
        UsageError: if the folder or list is missing, empty or malformed, a video is listed twice, a path leads out of
            the folder, a label is not in the label map, or no listed video is there.
    """
    found = scan_files(config.videos)
    rows: dict[str, Row] = {}
    for row in read_csv(config.lists, required=("path",), optional=("label", "split")):
        path = _parse_path(config.lists, row)
        if path in rows:
            raise UsageError(f"{config.lists} line {row.number}: {path} is already on line {rows[path].number}")
        rows[path] = row
    classes, labels = _number_classes(config, {row.values["label"] for row in rows.values()} - {""})
    listed = {
        path: Listed(label=labels.get(row.values["label"], NO_LABEL), splits=_parse_splits(config.lists, row))
        for path, row in rows.items()
    }
    splits = tuple(dict.fromkeys(split for video in listed.values() for split in video.splits))
    return make_catalog(config.videos, listed, found, classes=classes, splits=splits)


def _parse_path(file: Path, row: Row) -> str:
    parsed = PurePosixPath(row.values["path"])
    if parsed.is_absolute() or ".." in parsed.parts:
        raise UsageError(f"{file} line {row.number}: path {str(parsed)!r} must lead from source.videos downwards")
    return str(parsed)


def _parse_splits(file: Path, row: Row) -> tuple[str, ...]:
    names = tuple(name.strip() for name in row.values["split"].split(";") if name.strip())
    for name in names:
        if re.fullmatch(r"[A-Za-z0-9_-]+", name) is None:
            raise UsageError(f"{file} line {row.number}: split {name!r} may hold letters, digits, _ and - only")
    return names


def _number_classes(config: CSVConfig, names: set[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Class names by label, and the label of each name that the list uses."""
    if config.label_map is not None:
        classes = read_label_map(config.label_map)
        if unknown := sorted(names.difference(classes)):
            raise UsageError(f"{config.lists}: label {unknown[0]!r} is not in {config.label_map}")
    elif names and all(re.fullmatch(r"\d+", name, re.ASCII) for name in names):
        numbers = {name: int(name) for name in names}
        if max(numbers.values()) > _MAX_NUMBER:
            raise UsageError(f"{config.lists}: label {max(numbers.values())}; numeric labels go up to {_MAX_NUMBER}")
        return tuple(str(number) for number in range(max(numbers.values()) + 1)), numbers
    else:
        classes = tuple(sorted(names))
    return classes, {name: label for label, name in enumerate(classes)}
