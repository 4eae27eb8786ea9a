"""Videos without lists: a folder per class, or just a folder.

`folder`: the first folder of a video's path is its class (deeper folders are searched too); classes are numbered in
alphabetical order (1, 2, 10 if all are numbers), or in the order of `label_map`. If all first folders are called train,
val, test or the like, and hold folders, they are splits, and the classes lie below them. `flat`: every video at any
depth, no labels or splits. A `csv` source gives other splits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from shardify.catalogs.archived import Listed, Member, folder_members, folder_of
from shardify.catalogs.base import Catalog, VideosConfig, make_archived_catalog, make_catalog
from shardify.catalogs.content import ARCHIVE_SUFFIXES, is_picture
from shardify.catalogs.files import read_label_map
from shardify.catalogs.reasons import NO_CLASS
from shardify.catalogs.scanning import Found, scan_files
from shardify.catalogs.words import in_order, label_form, one_spelling, ordered_splits, resembles_split, split_of
from shardify.errors import UsageError, counted, first_names
from shardify.shards.format import NO_LABEL
from shardify.storage.locations import Location


class FolderConfig(VideosConfig):
    """A folder with a folder of videos per class; videos directly in it are left out and count as unlisted."""

    kind: Literal["folder"]
    label_map: Location | None = None
    """Text file of class names, one per line, in label order; null: the class folders in alphabetical order, or in the
    order of their numbers if all are whole numbers."""


class FlatConfig(VideosConfig):
    """A folder of videos without labels, searched at any depth."""

    kind: Literal["flat"]


def read_folder(config: FolderConfig) -> Catalog:
    """List the videos of every class folder.

    In archives, a video's class is the nearest folder above it that is in `label_map`; an archive counts as a folder.
    Archives need a `label_map`: labels are written before all folders are known. Raises UsageError if the folder is
    missing, no class folder holds a video, or one is not in the label map.
    """
    found = scan_files(config.videos)
    classes = () if config.label_map is None else read_label_map(config.label_map)
    splits = _splits_of([folder_of(path).split("/") for path in found.archives])
    rule = folder_members(classes, splits)
    archived = make_archived_catalog(config.videos, found, rule, classes=classes, splits=splits)
    if archived is not None:
        if config.label_map is None:
            raise UsageError(
                f"source.videos = {config.videos}: which class folders its archives hold is not known before they are "
                "read; name the classes, one a line, in a text file, and give it with --set source.label_map=FILE"
            )
        return archived
    _require_videos(config.videos, found)
    folders = {path: path.split("/")[:-1] for path in found.videos}
    splits = _splits_above(folders.values())
    depth = 1 if splits else 0  # of the class folders
    class_names = {path: parts[depth] for path, parts in folders.items() if parts[depth:]}
    if not class_names:
        raise UsageError(
            f"source.videos = {config.videos}: its {len(found.videos)} videos lie directly in it, not in class "
            "folders; for videos without labels use --set source.kind=flat"
        )
    spelling = one_spelling(class_names.values(), classes)
    there = in_order({spelling[name] for name in class_names.values()})
    if config.label_map is not None and (unknown := [name for name in there if name not in classes]):
        raise UsageError(f"source.videos = {config.videos}: folder {unknown[0]!r} is not in {config.label_map}")
    labels = {name: label for label, name in enumerate(classes or there)}
    said = [split_of(folders[path][0]) if splits else None for path in class_names]
    listed = {
        path: Listed(label=labels[spelling[name]], splits=(split,) if split else ())
        for (path, name), split in zip(class_names.items(), said, strict=True)
    }
    catalog = make_catalog(config.videos, listed, found, classes=tuple(labels), splits=splits, unlisted=NO_CLASS)
    notes: list[str] = []
    if splits:
        notes.append(f"the first folders are splits ({', '.join(splits)}), the classes are the folders below them")
    if config.label_map is None:
        notes += _doubts(folders.values()) if not splits else ()
        notes += _empty_folders(found.folders, there, splits)
    return replace(catalog, notes=(*catalog.notes, *notes))


def _splits_above(folders: Collection[Sequence[str]]) -> tuple[str, ...]:
    """The splits, if all first folders are called so and most videos lie in folders below them; else none."""
    num_deep = sum(len(parts) > 1 for parts in folders)
    splits = {split_of(parts[0]) for parts in folders if parts}
    named = ordered_splits(split for split in splits if split)
    return named if len(named) == len(splits) and 2 * num_deep > len(folders) else ()


def _doubts(folders: Collection[Sequence[str]]) -> Iterator[str]:
    """Notes on first folders that may not be classes; `folders` are those above each video."""
    first = sorted({parts[0] for parts in folders if parts})
    below = sorted({parts[1] for parts in folders if parts[1:]})
    alike = [name for name in first if resembles_split(name)]
    if alike == first or any(parts[0] in alike for parts in folders if parts[1:]):
        yield (
            f"folders that look like splits, but are classes here: {first_names(alike)}; to make them splits, call the "
            "first folders train, val and test (as many as there are), with a folder per class in each"
        )
    elif len(first) == 1 and len(below) > 1:
        yield (
            f"one class only, {first[0]}; if the classes are its folders ({first_names(below)}), give that folder as "
            "source.videos"
        )


def _empty_folders(folders: Iterable[str], classes: Iterable[str], splits: Collection[str]) -> Iterator[str]:
    """A note on folders at the place of classes that hold no video."""
    known = {label_form(name) for name in classes}
    places = [path.split("/") for path in folders if path]
    if splits:
        places = [parts[1:] for parts in places if split_of(parts[0])]
    empty = sorted({parts[0] for parts in places if parts and label_form(parts[0]) not in known})
    if empty:
        yield f"no video in {counted(len(empty), 'class folder')}, so not among the classes: {first_names(empty)}"


def _splits_of(archives: Collection[Sequence[str]]) -> tuple[str, ...]:
    """The splits, if each archive is called so or lies in a folder that is; else none."""
    said = [next((split for part in parts if (split := split_of(part))), None) for parts in archives]
    return ordered_splits(split for split in said if split) if all(said) else ()


def read_flat(config: FlatConfig) -> Catalog:
    """List all videos of a folder. Raises UsageError if the folder is missing or holds no video."""
    found = scan_files(config.videos)
    unlabelled = Listed(label=NO_LABEL, splits=())

    def find_member(_: str, is_video: bool) -> Member | None:
        return Member(name="", listed=unlabelled) if is_video else None

    if archived := make_archived_catalog(config.videos, found, find_member):
        return archived
    _require_videos(config.videos, found)
    return make_catalog(config.videos, dict.fromkeys(found.videos, unlabelled), found)


def _require_videos(root: str, found: Found) -> None:
    if not found.videos:
        advice = (
            "; folders of pictures are not read: make a video of each folder with ffmpeg, or pack the folders into "
            "tars and train on those with data.reader.kind=sequential"
        )
        raise UsageError(
            f"source.videos = {root}: none of its {counted(len(found.others), 'file')} is a video (.avi, .mp4, .mkv, "
            f".webm ...) or an archive that is read ({', '.join(ARCHIVE_SUFFIXES)})"
            f"{advice if any(map(is_picture, found.others)) else ''}"
        )
