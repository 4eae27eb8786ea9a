"""Whole shards on the node's own disk, fetched once for all its processes, and never more than a given size of them.

In: a shard's sha256 and how to fetch it. Out: the path of a complete, verified copy. A copy is named by its sha256, so
that equal shards of any data set are one, and an old copy can never pass for a new shard. Who fetches holds the file's
lock, which ends with the process; the copy appears under its name when it is complete and its hash is right.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from shardify.errors import DamageError, WorkError
from shardify.traffic import Traffic, count

Pieces = Callable[[], Iterator[bytes]]
"""Begins to fetch a shard: its bytes, in pieces, from the start."""

_COPY = ".tar"
_PART = ".part"
_LOCK = ".lock"
_FULL = (errno.ENOSPC, errno.EDQUOT)
FREE_SHARE = 0.02
"""Share of the disk that is left free."""


class CacheFullError(Exception):
    """There is no room for a shard, even with all unused ones removed."""


class ShardCache:
    """A folder of copies. Any number of processes and threads may use one at a time.

    Args:
        folder: made if absent.
        max_bytes: most that it may hold.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def fetch(self, sha256: str, num_bytes: int, pieces: Pieces, origin: str) -> Path:
        """The path of a copy; it may be removed at any time, but a file that is open stays readable.

        Args:
            sha256: of the shard.
            num_bytes: its size.
            pieces: fetches it, if it is not there yet.
            origin: names the shard in error messages.

        Raises:
            CacheFullError: if there is no room for it.
            DamageError: if what was fetched has another hash, twice.
            WorkError: if the folder cannot be used.
        """
        path = self.folder / f"{sha256}{_COPY}"
        with self._reporting():
            if self._use(path, num_bytes):
                return path
            with self._locked(sha256):
                if self._use(path, num_bytes):  # another process has just fetched it
                    return path
                count(Traffic(cache_misses=1))
                for attempt in range(2):
                    count(Traffic(refetches=attempt))
                    if self._fill(path, sha256, num_bytes, pieces):
                        return path
        raise DamageError(f"{origin} does not have the sha256 that the manifest gives it, twice in a row")

    def drop(self, sha256: str) -> None:
        """Remove a copy that proved to be damaged."""
        (self.folder / f"{sha256}{_COPY}").unlink(missing_ok=True)

    def num_bytes(self) -> int:
        """Size of all copies, and of those that are being fetched."""
        return sum(size for _, size, _ in self._files())

    def _use(self, path: Path, num_bytes: int) -> bool:
        """Whether a copy is there; if so it now counts as the one used last."""
        try:
            if path.stat().st_size != num_bytes:  # cut short when the machine went down
                path.unlink(missing_ok=True)
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        except PermissionError:  # a cache that others filled and we may only read
            pass
        count(Traffic(cache_hits=1))
        return True

    def _fill(self, path: Path, sha256: str, num_bytes: int, pieces: Pieces) -> bool:
        """Fetch a copy, holding its lock; False if its hash is wrong."""
        part = self.folder / f"{sha256}{_PART}"
        digest = hashlib.sha256()
        try:
            with self._reserved(part, num_bytes) as file:
                for piece in pieces():
                    digest.update(piece)
                    file.write(piece)
            if digest.hexdigest() != sha256:
                return False
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return True

    @contextmanager
    def _reserved(self, part: Path, num_bytes: int) -> Iterator[IO[bytes]]:
        """A file to write to, whose whole size is taken from the disk and from the cache's share beforehand."""
        with self._locked("room"):
            self._make_room(num_bytes)
            file = part.open("wb")
            try:
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            except OSError as error:
                file.close()
                part.unlink(missing_ok=True)
                if error.errno in _FULL:
                    raise CacheFullError from None
                raise
        with file:
            yield file

    def _make_room(self, num_bytes: int) -> None:
        """Remove copies, the least recently used first, until so many more bytes fit; and what dead processes left."""
        for part in self.folder.glob(f"*{_PART}"):
            with contextlib.suppress(BlockingIOError), self._locked(part.stem, wait=False):
                part.unlink(missing_ok=True)
        files = sorted(self._files())
        used = sum(size for _, size, _ in files)
        disk = os.statvfs(self.folder)
        room = disk.f_frsize * (disk.f_bavail - int(FREE_SHARE * disk.f_blocks))
        limit = min(self.max_bytes, used + room)
        if num_bytes > limit:
            raise CacheFullError
        for _, size, path in files:
            if used + num_bytes <= limit:
                return
            if path.suffix == _COPY:
                path.unlink(missing_ok=True)
                used -= size
        if used + num_bytes > limit:
            raise CacheFullError

    def _files(self) -> list[tuple[float, int, Path]]:
        """When each file was last used, its size, its path."""
        found = []
        for path in self.folder.iterdir():
            if path.suffix in (_COPY, _PART):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    status = path.stat()
                    found.append((status.st_mtime, status.st_size, path))
        return found

    @contextmanager
    def _locked(self, name: str, *, wait: bool = True) -> Iterator[None]:
        """Hold a lock of this node. Raises BlockingIOError if another holds it and `wait` is False."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}{_LOCK}").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise CacheFullError from None
            if error.filename is None or not str(error.filename).startswith(str(self.folder)):
                raise
            raise WorkError(
                f"the cache folder {self.folder} cannot be used: {error.strerror}; name another one in "
                "data.reader.cache.folder or TEMPORAL_SSL_CACHE, or set data.reader.access=ranged"
            ) from None
