"""Videos inside tar archives: the archives, and the lists' facts about a member.

In: the files below `source.videos`, a member's path. Out: archives, a :class:`Member`. The archives are read only once,
while shards are written; before that their members are unknown. So a catalog of archives holds no videos. It holds a
rule that depends on one path only and gives the same answer in every process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from shardify.catalogs.content import ARCHIVE_SUFFIXES
from shardify.catalogs.scanning import Found, names_archive
from shardify.catalogs.words import label_form, split_of
from shardify.errors import UsageError
from shardify.storage.locations import split_location


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A tar file, compressed or not."""

    path: str
    """POSIX path relative to the catalog's root."""
    num_bytes: int
    """Size of the file as it is stored."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The facts in the lists about one video."""

    label: int
    splits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Member:
    """The facts in the lists about a member of an archive."""

    name: str
    """The name in the list; blank if there are no lists."""
    listed: Listed


MemberRule = Callable[[str, bool], Member | None]
"""Path of a member, and whether it is a video by its name or content -> its facts; None if it does not belong to the
data set. The path begins with the archive's path without its ending: an archive counts as a folder."""


def listed_members(listed: Mapping[str, Listed]) -> MemberRule:
    """The rule for lists of paths: a member is the video with the longest listed path that ends the member's path.

    So an archive may start at the lists' folder or above it, or hold only the files of the folder it is named after.
    """

    def find(path: str, _: bool) -> Member | None:
        while path:
            if path in listed:
                return Member(name=path, listed=listed[path])
            path = path.partition("/")[2]
        return None

    return find


def folder_members(classes: Sequence[str], splits: Sequence[str] = ()) -> MemberRule:
    """The rule for class folders: a member's class is the nearest folder above it that has the name of a class.

    If there are splits, its split is the first folder that has the name of one.
    """
    labels = {label_form(name): label for label, name in enumerate(classes)}

    def find(path: str, is_video: bool) -> Member | None:
        folders = PurePosixPath(path).parts[:-1]
        label = next((labels[form] for form in map(label_form, reversed(folders)) if form in labels), None)
        if label is None or not is_video:
            return None
        split = next((split for folder in folders if (split := split_of(folder)) in splits), None)
        return Member(name="", listed=Listed(label=label, splits=(split,) if split else ()))

    return find


def find_archives(videos: str | Path, found: Found) -> tuple[str, tuple[Archive, ...]] | None:
    """Root and archives of `source.videos`, sorted by path; None if its videos are not in archives.

    `found` is what :func:`shardify.catalogs.scanning.scan_files` found. Raises UsageError if the source holds both
    archives and videos, or the archives are shards.
    """
    names = list(found.archives)
    if not names:
        return None
    is_shard = re.compile(r"(.*/)?shard-\d{6}\.tar").fullmatch
    if shards := [name for name in names if is_shard(name) and f"{name.removesuffix('.tar')}.idx.npz" in found.others]:
        raise UsageError(
            f"source.videos = {videos}: it holds shards that were built already ({shards[0]} ...), not only videos; "
            "give the folder of the videos, and keep the shards elsewhere"
        )
    if loose := found.videos:
        raise UsageError(
            f"source.videos = {videos}: it holds archives ({names[0]} ...) and videos beside them ({loose[0]} ...); "
            "give a folder that holds one kind only, or the archive itself"
        )
    root = split_location(videos)[0] if names_archive(videos) else str(videos)
    return root, tuple(Archive(path=name, num_bytes=num_bytes) for name, num_bytes in found.archives.items())


def folder_of(archive: str) -> str:
    """An archive's path without its ending; it counts as a folder of this name."""
    suffix = next(suffix for suffix in ARCHIVE_SUFFIXES if archive.lower().endswith(suffix))
    return archive[: -len(suffix)]
