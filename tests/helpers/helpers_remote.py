"""A made-up object store for tests without a server: a folder behind a store that counts reads and damages some."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shardify.storage.folder_store import FolderStore
from shardify.storage.store import Store

LOCATION = "s3://bucket/made-up"


class RemoteFolder(Store):
    """The objects of a folder as a remote store: no paths, every read counted, some answers wrong on purpose."""

    def __init__(self, folder: Path) -> None:
        self.location = LOCATION
        self._folder = FolderStore(folder)
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        """Reads by name."""
        self.bytes_read: Counter[str] = Counter()
        self.flips: dict[str, int] = {}
        """Name -> how many of the next reads come back with their middle byte changed."""

    def read(self, name: str) -> bytes:
        return self._answer(name, self._folder.read(name))

    def read_range(self, name: str, start: int, num_bytes: int) -> bytes:
        return self._answer(name, self._folder.read_range(name, start, num_bytes))

    def write(self, name: str, data: bytes) -> None:
        self._folder.write(name, data)

    def create(self, name: str, data: bytes) -> bool:
        return self._folder.create(name, data)

    def write_file(self, name: str, path: Path) -> None:
        self._folder.write_file(name, path)

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        with self._folder.temporary(name) as path:
            yield path

    def sizes(self) -> dict[str, int]:
        return self._folder.sizes()

    def size(self, name: str) -> int:
        return self._folder.size(name)

    def exists(self, name: str) -> bool:
        return self._folder.exists(name)

    def delete(self, name: str) -> None:
        self._folder.delete(name)

    def url(self, name: str) -> str:
        return f"{self.location}/{name}"

    def _answer(self, name: str, data: bytes) -> bytes:
        with self._lock:
            self.requests[name] += 1
            self.bytes_read[name] += len(data)
            if self.flips.get(name, 0):
                self.flips[name] -= 1
                middle = len(data) // 2
                return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        return data
