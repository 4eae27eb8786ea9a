"""Videos inside tar archives: which archives there are, and what the lists say about a member once its name is known.

In: the files at a source's place, a member's path. Out: an :class:`Archived`, a :class:`Member`. Members are known
only by reading the archives, which is done once, while shards are written; so a catalog of archives holds no videos but
a rule, which looks at one path alone: that makes it the same in every process, whatever the others have found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from shardify.catalogs.files import ARCHIVE_SUFFIXES, is_archive, is_video, names_archive
from shardify.errors import UsageError
from shardify.storage.locations import is_url, split_location


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A tar file, compressed or not."""

    path: str
    """POSIX path relative to the catalog's root."""
    num_bytes: int
    """Size of the file as it lies there."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What the lists of a data set say about one video."""

    label: int
    splits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Member:
    """What the lists say about a member of an archive."""

    name: str
    """As the list names it; blank if there are no lists."""
    listed: Listed


class MemberRule(Protocol):
    """Tells which members belong to a data set."""

    def find(self, path: str) -> Member | None:
        """What is known of a member, None if it does not belong to the data set.

        Args:
            path: its path inside the archive, below the archive's own path without its ending: an archive counts as a
                folder.
        """


@dataclass(frozen=True, kw_only=True)
class Archived:
    """A source whose videos lie in archives."""

    root: str
    archives: tuple[Archive, ...]
    """Sorted by path."""


class ListedMembers:
    """Lists that name videos by their paths.

    A member is the video with the longest listed path that its own path ends with, so archives may hold the folder that
    the lists start from, folders above it, or only the files of the folder they are named after.
    """

    def __init__(self, listed: Mapping[str, Listed]) -> None:
        self._listed = listed

    def find(self, path: str) -> Member | None:
        while path:
            if path in self._listed:
                return Member(name=path, listed=self._listed[path])
            path = path.partition("/")[2]
        return None


class FolderMembers:
    """Members whose class is the nearest folder above them that is named like one."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._labels = {name: label for label, name in enumerate(classes)}

    def find(self, path: str) -> Member | None:
        if not is_video(path):
            return None
        for folder in reversed(PurePosixPath(path).parts[:-1]):
            if folder in self._labels:
                return Member(name="", listed=Listed(label=self._labels[folder], splits=()))
        return None


class AllMembers:
    """Every video, without a label."""

    def __init__(self, label: int) -> None:
        self._listed = Listed(label=label, splits=())

    def find(self, path: str) -> Member | None:
        return Member(name="", listed=self._listed) if is_video(path) else None


def find_archives(videos: str | Path, found: Sequence[str]) -> Archived | None:
    """The archives at a source's place; None if its videos are files of their own.

    Args:
        videos: `source.videos`.
        found: what :func:`shardify.catalogs.files.scan_files` found there.

    Raises:
        UsageError: if archives and videos lie side by side, or the archives are shards.
    """
    names = sorted(path for path in found if is_archive(path))
    if not names:
        return None
    if shards := [name for name in names if _is_built(name, found)]:
        raise UsageError(
            f"source.videos = {videos}: it holds shards that were built already ({shards[0]} ...), not only videos; "
            "give the place of the videos, with the shards elsewhere"
        )
    if loose := [path for path in found if is_video(path)]:
        raise UsageError(
            f"source.videos = {videos}: it holds archives ({names[0]} ...) and videos beside them ({loose[0]} ...); "
            "give a place that holds one kind only, or the archive itself"
        )
    root = split_location(videos)[0] if names_archive(videos) else str(videos)
    sizes = _sizes(root, names)
    return Archived(root=root, archives=tuple(Archive(path=name, num_bytes=sizes[name]) for name in names))


def _is_built(archive: str, found: Sequence[str]) -> bool:
    """Whether an archive is a shard of this program's, which has an index beside it."""
    return re.fullmatch(r"shard-\d{6}\.tar", archive.rpartition("/")[2]) is not None and (
        f"{archive.removesuffix('.tar')}.idx.npz" in found
    )


def folder_of(archive: str) -> str:
    """An archive's path without its ending: the folder that it stands for."""
    suffix = next(suffix for suffix in ARCHIVE_SUFFIXES if archive.lower().endswith(suffix))
    return archive[: -len(suffix)]


def _sizes(root: str, names: Sequence[str]) -> dict[str, int]:
    if not is_url(root):
        return {name: Path(root, name).stat().st_size for name in names}
    from shardify.storage.object_store import ObjectStore

    store = ObjectStore(root)
    if len(names) > 1:
        return store.tree()
    try:
        return {names[0]: store.size(names[0])}
    except FileNotFoundError:
        raise UsageError(
            f"source.videos: there is no archive {store.url(names[0])}; check the URL, and if it is a "
            "folder's, end it with /"
        ) from None
