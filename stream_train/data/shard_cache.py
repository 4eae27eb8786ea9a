"""Whole shards on the node's own disk, fetched once for all its processes, and never more than a given size of them.

In: a shard's sha256 and how to fetch it. Out: a complete, verified copy, open. A copy is named by its sha256, so that
equal shards of any data set are one, and an old copy can never pass for a new shard. Who fetches holds the name's lock,
which ends with the process; the copy appears under its name when it is complete and its hash is right. Who has a copy
open shares a lock on it, and none is removed to make room while anyone does: what is in use counts in full.
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

from shardify.errors import DamageError, WorkError
from shardify.storage.traffic import Traffic, count

Pieces = Callable[[], Iterator[bytes]]
"""Begins to fetch a shard: its bytes, in pieces, from the start. Raises no OSError."""

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

    def find(self, sha256: str, num_bytes: int) -> OpenFile | None:
        """A copy, if there is one; it now counts as the one used last.

        Args:
            sha256: of the shard.
            num_bytes: its size.

        Raises:
            WorkError: if the folder cannot be used.
        """
        with self._reporting():
            return self._find(sha256, num_bytes)

    def fetch(self, sha256: str, num_bytes: int, pieces: Pieces, origin: str) -> OpenFile:
        """A copy, fetched unless another process has done so by the time that this one may.

        Args:
            sha256: of the shard.
            num_bytes: its size.
            pieces: fetches it.
            origin: names the shard in error messages.

        Raises:
            CacheFullError: if there is no room for it.
            DamageError: if what was fetched has another hash, twice.
            WorkError: if the folder cannot be used.
        """
        with self._reporting(), self._locked(sha256):
            if (file := self._find(sha256, num_bytes)) is not None:
                return file
            count(Traffic(cache_misses=1))
            for attempt in range(2):
                count(Traffic(refetches=attempt))
                if (file := self._fill(sha256, num_bytes, pieces)) is not None:
                    return file
        raise DamageError(f"{origin} does not have the sha256 that the manifest gives it, twice in a row")

    def drop(self, file: OpenFile) -> None:
        """Remove a copy that proved to be damaged, not another one that has taken its place meanwhile.

        Raises:
            WorkError: if the folder cannot be used.
        """
        with self._reporting(), contextlib.suppress(FileNotFoundError):
            if os.path.samestat(file.path.stat(), file.status()):
                file.path.unlink()

    def num_bytes(self) -> int:
        """Size of all copies, and of those that are being fetched."""
        return sum(size for _, size, _ in self._files())

    def capacity(self) -> int:
        """Most bytes that the copies, those of today included, can come to; 0 if the folder cannot be used."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return self._limit(self.num_bytes()) if os.access(self.folder, os.W_OK) else 0
        except OSError:
            return 0

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}{_COPY}"

    def _find(self, sha256: str, num_bytes: int) -> OpenFile | None:
        path = self._path(sha256)
        try:
            file = OpenFile(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            return None
        fcntl.flock(file.descriptor, fcntl.LOCK_SH)  # waits only for a process that is about to remove it
        status = file.status()
        if not status.st_nlink:
            return None
        if status.st_size != num_bytes:  # cut short when the machine went down
            self.drop(file)
            return None
        with contextlib.suppress(OSError):  # a cache that others filled and we may only read
            os.utime(file.descriptor)
        return file

    def _fill(self, sha256: str, num_bytes: int, pieces: Pieces) -> OpenFile | None:
        """Fetch a copy, holding its name's lock; None if its hash is wrong."""
        path, part = self._path(sha256), self.folder / f"{sha256}{_PART}"
        part.unlink(missing_ok=True)  # of one that died fetching it
        digest = hashlib.sha256()
        try:
            file = OpenFile(path, self._reserved(part, num_bytes))
            with open(file.descriptor, "wb", closefd=False) as writing:
                for piece in pieces():
                    digest.update(piece)
                    writing.write(piece)
            if digest.hexdigest() != sha256:
                return None
            fcntl.flock(file.descriptor, fcntl.LOCK_SH)
            with self._locked("room"):  # a listing meanwhile might miss it under either name
                part.replace(path)
            return file
        finally:
            part.unlink(missing_ok=True)

    def _reserved(self, part: Path, num_bytes: int) -> int:
        """A new file, whose whole size is taken from the disk and from the cache's share before anything is fetched."""
        with self._locked("room"):
            self._make_room(num_bytes)
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try:
                os.posix_fallocate(descriptor, 0, num_bytes)
            except OSError:
                os.close(descriptor)
                part.unlink(missing_ok=True)
                raise
            return descriptor

    def _make_room(self, num_bytes: int) -> None:
        """Remove unused copies, the least recently used first, until so many more bytes fit, or none if they cannot.

        What dead processes left goes at any rate.
        """
        for part in self.folder.glob(f"*{_PART}"):
            with contextlib.suppress(BlockingIOError), self._locked(part.stem, wait=False):
                part.unlink(missing_ok=True)
        files = sorted(self._files())
        used = sum(size for _, size, _ in files)
        excess = used + num_bytes - self._limit(used)
        copies = [(size, path) for _, size, path in files if path.suffix == _COPY]
        if excess > 0 and excess > sum(size for size, path in copies if _is_unused(path)):
            raise CacheFullError
        for size, path in copies:
            if excess <= 0:
                return
            if _is_unused(path, remove=True):
                excess -= size
        if excess > 0:  # one has been opened meanwhile
            raise CacheFullError

    def _limit(self, used: int) -> int:
        """Most bytes that the files may come to, if they are `used` now."""
        disk = os.statvfs(self.folder)
        return min(self.max_bytes, used + disk.f_frsize * (disk.f_bavail - int(FREE_SHARE * disk.f_blocks)))

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
            try:
                yield
            finally:  # not by closing alone: a process forked meanwhile has the file open, too
                fcntl.flock(lock, fcntl.LOCK_UN)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise CacheFullError from None
            raise WorkError(
                f"the cache folder {self.folder} cannot be used: {error.strerror}; name another one in "
                "data.reader.cache.folder or TEMPORAL_SSL_CACHE, or set data.reader.access=ranged"
            ) from None


def _is_unused(path: Path, *, remove: bool = False) -> bool:
    """Whether a copy is open nowhere and may be removed; if asked, that is done while no process can open it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if remove:
            path.unlink(missing_ok=True)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except (BlockingIOError, PermissionError):
        return False
    finally:
        os.close(descriptor)
    return True


class OpenFile:
    """A local file, open for reading; closed with the last reference to it.

    Args:
        path: names it in error messages.
        descriptor: of the file, from now on this object's.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def status(self) -> os.stat_result:
        """What the file system says of this very file, whatever lies under its path now."""
        return os.fstat(self.descriptor)

    def read(self, start: int, num_bytes: int) -> bytes:
        """Bytes [start, start + num_bytes).

        Raises:
            DamageError: if the disk cannot read them any more.
            WorkError: if the file ends before that.
        """
        try:
            data = os.pread(self.descriptor, num_bytes, start)
        except OSError as error:
            raise DamageError(f"cannot read {self.path} at byte {start}: {error.strerror}; check its disk") from None
        if len(data) != num_bytes:
            raise WorkError(f"{self.path} ends at byte {start + len(data)}, but a frame reaches to {start + num_bytes}")
        return data

    def __del__(self) -> None:
        os.close(self.descriptor)
