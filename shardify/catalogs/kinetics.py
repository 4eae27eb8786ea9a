"""Kinetics-400/600/700: CSV lists of YouTube cuts, and the videos that could be downloaded.

    lists: `label,youtube_id,time_start,time_end,split` (other columns are ignored; a test list may lack the label)
    videos: `<youtube_id>_<start:06d>_<end:06d>.mp4` or `<youtube_id>.mp4`, any video ending, at any depth: flat, a
            folder per class, a folder per split, in archives ...

A file belongs to the first row that its name matches; a folder with a class's name also limits its files to that class.
Other rows, such as a second cut of a video stored as `<youtube_id>.mp4`, count as missing. Of several files with the
full name of a cut (Kinetics has replacements for broken files), the first that is whole is used.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from shardify.catalogs.archived import Listed, Member, MemberRule
from shardify.catalogs.base import Catalog, VideosConfig, make_archived_catalog, make_catalog
from shardify.catalogs.files import NoColumnError, Row, list_names, note_of_unread, read_csv, read_label_map
from shardify.catalogs.scanning import scan_files
from shardify.catalogs.words import one_spelling, ordered_splits, split_of
from shardify.errors import UsageError, counted
from shardify.shards.format import NO_LABEL
from shardify.storage.locations import Location, is_url, join_location, split_location


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
    def stems(self) -> tuple[str, str]:
        """The names, without endings, that its file may have; the full name comes first."""
        return self.stem, self.youtube_id

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
    rows, notes = _read_lists(config.lists)
    classes, spelling = _order_classes(config, {cut.class_name for cut in rows if cut.class_name})
    cuts = list(dict.fromkeys(replace(cut, class_name=spelling.get(cut.class_name, "")) for cut in rows))
    labels = {name: label for label, name in enumerate(classes)} | {"": NO_LABEL}
    order = ordered_splits(cut.split for cut in cuts)
    kinds = {(cut.class_name, cut.split) for cut in cuts}
    said = {(name, split): Listed(label=labels[name], splits=(split,)) for name, split in kinds}
    facts = {cut: said[cut.class_name, cut.split] for cut in cuts}
    if found.archives:
        names = {cut.name: listed for cut, listed in facts.items()}
        rule = _member_rule(facts, classes)
        archived = make_archived_catalog(config.videos, found, rule, names, classes=classes, splits=order)
        assert archived is not None, "there are archives"
        return replace(archived, notes=(*archived.notes, *_leaks(cuts), *notes))
    finder = _FileFinder(found.videos, classes)
    files = {cut: finder.take(cut) for cut in cuts}
    listed = {files[cut] or cut.name: facts[cut] for cut in cuts}
    copies = {path: finder.copies(cut) for cut, path in files.items() if path is not None}
    catalog = make_catalog(
        config.videos, listed, found, classes=classes, splits=order, copies=copies, case_matters=True
    )
    return replace(catalog, notes=(*catalog.notes, *_leaks(cuts), *_doubts(files), *notes))


def _leaks(cuts: Iterable[Cut]) -> list[str]:
    """For each split beside train: how many of its cuts are from videos that train has too."""
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for cut in cuts:
        ids[cut.split].append(cut.youtube_id)
    trained = set(ids.pop("train", ()))
    shared = {split: [name for name in names if name in trained] for split, names in ids.items()}
    return [
        f"{counted(len(names), 'cut')} of {split} from a YouTube video that train has cuts of too: {min(names)}"
        for split, names in shared.items()
        if names
    ]


def _doubts(files: Mapping[Cut, str | None]) -> Iterator[str]:
    """Notes on files that may be no cut, or are the only file of several cuts."""
    stems = {PurePosixPath(path).stem: path for path in files.values() if path is not None}
    bare = sorted({stems[cut.youtube_id] for cut, path in files.items() if path and cut.youtube_id in stems})
    if bare:
        named = f"{counted(len(bare), 'file')} named by the YouTube id alone, such as {bare[0]}"
        yield f"{named}: taken as the cut; if it is the whole video, cut it first"
    without = [cut.name for cut, path in files.items() if path is None and not stems.keys().isdisjoint(cut.stems)]
    if without:
        yield f"{counted(len(without), 'cut')} missing because another row of the lists has the file: {min(without)}"


def _read_lists(path: str) -> tuple[list[Cut], tuple[str, ...]]:
    """The rows of one list, or of all lists in a folder; and a note if other files lie beside them."""
    if path.endswith(".csv") if is_url(path) else not Path(path).is_dir():
        return list(_read_list(path)), ()
    cuts: list[Cut] = []
    others: dict[str, NoColumnError | None] = {}
    for name in list_names(path):
        try:
            if name.endswith(".csv"):
                cuts += _read_list(join_location(path, name))
            else:
                others[name] = None
        except NoColumnError as error:
            others[name] = error
    if not cuts:
        for problem in others.values():
            if problem is not None:
                raise problem
        raise UsageError(f"source.lists = {path}: the folder holds no *.csv")
    named = [f"{name} (no column {problem.columns})" if problem else name for name, problem in others.items()]
    return cuts, note_of_unread(named, "CSV lists of cuts")


def _read_list(path: str) -> Iterator[Cut]:
    rows = read_csv(path, required=("youtube_id", "time_start", "time_end"), optional=("label", "split"))
    return (_parse_row(path, row) for row in rows)


def _split_in(path: str) -> str | None:
    """The split that the file name of a list tells: `kinetics_train.csv`."""
    words = re.split(r"[^a-z]+", split_location(path)[1].lower())
    return next((split for word in words if (split := split_of(word))), None)


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
    split = values["split"].lower() or _split_in(path)
    if split is None:
        raise UsageError(f"{where}: no split is given, and the list's name tells none either (train, val, test)")
    if re.fullmatch(r"[a-z0-9_-]+", split) is None:
        raise UsageError(f"{where}: split {values['split']!r}; write it as one word: train, val, test ...")
    return Cut(
        youtube_id=values["youtube_id"],
        start_seconds=seconds["time_start"],
        end_seconds=seconds["time_end"],
        class_name=sys.intern(values["label"]),  # lists are long, and each process that reads archives has a copy
        split=sys.intern(split_of(split) or split),
    )


def _order_classes(config: KineticsConfig, names: set[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The classes in label order, and the spelling of each label in the lists."""
    mapped = () if config.label_map is None else read_label_map(config.label_map)
    spelling = one_spelling(names, mapped)
    classes = mapped or tuple(sorted(set(spelling.values())))
    if unknown := sorted(set(spelling.values()).difference(classes)):
        raise UsageError(f"{config.lists}: label {unknown[0]!r} is not in {config.label_map}")
    if len(classes) > config.release:
        raise UsageError(
            f"{config.label_map or config.lists} names {len(classes)} classes, but source.release is {config.release}; "
            "give the lists of one release only"
        )
    return classes, spelling


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
        for stem in cut.stems:
            paths = self._paths_by_stem.get(stem, [])
            for wanted in ({folder}, set[str]()):
                for path in paths:
                    if self._folder_classes[path] == wanted:
                        paths.remove(path)
                        return path
        return None

    def copies(self, cut: Cut) -> tuple[str, ...]:
        """The files that are free when each cut has one, and have this cut's full name."""
        allowed = ({_folder_name(cut.class_name)}, set[str]())
        return tuple(path for path in self._paths_by_stem.get(cut.stem, ()) if self._folder_classes[path] in allowed)


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
