"""Whole shards on the node's disk: downloaded once for all its processes, within a size limit.

In: a shard's sha256 and how to download it. Out: an open, verified copy. A copy's name is its sha256, so equal
shards share one copy, and an old copy is never used for a new shard. The process that downloads holds the name's lock;
the copy gets its name only when its hash is right. A process that has a copy open holds a shared lock on it; such a
copy is never removed and counts in full.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shardify.errors import DamageError, WorkError
from shardify.storage.full_disk import FULL_DISK
from shardify.storage.traffic import Traffic, count

Pieces = Callable[[], Iterator[bytes]]
"""Starts the download of a shard and gives its bytes in pieces. Raises no OSError."""

FREE_SHARE = 0.02
"""Share of the disk that stays free."""

_COPY = ".tar"
_PART = ".part"
_LOCK = ".lock"


class CacheFullError(Exception):
    """There is no room for a shard, even if all unused copies are removed."""


class OpenFile:
    """A local file, open for reading. It owns `descriptor` and closes it with the last reference to the object."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)

    def status(self) -> os.stat_result:
        """The status of the open file; its path may now name another file."""
        return os.fstat(self.descriptor)

    def read(self, start: int, num_bytes: int) -> bytes:
        """Bytes [start, start + num_bytes).

        Raises:
            DamageError: if the disk cannot read them.
            WorkError: if the file is too short.
        """
        try:
            data = os.pread(self.descriptor, num_bytes, start)
        except OSError as error:
            raise DamageError(f"cannot read {self.path} at byte {start}: {error.strerror}; check its disk") from None
        if len(data) != num_bytes:
            raise WorkError(f"{self.path} ends at byte {start + len(data)}, but a frame reaches to {start + num_bytes}")
        return data


class ShardCache:
    """A folder of copies. Any number of processes and threads may use it at once.

    The folder is made if absent. All methods but :meth:`capacity` raise WorkError if it cannot be used.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def find(self, sha256: str, num_bytes: int) -> OpenFile | None:
        """A shard's copy, if there is one; marks it as used now."""
        with self._reporting():
            return self._find(sha256, num_bytes)

    def download(self, sha256: str, num_bytes: int, pieces: Pieces, location: str) -> OpenFile:
        """Download a shard's copy, or wait while another process does; `location` names the shard in errors.

        Raises:
            CacheFullError: if there is no room for it.
            DamageError: if two downloads had the wrong hash.
        """
        with self._reporting(), self._locked(sha256):
            if (file := self._find(sha256, num_bytes)) is not None:
                return file
            count(Traffic(cache_misses=1))
            for attempt in range(2):
                count(Traffic(refetches=attempt))
                if (file := self._fill(sha256, num_bytes, pieces)) is not None:
                    return file
        raise DamageError(f"{location} does not have the sha256 that the manifest gives it, twice in a row")

    def drop(self, file: OpenFile) -> None:
        """Remove a damaged copy, but not a newer copy with the same path."""
        with self._reporting(), contextlib.suppress(FileNotFoundError):
            if os.path.samestat(file.path.stat(), file.status()):
                file.path.unlink()

    def num_bytes(self) -> int:
        """Size of all copies, including running downloads."""
        return sum(size for _, size, _ in self._files())

    def capacity(self) -> int:
        """Most bytes that all copies together can take; 0 if the folder cannot be used."""
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
        if status.st_size != num_bytes:  # cut short when the machine crashed
            self.drop(file)
            return None
        with contextlib.suppress(OSError):  # other users' caches may be read-only for us
            os.utime(file.descriptor)
        return file

    def _fill(self, sha256: str, num_bytes: int, pieces: Pieces) -> OpenFile | None:
        """Download a copy while its name is locked; None if its hash is wrong."""
        path, part = self._path(sha256), self.folder / f"{sha256}{_PART}"
        part.unlink(missing_ok=True)  # left by a process that died
        digest = hashlib.sha256()
        try:
            file = OpenFile(path, self._reserve(part, num_bytes))
            with open(file.descriptor, "wb", closefd=False) as writing:
                for piece in pieces():
                    digest.update(piece)
                    writing.write(piece)
            if digest.hexdigest() != sha256:
                return None
            fcntl.flock(file.descriptor, fcntl.LOCK_SH)
            with self._locked("room"):  # otherwise a listing could miss it under both names
                part.replace(path)
            return file
        finally:
            part.unlink(missing_ok=True)

    def _reserve(self, part: Path, num_bytes: int) -> int:
        """Descriptor of a new file, with its whole size reserved on the disk and in the cache."""
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
        """Remove unused copies, the least recently used first, until `num_bytes` more fit; none if they cannot fit.

        Partial files of dead processes are always removed.
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
        if excess > 0:  # another process has opened one meanwhile
            raise CacheFullError

    def _limit(self, used: int) -> int:
        """Most bytes that the files may take, given that they take `used` now."""
        disk = os.statvfs(self.folder)
        return min(self.max_bytes, used + disk.f_frsize * (disk.f_bavail - int(FREE_SHARE * disk.f_blocks)))

    def _files(self) -> list[tuple[float, int, Path]]:
        """Time of last use, size and path of each file."""
        found = []
        for path in self.folder.iterdir():
            if path.suffix in (_COPY, _PART):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    status = path.stat()
                    found.append((status.st_mtime, status.st_size, path))
        return found

    @contextmanager
    def _locked(self, name: str, *, wait: bool = True) -> Iterator[None]:
        """Hold a lock of this node. Raises BlockingIOError if it is taken and `wait` is False."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}{_LOCK}").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            try:
                yield
            finally:  # closing is not enough: a process forked meanwhile has the file open, too
                fcntl.flock(lock, fcntl.LOCK_UN)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL_DISK:
                raise CacheFullError from None
            raise WorkError(
                f"the cache folder {self.folder} cannot be used: {error.strerror}; name another one in "
                "data.reader.cache.folder or TEMPORAL_SSL_CACHE, or set data.reader.access=ranged"
            ) from None


def _is_unused(path: Path, *, remove: bool = False) -> bool:
    """Whether no process has a copy open and it may be removed; `remove` removes it while no process can open it."""
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
