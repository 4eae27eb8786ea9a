"""The reasons why a file below `source.videos` is not a video of the data set."""

from __future__ import annotations

from collections.abc import Iterable

from shardify.shards.seen import LeftOut

HIDDEN = "hidden, the name starts with a dot"
SYSTEM = "bin or other folder of the system"
NOWHERE = "link that leads nowhere"
LOOP = "link to a folder above it"
UNREADABLE = "cannot be read (permission denied)"
HALF = "unfinished download or temporary file"
SPECIAL = "neither file nor folder"
OTHER_NAME = "not a video, by its name"
OTHER_CONTENT = "not a video, by its content"
OTHER_ARCHIVE = "archive of a kind that is not read"
UNLISTED = "video in no list"
COPY = "video of the same name as one that is taken"
SPARE = "one of several files of a video, which needs only one that is whole"
NO_CLASS = "video outside the class folders"
OVERWRITTEN = "older file of a name that comes again in its archive"

_VIDEOS = (UNLISTED, COPY, SPARE, NO_CLASS)
"""Reasons that concern videos, not other files."""


def num_videos(left_out: Iterable[LeftOut]) -> int:
    """How many of the files left out are videos."""
    return sum(part.count for part in left_out if part.reason in _VIDEOS)
