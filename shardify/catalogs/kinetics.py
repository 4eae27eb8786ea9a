"""Kinetics-400/600/700: CSV lists of YouTube cuts, and the videos that could be downloaded.

    lists: `label,youtube_id,time_start,time_end,split` (other columns are ignored; a test list may lack the label)
    videos: `<youtube_id>_<start:06d>_<end:06d>.mp4` or `<youtube_id>.mp4`, any video ending, at any depth: flat, a
            folder per class, a folder per split, in archives ...

A file belongs to the first row that its name matches; a folder with a class's name also limits its files to that class.
Other rows, such as a second cut of a video stored as `<youtube_id>.mp4`, count as missing.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from shardify.catalogs.archived import Listed, Member, MemberRule
from shardify.catalogs.base import Catalog, VideosConfig, make_archived_catalog, make_catalog
from shardify.catalogs.files import Row, list_names, read_csv, read_label_map
from shardify.catalogs.scanning import scan_files
from shardify.errors import UsageError
from shardify.shards.format import NO_LABEL
from shardify.storage.locations import Location, is_url, join_location

_SPLIT_WORDS = {"training": "train", "validate": "val", "validation": "val", "testing": "test"}
_SPLIT_ORDER = ("train", "val", "test")


class KineticsConfig(VideosConfig):
    """The location of a Kinetics release."""

    kind: Literal["kinetics"]
    release: Literal[400, 600, 700]
    """Number of classes; lists with more classes are of another release."""
    lists: Location
    """A CSV list, or a folder with all `*.csv` lists (train, validate, test); local or at a URL."""
    label_map: Location | None = None
    """Text file of class names, one per line, in label order; null: the listed labels in alphabetical order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """A row of the lists: part of a YouTube video."""

    youtube_id: str
    start_seconds: int
    end_seconds: int
    class_name: str
    """Blank if the list has no labels."""
    split: str
    """train, val, test, or another word of the list."""

    @property
    def stem(self) -> str:
        """File name of the cut without its ending."""
        return f"{self.youtube_id}_{self.start_seconds:06d}_{self.end_seconds:06d}"

    @property
    def name(self) -> str:
        """The cut's name in the ledger if it has no file."""
        return f"{self.split}/{self.class_name or 'unlabelled'}/{self.stem}"


def read_kinetics(config: KineticsConfig) -> Catalog:
    """Read the lists and look for each cut's file.

    Raises:
        UsageError: if the folder or a list is missing, empty or malformed, a label is not in the label map, the lists
            name more classes than the release has, or no listed video is there.
    """
    found = scan_files(config.videos)
    cuts = list(dict.fromkeys(cut for path in _find_lists(config.lists) for cut in _read_list(path)))
    classes = _order_classes(config, {cut.class_name for cut in cuts if cut.class_name})
    labels = {name: label for label, name in enumerate(classes)} | {"": NO_LABEL}
    splits = {cut.split for cut in cuts}
    order = [*(split for split in _SPLIT_ORDER if split in splits), *sorted(splits.difference(_SPLIT_ORDER))]
    kinds = {(cut.class_name, cut.split) for cut in cuts}
    said = {(name, split): Listed(label=labels[name], splits=(split,)) for name, split in kinds}
    facts = {cut: said[cut.class_name, cut.split] for cut in cuts}
    if found.archives:
        names = {cut.name: listed for cut, listed in facts.items()}
        rule = _member_rule(facts, classes)
        archived = make_archived_catalog(config.videos, found, rule, names, classes=classes, splits=order)
        assert archived is not None, "there are archives"
        return archived
    finder = _FileFinder(found.videos, classes)
    listed = {finder.take(cut) or cut.name: facts[cut] for cut in cuts}
    return make_catalog(config.videos, listed, found, classes=classes, splits=order)


def _find_lists(path: str) -> list[str]:
    if path.endswith(".csv") if is_url(path) else not Path(path).is_dir():
        return [path]
    lists = [join_location(path, name) for name in list_names(path) if name.endswith(".csv")]
    if not lists:
        raise UsageError(f"source.lists = {path}: the folder holds no *.csv")
    return lists


