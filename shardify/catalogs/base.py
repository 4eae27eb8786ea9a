"""What every catalog returns: which videos a data set holds, their labels and splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from shardify.catalogs.archived import Archive, Listed, ListedMembers, MemberRule, find_archives
from shardify.catalogs.files import OTHER_ARCHIVE_SUFFIXES, is_video
from shardify.catalogs.keys import make_keys
from shardify.config import StrictModel
from shardify.errors import UsageError
from shardify.storage.locations import Location, join_location

NO_LABEL = -1
"""Label of a video from a source without classes."""


class VideosConfig(StrictModel):
    """Where the videos of any source lie."""

    videos: Location
    """Folder or URL (s3://, gs://, az://) of video files or of .tar, .tar.gz or .tgz archives, or one archive."""
    archives_per_window: int = Field(default=1, ge=1)
    """So many consecutive archives are packed into shards by one process; small archives should go together."""
    accept_damaged_archives: bool = False
    """Go without what is lost in damaged archives, instead of ending with an error; its listed videos are missing then.
    Of a plain tar, and of a gzipped one that was cut short, what lies before the damage is taken; of a gzipped one with
    a checksum that does not fit, nothing: the bytes that changed may be anywhere in it."""


@dataclass(frozen=True, kw_only=True, order=True, slots=True)  # there are millions; pickling one then costs nothing
class Video:
    """One source video that exists."""

    key: str
    """Unique in the data set and stable; no dots (WebDataset cuts keys at the first dot), no whitespace."""
    path: str
    """POSIX path relative to the catalog's root."""
    label: int
    """Index into Catalog.classes, or NO_LABEL."""
    splits: tuple[str, ...]
    """Names of the splits it belongs to, in Catalog.splits' order; may be empty."""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A video that a list names but the folder does not hold."""

    name: str
    """As the list names it."""
    splits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Archived:
    """Videos in archives: which ones is known only when the archives have been read."""

    archives: tuple[Archive, ...]
    """Sorted by path, which is relative to the catalog's root."""
    members: MemberRule
    """Tells which members of the archives are videos of the data set, and what they are."""
    listed: Mapping[str, Listed] = field(default_factory=dict)
    """What the lists say, by name; empty for a source without lists."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """The videos of a data set, in a deterministic order (sorted by key)."""

    root: str
    """Folder or URL that Video.path is relative to."""
    videos: tuple[Video, ...]
    """Empty if they are in archives."""
    archived: Archived | None = None
    """Set if the videos are in archives; `videos`, `missing` and `num_unlisted` are then not known yet."""
    missing: tuple[Missing, ...] = ()
    classes: tuple[str, ...] = ()
    """Class names by label; empty for a source without labels."""
    splits: tuple[str, ...] = ()
    """All split names, e.g. ("train1", "test1", "train2", ...)."""
    num_unlisted: int = 0
    """Videos found in the folder that no list names; they are left out."""


def make_catalog(
    root: str | Path,
    listed: Mapping[str, Listed],
    found: Collection[str],
    *,
    classes: Sequence[str] = (),
    splits: Sequence[str] = (),
) -> Catalog:
    """Hold the lists against the folder: listed and there, listed and missing, there and not listed.

    Where there are archives, their members are found by the listed paths (:class:`ListedMembers`).

    Args:
        root: the place of the videos, `source.videos`.
        listed: what the lists say, by path relative to `root`.
        found: every file below `root`, as relative paths.
        classes: class names by label.
        splits: split names in the order that the catalog shows them.

    Raises:
        UsageError: if none of the listed videos is there, or there are archives and videos beside them.
    """
    archived = make_archived_catalog(root, found, ListedMembers(listed), listed, classes=classes, splits=splits)
    if archived is not None:
        return archived
    present = set(found)
    keys = make_keys(path for path in listed if path in present)
    if not keys:
        packed = sorted(path for path in present if path.lower().endswith(OTHER_ARCHIVE_SUFFIXES))
        question = (
            f"Are they in {packed[0]}? Unpack it, or pack it as .tar" if packed else "Is source.videos the right place?"
        )
        raise UsageError(
            f"{root}: none of the {len(listed)} listed videos is there; the first would be "
            f"{join_location(root, min(listed))}. {question}"
        )
    videos = [
        Video(key=key, path=path, label=listed[path].label, splits=_in_order(listed[path].splits, splits))
        for path, key in keys.items()
    ]
    missing = [
        Missing(name=path, splits=_in_order(listed[path].splits, splits)) for path in listed if path not in present
    ]
    return Catalog(
        root=str(root),
        videos=tuple(sorted(videos)),
        missing=tuple(sorted(missing, key=lambda line: line.name)),
        classes=tuple(classes),
        splits=tuple(splits),
        num_unlisted=sum(is_video(path) for path in present.difference(listed)),
    )


def make_archived_catalog(
    videos: str | Path,
    found: Collection[str],
    members: MemberRule,
    listed: Mapping[str, Listed] | None = None,
    *,
    classes: Sequence[str] = (),
    splits: Sequence[str] = (),
) -> Catalog | None:
    """The catalog of a source whose videos are in archives; None if they are files of their own.

    Args:
        videos: `source.videos`.
        found: every file there.
        members: tells which members are videos of the data set.
        listed: what the lists say, by name; None for a source without lists.
        classes: class names by label.
        splits: split names in the order that the catalog shows them.

    Raises:
        UsageError: if archives and videos lie side by side.
    """
    place = find_archives(videos, sorted(found))
    if place is None:
        return None
    return Catalog(
        root=place.root,
        videos=(),
        archived=Archived(archives=place.archives, members=members, listed=listed or {}),
        classes=tuple(classes),
        splits=tuple(splits),
    )


def _in_order(names: Collection[str], order: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in order if name in names)
