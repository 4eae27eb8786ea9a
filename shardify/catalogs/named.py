"""Lists that name videos by an id, without folder or ending: any file of that name is the video, at any depth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from shardify.catalogs.archived import Listed, Member
from shardify.catalogs.base import Catalog, VideosConfig, make_archived_catalog, make_catalog
from shardify.catalogs.scanning import scan_files
from shardify.errors import UsageError


def make_named_catalog(
    config: VideosConfig, listed: Mapping[str, Listed], *, classes: Sequence[str], splits: Sequence[str]
) -> Catalog:
    """The catalog of videos by id, in a folder or in archives; of several files with one id, the first whole one.

    Raises UsageError if the folder is missing, or none of the videos is there.
    """
    found = scan_files(config.videos)

    def find(path: str, is_video: bool) -> Member | None:
        name = PurePosixPath(path).stem
        return Member(name=name, listed=listed[name]) if is_video and name in listed else None

    if archived := make_archived_catalog(config.videos, found, find, listed, classes=classes, splits=splits):
        return archived
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for path in found.videos:
        paths[PurePosixPath(path).stem].append(path)
    files = {paths[name][0] if name in paths else name: facts for name, facts in listed.items()}
    copies = {some[0]: tuple(some[1:]) for name, some in paths.items() if name in listed}
    return make_catalog(config.videos, files, found, classes=classes, splits=splits, copies=copies, case_matters=True)


def add_video(listed: dict[str, Listed], name: str, label: int, split: str, where: str) -> None:
    """Add a row of a list; UsageError if the video is already there, in this list or that of another split."""
    if name in listed:
        raise UsageError(f"{where}: {name} is listed twice, the first time for split {listed[name].splits[0]}")
    listed[name] = Listed(label=label, splits=(split,))
