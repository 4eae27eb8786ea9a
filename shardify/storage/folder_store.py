"""A local folder as a store: an object is a file, written whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from shardify.errors import WorkError
from shardify.storage.store import Store


class FolderStore(Store):
    """A local folder. An object is a file; half-written ones are hidden files that :meth:`names` does not show."""

    TEMPORARY_SUFFIX = ".tmp"

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
            with path.open("wb") as file:
                file.write(data)
            self.write_file(name, path)

    def create(self, name: str, data: bytes) -> bool:
        with self.temporary(name) as path:
            with path.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            try:
                (self.path / name).hardlink_to(path)
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links
                if self.exists(name):
                    return False
                self.write_file(name, path)
        _sync_folder(self.path)
        return True

    def write_file(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(self.path / name)
        _sync_folder(self.path)

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        path = self.path / f".{name}.{os.getpid()}-{uuid4().hex[:8]}{self.TEMPORARY_SUFFIX}"
        try:
            yield path
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise WorkError(
                    f"no space left while writing {self.path / name}; free some and run the same command again, "
                    "nothing finished is lost"
                ) from None
            raise
        finally:
            path.unlink(missing_ok=True)

    def leftovers(self) -> list[Path]:
        """Temporary files of writers that died."""
        return sorted(
            p for p in self.path.iterdir() if p.name.startswith(".") and p.name.endswith(self.TEMPORARY_SUFFIX)
        )

    def remove_leftovers(self) -> None:
        """Delete them; only for who holds the folder alone (see :func:`exclusive`)."""
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


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
