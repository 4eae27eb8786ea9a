"""What every catalog returns: which videos a data set holds, their labels and splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from shardify.catalogs.archived import Archive, Listed, MemberRule, find_archives, listed_members
from shardify.catalogs.files import OTHER_ARCHIVE_SUFFIXES, is_video
from shardify.catalogs.keys import make_keys
from shardify.config import StrictModel
from shardify.errors import UsageError
from shardify.storage.locations import Location, join_location


class VideosConfig(StrictModel):
    """Where the videos of any source lie."""

    videos: Location
    """Folder or URL (s3://, gs://, az://) of video files or of .tar, .tar.gz or .tgz archives, or one archive."""
    archives_per_window: int = Field(default=1, ge=1)
    """How many consecutive archives one process packs together into shards; raise it for small archives."""
    accept_damaged_archives: bool = False
    """Go without what is lost in damaged archives, instead of an error; its listed videos are missing then. A plain
    tar, and a gzipped one that was cut short, gives what lies before the damage; a gzipped one with a wrong checksum
    gives nothing, because the wrong bytes may be anywhere in it."""


@dataclass(frozen=True, kw_only=True, order=True, slots=True)  # millions exist; pickling must be cheap
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
    """A listed video that is not in the folder."""

    name: str
    """As the list names it."""
    splits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Archived:
    """Videos in archives; they are known only when the archives have been read."""

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
    """Compare the lists with the folder; in archives, members are found by :func:`listed_members`.

    Args:
        root: `source.videos`.
        listed: what the lists say, by path relative to `root`.
        found: every file below `root`, as relative paths.
        classes: class names by label.
        splits: split names in the order of the catalog.

    Raises:
        UsageError: if none of the listed videos is there, or archives and videos lie side by side.
    """
    rule = listed_members(listed)
    if archived := make_archived_catalog(root, found, rule, listed, classes=classes, splits=splits):
        return archived
    present = set(found)
    keys = make_keys(path for path in listed if path in present)
    if not keys:
        packed = sorted(path for path in present if path.lower().endswith(OTHER_ARCHIVE_SUFFIXES))
        question = (
            f"Are they in {packed[0]}? Unpack it, or pack it as .tar"
            if packed
            else "Is source.videos the right folder?"
        )
        raise UsageError(
            f"{root}: none of the {len(listed)} listed videos is there; the first would be "
            f"{join_location(root, min(listed))}. {question}"
        )

    def splits_of(path: str) -> tuple[str, ...]:
        return tuple(name for name in splits if name in listed[path].splits)

    videos = [Video(key=key, path=path, label=listed[path].label, splits=splits_of(path)) for path, key in keys.items()]
    return Catalog(
        root=str(root),
        videos=tuple(sorted(videos)),
        missing=tuple(Missing(name=path, splits=splits_of(path)) for path in sorted(listed) if path not in present),
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

    `members` tells which members are videos of the data set; the rest as in :func:`make_catalog`.
    """
    place = find_archives(videos, sorted(found))
    if place is None:
        return None
    root, archives = place
    return Catalog(
        root=root,
        videos=(),
        archived=Archived(archives=archives, members=members, listed=listed or {}),
        classes=tuple(classes),
        splits=tuple(splits),
    )