def _read_list(path: str) -> Iterator[Cut]:
    rows = read_csv(path, required=("youtube_id", "time_start", "time_end", "split"), optional=("label",))
    return (_parse_row(path, row) for row in rows)


def _parse_row(path: str, row: Row) -> Cut:
    where = f"{path} line {row.number}"
    values = row.values
    seconds = {}
    for name in ("time_start", "time_end"):
        if re.fullmatch(r"\d+(\.\d*)?", values[name], re.ASCII) is None:
            raise UsageError(f"{where}: {name} {values[name]!r} is not a number of seconds")
        seconds[name] = int(float(values[name]))
    if "/" in values["youtube_id"]:
        raise UsageError(f"{where}: youtube_id {values['youtube_id']!r} holds a slash")
    split = values["split"].lower()
    if re.fullmatch(r"[a-z0-9_-]+", split) is None:
        raise UsageError(f"{where}: split {values['split']!r}; write it as one word: train, val, test ...")
    return Cut(
        youtube_id=values["youtube_id"],
        start_seconds=seconds["time_start"],
        end_seconds=seconds["time_end"],
        class_name=sys.intern(values["label"]),  # lists are long, and each process that reads archives has a copy
        split=sys.intern(_SPLIT_WORDS.get(split, split)),
    )


def _order_classes(config: KineticsConfig, names: set[str]) -> tuple[str, ...]:
    classes = tuple(sorted(names)) if config.label_map is None else read_label_map(config.label_map)
    if unknown := sorted(names.difference(classes)):
        raise UsageError(f"{config.lists}: label {unknown[0]!r} is not in {config.label_map}")
    if len(classes) > config.release:
        raise UsageError(
            f"{config.label_map or config.lists} names {len(classes)} classes, but source.release is {config.release}; "
            "give the lists of one release only"
        )
    return classes


class _FileFinder:
    """Gives each file to the first cut that matches its name."""

    def __init__(self, paths: Iterable[str], classes: Sequence[str]) -> None:
        known = {_folder_name(name) for name in classes}
        self._paths_by_stem: defaultdict[str, list[str]] = defaultdict(list)
        self._folder_classes: dict[str, set[str]] = {}
        """Path of a file -> :func:`_classes_above` it, usually none or one."""
        for path in sorted(paths):
            parsed = PurePosixPath(path)
            self._paths_by_stem[parsed.stem].append(path)
            self._folder_classes[path] = _classes_above(parsed, known)

    def take(self, cut: Cut) -> str | None:
        """A free file of the cut, or None; a file with the cut's full name comes before one with the id only."""
        folder = _folder_name(cut.class_name)
        for stem in (cut.stem, cut.youtube_id):
            paths = self._paths_by_stem.get(stem, [])
            for wanted in ({folder}, set[str]()):
                for path in paths:
                    if self._folder_classes[path] == wanted:
                        paths.remove(path)
                        return path
        return None


def _member_rule(facts: Mapping[Cut, Listed], classes: Sequence[str]) -> MemberRule:
    """Give each member of an archive to the first cut that matches its name, by the same rules."""
    known = {_folder_name(name) for name in classes}
    cuts_by_stem: dict[str, tuple[Cut, ...]] = {}
    for stem, cut in [(cut.stem, cut) for cut in facts] + [(cut.youtube_id, cut) for cut in facts]:  # full names first
        cuts_by_stem[stem] = (*cuts_by_stem.get(stem, ()), cut)

    def find(path: str, is_video: bool) -> Member | None:
        parsed = PurePosixPath(path)
        above = _classes_above(parsed, known)
        for cut in cuts_by_stem.get(parsed.stem, ()) if is_video else ():
            if above in ({_folder_name(cut.class_name)}, set()):
                return Member(name=cut.name, listed=facts[cut])
        return None

    return find


def _classes_above(path: PurePosixPath, known: set[str]) -> set[str]:
    """The classes that folders above a file are named after."""
    return known.intersection(_folder_name(part) for part in path.parts[:-1])


def _folder_name(class_name: str) -> str:
    """A class's name as a folder, reduced to the part that most download tools write in the same way."""
    return re.sub(r"[^a-z0-9]+", "_", class_name.lower().replace("'", "")).strip("_")
