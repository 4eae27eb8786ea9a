"""UCF101 and every data set in its layout: a folder per class, official train and test lists, any number of splits.

    videos/Class/v_Class_gXX_cYY.avi
    lists/classInd.txt        `1 ApplyEyeMakeup`
    lists/trainlist01.txt     `ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1`
    lists/testlist01.txt      `ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi`

List pair N gives the splits trainN and testN. Labels are zero-based (the lists count from 1).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

from shardify.catalogs.archived import Listed
from shardify.catalogs.base import Catalog, VideosConfig, make_catalog
from shardify.catalogs.files import Line, list_names, note_of_unread, read_lines
from shardify.catalogs.scanning import scan_files
from shardify.errors import UsageError
from shardify.storage.locations import Location, join_location, split_location

_CLASSES = "classInd.txt"
_SPACES = "; no name may hold a space here (a CSV list, source.kind=csv, may have such names)"


class UCF101Config(VideosConfig):
    """The location of a data set in UCF101's layout."""

    kind: Literal["ucf101"]
    lists: Location
    """Folder or URL of `classInd.txt`, `trainlist0N.txt` and `testlist0N.txt` (officially ucfTrainTestlist)."""


def read_ucf101(config: UCF101Config) -> Catalog:
    """Read the lists and compare them with the folder of videos.

    Raises:
        UsageError: if a folder or list is missing, empty or malformed, or a video is in both lists of a pair.
    """
    found = scan_files(config.videos)
    names = list_names(config.lists)
    labels = _read_classes(config.lists)
    members: dict[str, dict[str, int]] = {}
    lists = _find_lists(config.lists, names)
    for split, name in lists.items():
        path = join_location(config.lists, name)
        members[split] = _read_list(path, labels)
        other = split.replace("test", "train")
        if other != split and (both := sorted(members[split].keys() & members[other].keys())):
            raise UsageError(f"{path}: {both[0]} is in {other} too ({len(both)} such videos); a test must be unseen")
    splits = tuple(members)
    listed = {
        path: Listed(label=label, splits=tuple(split for split in splits if path in members[split]))
        for videos in members.values()
        for path, label in videos.items()
    }
    catalog = make_catalog(config.videos, listed, found, classes=tuple(labels), splits=splits)
    unread = [name for name in names if name not in (_CLASSES, *lists.values())]
    return replace(catalog, notes=(*catalog.notes, *note_of_unread(unread, "lists called like trainlist01.txt")))


def _read_classes(folder: str) -> dict[str, int]:
    """Zero-based label by class name, in label order."""
    path = join_location(folder, _CLASSES)
    labels: dict[str, int] = {}
    for line in read_lines(path):
        match = re.fullmatch(r"(\d+)\s+(\S+)", line.text, re.ASCII)
        if match is None:
            raise UsageError(f"{path} line {line.number}: {line.text!r} is not `number class`{_SPACES}")
        if int(match[1]) != len(labels) + 1 or match[2] in labels:
            raise UsageError(f"{path} line {line.number}: {line.text!r}; distinct classes count 1, 2, 3, ...")
        labels[match[2]] = len(labels)
    return labels


def _find_lists(folder: str, names: list[str]) -> dict[str, str]:
    """Name of each list by split name: train1, test1, train2, ..."""
    numbers: dict[int, set[str]] = {}
    for name in names:
        if match := re.fullmatch(r"(train|test)list(\d\d)\.txt", name):
            numbers.setdefault(int(match[2]), set()).add(match[1])
    if not numbers:
        raise UsageError(f"source.lists = {folder}: it holds no trainlist01.txt and testlist01.txt")
    lists = {f"{part}{n}": f"{part}list{n:02d}.txt" for n in sorted(numbers) for part in ("train", "test")}
    for name in lists.values():
        if name not in names:
            raise UsageError(f"{join_location(folder, name)} is missing, but the other list of its pair is there")
    return lists


def _read_list(path: str, labels: dict[str, int]) -> dict[str, int]:
    """Zero-based label by video path."""
    videos: dict[str, int] = {}
    for line in read_lines(path):
        name, label = _parse_line(path, line, labels)
        if name in videos:
            raise UsageError(f"{path} line {line.number}: {name} is listed twice")
        videos[name] = label
    return videos


def _parse_line(path: str, line: Line, labels: dict[str, int]) -> tuple[str, int]:
    where = f"{path} line {line.number}"
    folder, file = split_location(path)
    match = re.fullmatch(r"(([^/\s]+)/[^/\s]+)(?:\s+(\d+))?", line.text, re.ASCII)
    if match is None or (match[3] is None and file.startswith("train")):
        shape = "`Class/video.avi label`" if file.startswith("train") else "`Class/video.avi`"
        raise UsageError(f"{where}: {line.text!r} is not {shape}{_SPACES}")
    name, class_name, number = match.groups()
    if class_name not in labels:
        raise UsageError(f"{where}: class {class_name!r} is not in {join_location(folder, _CLASSES)}")
    label = labels[class_name]
    if number is not None and int(number) != label + 1:
        raise UsageError(f"{where}: label {number}, but classInd.txt gives {class_name} the number {label + 1}")
    return name, label
