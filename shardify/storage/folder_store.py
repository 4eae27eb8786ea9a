"""A local folder as a store: an object is a file, written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from shardify.errors import WorkError
from shardify.storage.full_disk import full_disk_reported
from shardify.storage.store import Store

NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""How file systems refuse to sync: shared folders of virtual machines, some SMB and FUSE mounts."""


class FolderStore(Store):
    """A local folder. Unfinished objects are hidden files, which :meth:`names` does not list."""

    TEMPORARY_SUFFIX = ".tmp"
    CREATE_LOCK_NAME = ".create.lock"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.location = str(path)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def read_range(self, name: str, start: int, num_bytes: int) -> bytes:
        with (self.path / name).open("rb") as file:
            data = os.pread(file.fileno(), num_bytes, start)
        if len(data) != num_bytes:
            raise WorkError(
                f"{self.path / name} ends at byte {start + len(data)}, but {start + num_bytes} were expected"
            )
        return data

    def write(self, name: str, data: bytes) -> None:
        with self.temporary(name) as path:
            path.write_bytes(data)
            self.write_file(name, path)

    def create(self, name: str, data: bytes) -> bool:
        with self.temporary(name) as path:
            path.write_bytes(data)
            _sync(path)
            try:
                (self.path / name).hardlink_to(path)
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links
                return self._create_under_lock(name, path)
        _sync(self.path)
        return True

    def _create_under_lock(self, name: str, path: Path) -> bool:
        with (self.path / self.CREATE_LOCK_NAME).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.exists(name):
                return False
            self.write_file(name, path)
            return True

    def write_file(self, name: str, path: Path) -> None:
        _sync(path)
        path.replace(self.path / name)
        _sync(self.path)

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        path = self.path / f".{name}.{os.getpid()}-{uuid4().hex[:8]}{self.TEMPORARY_SUFFIX}"
        try:
            with full_disk_reported(f"while writing {self.path / name}"):
                yield path
        finally:
            path.unlink(missing_ok=True)

    def leftovers(self) -> list[Path]:
        """Temporary files of killed writers."""
        return sorted(self.path.glob(f".*{self.TEMPORARY_SUFFIX}"))

    def remove_leftovers(self) -> None:
        """Delete these files; only allowed with an unshared lock on the folder (see :func:`locked`)."""
        for path in self.leftovers():
            path.unlink(missing_ok=True)

    def sizes(self) -> dict[str, int]:
        files = sorted(p for p in self.path.iterdir() if p.is_file() and not p.name.startswith("."))
        return {path.name: path.stat().st_size for path in files}

    def size(self, name: str) -> int:
        return (self.path / name).stat().st_size

    def exists(self, name: str) -> bool:
        return (self.path / name).is_file()

    def delete(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def url(self, name: str) -> str:
        return str((self.path / name).resolve())


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path to write; replaces `path` at the end, but not after an error. WorkError if the disk is full."""
    store = FolderStore(path.parent)
    with store.temporary(path.name) as temporary:
        yield temporary
        store.write_file(path.name, temporary)


def file_sha256(path: Path) -> str:
    """The hexadecimal sha256 of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def can_sync(folder: Path) -> bool:
    """Whether the file system can make sure that a folder's new names are on the disk."""
    return _sync(folder)


def _sync(path: Path) -> bool:
    """Wait until a file, or a folder's list of names, is on the disk; False if the file system cannot say."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
        return False
    finally:
        os.close(descriptor)
    return True
