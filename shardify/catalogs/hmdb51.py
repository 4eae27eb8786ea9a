"""HMDB51: a folder per class, and a list per class and split that marks training and test videos.

    videos/wave/RATRACE_wave_f_nm_np1_fr_goo_37.avi
    lists/wave_test_split1.txt    `RATRACE_wave_f_nm_np1_fr_goo_37.avi 1`   (1 train, 2 test, 0 not used)

Split N gives trainN and testN. Classes are numbered in alphabetical order. A video that no split uses keeps its label
and belongs to no split.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

from shardify.catalogs.archived import Listed
from shardify.catalogs.base import Catalog, VideosConfig, make_catalog
from shardify.catalogs.files import list_names, note_of_unread, read_lines
from shardify.catalogs.scanning import scan_files
from shardify.errors import UsageError
from shardify.storage.locations import Location, join_location

_NAME = re.compile(r"(\w+)_test_split(\d+)\.txt")
_PARTS = {"0": None, "1": "train", "2": "test"}


class HMDB51Config(VideosConfig):
    """The location of HMDB51."""

    kind: Literal["hmdb51"]
    lists: Location
    """Folder or URL of `<class>_test_split<N>.txt` (the official archive's testTrainMulti_7030_splits, 153 files)."""


def read_hmdb51(config: HMDB51Config) -> Catalog:
    """Read the lists and compare them with the folder of videos.

    Raises:
        UsageError: if a folder or list is missing, empty or malformed, or a class lacks a split that others have.
    """
    found = scan_files(config.videos)
    names = list_names(config.lists)
    files = _find_lists(config.lists, names)
    classes = sorted({class_name for class_name, _ in files})
    numbers = sorted({number for _, number in files})
    members: dict[str, set[str]] = {}
    labels: dict[str, int] = {}
    for label, class_name in enumerate(classes):
        for number in numbers:
            path = files.get((class_name, number))
            if path is None:
                raise UsageError(
                    f"{config.lists}: {class_name}_test_split{number}.txt is missing, but other classes have theirs"
                )
            for name, part in _read_list(path).items():
                video = f"{class_name}/{name}"
                labels[video] = label
                if part is not None:
                    members.setdefault(video, set()).add(f"{part}{number}")
    splits = [f"{part}{number}" for number in numbers for part in ("train", "test")]
    listed = {
        video: Listed(label=label, splits=tuple(sorted(members.get(video, ())))) for video, label in labels.items()
    }
    catalog = make_catalog(config.videos, listed, found, classes=classes, splits=splits)
    unread = [name for name in names if _NAME.fullmatch(name) is None]
    return replace(catalog, notes=(*catalog.notes, *note_of_unread(unread, "lists called <class>_test_split<N>.txt")))


def _find_lists(folder: str, names: list[str]) -> dict[tuple[str, int], str]:
    """Path of each list by class name and split number."""
    lists = {
        (match[1], int(match[2])): join_location(folder, name) for name in names if (match := _NAME.fullmatch(name))
    }
    if not lists:
        raise UsageError(f"source.lists = {folder}: it holds no <class>_test_split<N>.txt")
    return lists


def _read_list(path: str) -> dict[str, str | None]:
    """File name of a video -> `train`, `test` or None."""
    parts: dict[str, str | None] = {}
    for line in read_lines(path):
        match = re.fullmatch(r"([^/]*[^/\s])\s+(\d+)", line.text)
        if match is None or match[2] not in _PARTS:
            raise UsageError(f"{path} line {line.number}: {line.text!r} is not `video.avi 0|1|2`")
        if match[1] in parts:
            raise UsageError(f"{path} line {line.number}: {match[1]} is listed twice")
        parts[match[1]] = _PARTS[match[2]]
    return parts
