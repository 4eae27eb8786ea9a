"""One small interface to any storage of named, whole objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """A flat collection of named objects. Writing is all-or-nothing: a name has a whole object, or none."""

    location: str
    """As given by the user; starts error messages."""

    def read(self, name: str) -> bytes:
        """The whole object. Raises FileNotFoundError if there is none."""

    def read_range(self, name: str, start: int, num_bytes: int) -> bytes:
        """Bytes [start, start + num_bytes). Raises WorkError if the object ends before that."""

    def write(self, name: str, data: bytes) -> None:
        """Store an object atomically and durably, replacing any earlier one."""

    def create(self, name: str, data: bytes) -> bool:
        """Store an object atomically unless the name exists; whether it did. Only one of many creators succeeds."""

    def write_file(self, name: str, path: Path) -> None:
        """Store a finished local file as an object, atomically; the file is consumed."""

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        """A local path for a large object before :meth:`write_file`; removed at the end if it is still there."""

    def sizes(self) -> dict[str, int]:
        """Sizes in bytes of all complete objects, by name, sorted."""

    def names(self) -> list[str]:
        """Sorted names of all complete objects."""
        return list(self.sizes())

    def size(self, name: str) -> int:
        """Size in bytes. Raises FileNotFoundError if there is no such object."""

    def exists(self, name: str) -> bool: ...

    def delete(self, name: str) -> None:
        """Remove an object; no error if there is none."""

    def url(self, name: str) -> str:
        """What a stock reader opens: an absolute path or a URL."""
