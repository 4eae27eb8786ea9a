"""What every catalog returns: which videos a data set holds, their labels and splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shardify.catalogs.files import is_video
from shardify.catalogs.keys import make_keys
from shardify.errors import UsageError

NO_LABEL = -1
"""Label of a video from a source without classes."""


@dataclass(frozen=True, kw_only=True, order=True)
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
class Catalog:
    """The videos of a data set, in a deterministic order (sorted by key)."""

    root: str
    """Folder that Video.path is relative to."""
    videos: tuple[Video, ...]
    missing: tuple[Missing, ...] = ()
    classes: tuple[str, ...] = ()
    """Class names by label; empty for a source without labels."""
    splits: tuple[str, ...] = ()
    """All split names, e.g. ("train1", "test1", "train2", ...)."""
    num_unlisted: int = 0
    """Videos found in the folder that no list names; they are left out."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What the lists of a data set say about one video."""

    label: int
    splits: tuple[str, ...]


def make_catalog(
    root: Path,
    listed: Mapping[str, Listed],
    found: Collection[str],
    *,
    classes: Sequence[str] = (),
    splits: Sequence[str] = (),
) -> Catalog:
    """Hold the lists against the folder: listed and there, listed and missing, there and not listed.

    Args:
        root: the folder of videos.
        listed: what the lists say, by path relative to `root`.
        found: every file below `root`, as relative paths.
        classes: class names by label.
        splits: split names in the order that the catalog shows them.

    Raises:
        UsageError: if none of the listed videos is there.
    """
    present = set(found)
    keys = make_keys(path for path in listed if path in present)
    if not keys:
        raise UsageError(
            f"{root}: none of the {len(listed)} listed videos is in this folder; the first would be "
            f"{root / min(listed)}. Is source.videos the right folder?"
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


def _in_order(names: Collection[str], order: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in order if name in names)
