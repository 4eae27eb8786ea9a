"""Videos without lists: a folder per class, or just a folder.

`folder`: the first folder on a video's path is its class (deeper folders are searched too); classes are numbered in
alphabetical order. `flat`: every video at any depth, no labels. Neither has splits; a `csv` source adds them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from shardify.catalogs.base import NO_LABEL, Catalog, Listed, make_catalog
from shardify.catalogs.files import is_video, scan_files
from shardify.config import StrictModel
from shardify.errors import UsageError


class FolderConfig(StrictModel):
    """A folder that holds a folder of videos per class."""

    kind: Literal["folder"]
    videos: Path
    """Folder of class folders; videos directly in it have no class and are left out, counted as unlisted."""


class FlatConfig(StrictModel):
    """A folder of videos without labels."""

    kind: Literal["flat"]
    videos: Path
    """Folder searched for videos, at any depth."""


def read_folder(config: FolderConfig) -> Catalog:
    """List the videos of every class folder.

    Raises:
        UsageError: if the folder is missing or no class folder holds a video.
    """
    found = _find_videos(config.videos)
    class_names = {path: path.split("/", 1)[0] for path in found if "/" in path}
    if not class_names:
        raise UsageError(
            f"source.videos = {config.videos}: its {len(found)} videos lie directly in it, not in class folders; "
            "for videos without labels use --set source.kind=flat"
        )
    classes = sorted(set(class_names.values()))
    labels = {name: label for label, name in enumerate(classes)}
    listed = {path: Listed(label=labels[name], splits=()) for path, name in class_names.items()}
    return make_catalog(config.videos, listed, found, classes=classes)


def read_flat(config: FlatConfig) -> Catalog:
    """List all videos of a folder.

    Raises:
        UsageError: if the folder is missing or holds no video.
    """
    found = _find_videos(config.videos)
    listed = {path: Listed(label=NO_LABEL, splits=()) for path in found}
    return make_catalog(config.videos, listed, found)


def _find_videos(root: Path) -> list[str]:
    files = scan_files(root)
    videos = [path for path in files if is_video(path)]
    if not videos:
        raise UsageError(
            f"source.videos = {root}: none of its {len(files)} files ends like a video (.avi, .mp4, .mkv, .webm ...)"
        )
    return videos
