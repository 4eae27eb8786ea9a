"""What another machine must have in common with this one for the shards it writes to be those of this build.

A machine that does not see the videos would reject them all, one with another ffmpeg would write other bytes, and one
that has a folder of its own where this build's is shared would keep its shards to itself; none of it would show.
"""

from __future__ import annotations

import functools
import hashlib
import socket
from dataclasses import dataclass
from pathlib import Path

from shardify import __version__
from shardify.build.description import DESCRIPTION_NAME
from shardify.errors import UsageError
from shardify.frames.decoding import ffmpeg_binary, ffmpeg_version
from shardify.storage import open_store
from shardify.storage.locations import is_url


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Picklable; taken on one machine, asked for on another."""

    videos: str
    """Folder or URL of the videos."""
    location: str
    """The store that is written to."""
    description_sha256: str
    """Of its build.json."""
    ffmpeg: str
    """The config's `frames.ffmpeg`."""
    ffmpeg_version: str
    version: str = __version__
    """Of this program."""

    @classmethod
    def here(cls, *, videos: str, location: str, ffmpeg: str) -> Surroundings:
        """This machine's, once build.json has been written."""
        return cls(
            videos=videos,
            location=location,
            description_sha256=_sha256(open_store(location).read(DESCRIPTION_NAME)),
            ffmpeg=ffmpeg,
            ffmpeg_version=ffmpeg_version(ffmpeg_binary(ffmpeg)),
        )

    def require(self) -> None:
        """Hold this machine against them, once in each process.

        Raises:
            UsageError: if they differ; names the machine and what to do.
        """
        _require(self)


@functools.cache
def _require(given: Surroundings) -> None:
    machine = f"the machine {socket.gethostname()}"
    if given.version != __version__:
        raise UsageError(
            f"{machine} has version {__version__} of temporal-ssl, the build was started with {given.version}; "
            "install the same one everywhere"
        )
    if not is_url(given.videos) and not Path(given.videos).exists():
        raise UsageError(f"{machine} does not see {given.videos}; the videos must be in a bucket or a shared folder")
    try:
        description = open_store(given.location).read(DESCRIPTION_NAME)
    except (UsageError, FileNotFoundError):
        if is_url(given.location):
            raise
        description = b""
    if _sha256(description) != given.description_sha256:
        raise UsageError(
            f"{machine} does not see this build's {DESCRIPTION_NAME} in {given.location}; out must be in a bucket or a "
            "shared folder"
        )
    version = ffmpeg_version(ffmpeg_binary(given.ffmpeg))
    if version != given.ffmpeg_version:
        raise UsageError(
            f"{machine} has ffmpeg {version}, the build was started with {given.ffmpeg_version}, and their bytes "
            "differ; install the same one everywhere (frames.ffmpeg=bundled takes imageio-ffmpeg's)"
        )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
