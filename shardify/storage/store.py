"""One small interface to all kinds of storage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """A flat collection of named objects. A write is all or nothing: a name has a whole object, or none."""

    location: str
    """The user's spelling; starts error messages."""

    def read(self, name: str) -> bytes:
        """The whole object. Raises FileNotFoundError if there is none."""

    def read_range(self, name: str, start: int, num_bytes: int) -> bytes:
        """Bytes [start, start + num_bytes). Raises WorkError if the object ends before that."""

    def write(self, name: str, data: bytes) -> None:
        """Write an object atomically and durably; it replaces an earlier one."""

    def create(self, name: str, data: bytes) -> bool:
        """Write an object atomically unless the name exists; returns success. Only one of many creators succeeds."""

    def write_file(self, name: str, path: Path) -> None:
        """Move a finished local file to an object, atomically."""

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        """A local path for a large object before :meth:`write_file`; removed at the end if it still exists."""

    def sizes(self) -> dict[str, int]:
        """Sizes in bytes of all complete objects, sorted by name."""

    def names(self) -> list[str]:
        """Sorted names of all complete objects."""
        return list(self.sizes())

    def size(self, name: str) -> int:
        """Size in bytes. Raises FileNotFoundError if there is no such object."""

    def exists(self, name: str) -> bool: ...

    def delete(self, name: str) -> None:
        """Remove an object; no error if there is none."""

    def url(self, name: str) -> str:
        """The absolute path or URL for stock readers."""
