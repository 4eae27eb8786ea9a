"""The result of every catalog: the videos of a data set with their labels and splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from shardify.catalogs.archived import Archive, Listed, MemberRule, find_archives, listed_members
from shardify.catalogs.keys import make_keys
from shardify.catalogs.near_misses import NearMisses, find_near_misses
from shardify.catalogs.reasons import COPY, OTHER_ARCHIVE, SPARE, UNLISTED, num_videos
from shardify.catalogs.scanning import Found
from shardify.catalogs.words import label_form
from shardify.config import StrictModel
from shardify.errors import UsageError, counted
from shardify.shards.seen import LeftOut, Seen, merged, tally
from shardify.storage.locations import Location, join_location


class VideosConfig(StrictModel):
    """The location of a source's videos."""

    videos: Location
    """Folder or URL (s3://, gs://, az://) of video files or of .tar, .tar.gz or .tgz archives, or one archive."""
    archives_per_window: int = Field(default=1, ge=1)
    """Number of consecutive archives that one process packs together into shards; raise it for small archives."""
    accept_damaged_archives: bool = False
    """Accept damaged archives instead of an error; the listed videos that are lost count as missing. A plain tar, and a
    gzipped tar that was cut short, gives the videos before the damage. A gzipped tar with a wrong checksum gives
    nothing: the wrong bytes may be anywhere in it."""


@dataclass(frozen=True, kw_only=True, order=True, slots=True)  # millions exist; pickling must be cheap
class Video:
    """One source video that exists."""

    key: str
    """Unique in the data set and stable; without whitespace or dots (WebDataset cuts keys at the first dot)."""
    path: str
    """POSIX path relative to the catalog's root."""
    label: int
    """Index into Catalog.classes, or NO_LABEL."""
    splits: tuple[str, ...]
    """The splits of the video, in the order of Catalog.splits; may be empty."""
    copies: tuple[str, ...] = ()
    """Paths of other files of this video; they are used where the first is broken or not whole."""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A listed video that is not in the folder."""

    name: str
    splits: tuple[str, ...]
    did_you_mean: str = field(default="", compare=False)
    """Path of a file that may be this video; blank if there is none."""

    def to_dict(self) -> dict[str, Any]:
        """Its line in `missing.jsonl`; a blank hint is left out."""
        hint = {"did_you_mean": self.did_you_mean} if self.did_you_mean else {}
        return {"name": self.name, "splits": self.splits, **hint}


@dataclass(frozen=True, kw_only=True)
class Archived:
    """Videos in archives; they are unknown until the archives are read."""

    archives: tuple[Archive, ...]
    """Sorted by path."""
    members: MemberRule
    """Finds the members of the archives that are videos of the data set."""
    listed: Mapping[str, Listed] = field(default_factory=dict)
    """The listed videos by name; empty for a source without lists."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """The videos of a data set, in a deterministic order (sorted by key)."""

    root: str
    """Folder or URL from which paths start."""
    videos: tuple[Video, ...]
    """Empty if they are in archives."""
    archived: Archived | None = None
    """Set if the videos are in archives; then `videos`, `missing` and `num_unlisted` are still unknown."""
    missing: tuple[Missing, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Listed name -> the path of its video, where this has another name; see :mod:`shardify.catalogs.near_misses`."""
    classes: tuple[str, ...] = ()
    """Class names by label; empty for a source without labels."""
    splits: tuple[str, ...] = ()
    """All split names, e.g. ("train1", "test1", "train2", ...)."""
    left_out: tuple[LeftOut, ...] = ()
    """Everything else that was seen; of archives, what lies beside them."""
    notes: tuple[str, ...] = ()
    """Sentences about the source that the user should read."""

    @property
    def num_unlisted(self) -> int:
        """Number of videos left out: in no list, copies, spare files, or outside class folders."""
        return num_videos(self.left_out)

    def seen(self) -> Seen:
        """The account of everything that was seen; the members of archives are not in it."""
        taken = {video.label for video in self.videos}
        empty = tuple(name for label, name in enumerate(self.classes) if label not in taken)
        return Seen(
            num_taken=len(self.videos),
            left_out=self.left_out,
            empty_classes=empty,
            num_classes=len(self.classes),
            notes=self.notes,
        )


def make_catalog(
    root: str | Path,
    listed: Mapping[str, Listed],
    found: Found,
    *,
    classes: Sequence[str] = (),
    splits: Sequence[str] = (),
    unlisted: str = UNLISTED,
    copies: Mapping[str, tuple[str, ...]] | None = None,
    case_matters: bool = False,
) -> Catalog:
    """Compare the lists with the folder; :func:`listed_members` finds the members of archives.

    `root` is `source.videos`; `listed` are the listed videos by path relative to it, and `found` is what lies there.
    `classes` are in label order, `splits` in the order of the catalog. `unlisted` is the reason why other videos are
    left out; `copies` are other files of a listed video, by its path. `case_matters`: see :func:`find_near_misses`.

    Raises UsageError if the folder holds none of the listed videos, or both archives and videos.
    """
    rule = listed_members(listed)
    if archived := make_archived_catalog(root, found, rule, listed, classes=classes, splits=splits):
        return archived
    reasons = {**dict.fromkeys(found.videos, unlisted), **found.others}
    copies = copies or {}
    spare = {path: f"{first} or {path}" for first, paths in copies.items() for path in paths}  # decoding decides which
    reasons |= dict.fromkeys(spare, SPARE)
    missing = [path for path in listed if path not in reasons]
    free = [path for path in found.videos if path not in listed and reasons[path] != SPARE]
    near = find_near_misses(listed, missing, free, case_matters=case_matters)
    names = {near.used.get(name, name): name for name in listed if name in reasons or name in near.used}
    keys = make_keys(names)
    if not keys:
        raise UsageError(f"{_none_is_there(root, listed)}. {_question(found, near)}")

    def splits_of(name: str) -> tuple[str, ...]:
        return tuple(split for split in splits if split in listed[name].splits)

    others = (
        (COPY if path in near.copies else reason, spare.get(path, path))
        for path, reason in reasons.items()
        if path not in names
    )
    videos = [
        Video(key=keys[path], path=path, label=listed[name].label, splits=splits_of(name), copies=copies.get(path, ()))
        for path, name in names.items()
    ]
    return Catalog(
        root=str(root),
        videos=tuple(sorted(videos)),
        missing=tuple(
            Missing(name=name, splits=splits_of(name), did_you_mean=near.hints.get(name, ""))
            for name in sorted(missing)
            if name not in near.used
        ),
        renamed=near.used,
        classes=tuple(classes),
        splits=tuple(splits),
        left_out=merged((*found.left_out, *tally(others))),
        notes=(*_notes(near.used), *_notes_again(found.again, names), *_notes_case(classes, splits)),
    )


def _none_is_there(root: str | Path, listed: Mapping[str, Listed]) -> str:
    first = join_location(root, min(listed))
    return f"{root}: none of the {len(listed)} listed videos is there; the first would be {first}"


def _question(found: Found, near: NearMisses) -> str:
    """What may be the reason why no listed video is there."""
    packed = [path for path, reason in found.others.items() if reason == OTHER_ARCHIVE]
    if packed:
        return f"Are they in {packed[0]}? Unpack it, or pack it as .tar"
    return f"Did you mean {min(near.hints.values())}?" if near.hints else "Is source.videos the right folder?"


def _notes(used: Mapping[str, str]) -> tuple[str, ...]:
    """What the user should know about files that are used under another name."""
    if not used:
        return ()
    name = min(used)
    count = counted(len(used), "listed video")
    where = f"{name} is {used[name]} (build.json names all)"
    return (f"{count} found under nearly the same name (case, ending, folders above ...): {where}",)


def _notes_again(again: Mapping[str, str], taken: Collection[str]) -> tuple[str, ...]:
    """What the user should know about files that are taken twice, by two paths."""
    pairs = [(path, other) for path, other in again.items() if path in taken and other in taken]
    if not pairs:
        return ()
    path, other = min(pairs)
    return (f"{counted(len(pairs), 'video')} taken again by another path, through links: {path} is {other}",)


def _notes_case(classes: Sequence[str], splits: Sequence[str]) -> Iterator[str]:
    """What the user should know about names that may be one."""
    for noun, names in (("classes", classes), ("splits", splits)):
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            alike[label_form(name).casefold()].append(name)
        if several := [" and ".join(some) for some in alike.values() if some[1:]]:
            yield f"{noun} that differ in case only: {', '.join(several)}"


def make_archived_catalog(
    videos: str | Path,
    found: Found,
    members: MemberRule,
    listed: Mapping[str, Listed] | None = None,
    *,
    classes: Sequence[str] = (),
    splits: Sequence[str] = (),
) -> Catalog | None:
    """The catalog of a source whose videos are in archives; None if they are not. See :func:`make_catalog`."""
    place = find_archives(videos, found)
    if place is None:
        return None
    root, archives = place
    return Catalog(
        root=root,
        videos=(),
        archived=Archived(archives=archives, members=members, listed=listed or {}),
        classes=tuple(classes),
        splits=tuple(splits),
        left_out=merged((*found.left_out, *tally((reason, path) for path, reason in found.others.items()))),
        notes=tuple(_notes_case(classes, splits)),
    )
