"""Three ways to read a shard's bytes: from a local folder, in ranges of an object store, or from the node's cache.

In: a shard's record. Out: an :class:`OpenShard`, with its index and byte ranges of its tar; frames are not known here.
The access is chosen once, when a data set is opened, and goes with the data set to the loader's workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import click

from shardify.errors import DamageError, WorkError
from shardify.shards.format import shard_name
from shardify.shards.index import ShardIndex, read_index
from shardify.shards.record import ShardRecord
from shardify.storage.folder_store import FolderStore
from shardify.storage.store import Store
from shardify.storage.traffic import Traffic, count
from stream_train.data.config import IndexedReaderConfig
from stream_train.data.shard_cache import CacheFullError, OpenFile, ShardCache

LOCAL_GAP_BYTES = 32 * 1024
REMOTE_GAP_BYTES = 128 * 1024
"""One call reads two frames if at most this many bytes lie between them; a remote request costs more than a seek."""
PIECE_BYTES = 8 * 1024 * 1024
"""Whole shards are downloaded in pieces of this size; each piece is retried on its own."""


@dataclass(frozen=True, kw_only=True)
class OpenShard:
    """An open shard. It closes with the last reference to it, so that every thread can finish reading."""

    name: str
    """Its path or URL, for error messages."""
    index: ShardIndex
    read: Callable[[int, int], bytes]
    """`read(start, num_bytes)`: raises WorkError if the tar is missing or too short."""
    discard: Callable[[], None] = lambda: None
    """Removes a damaged cached copy; the next opening downloads it again."""


AccessKind = Literal["local", "ranged", "cached"]


class ShardAccess(Protocol):
    """Opens the shards of one data set. Can be pickled."""

    kind: ClassVar[AccessKind]
    max_gap_bytes: ClassVar[int]

    @property
    def store(self) -> Store: ...

    @property
    def description(self) -> str:
        """For the user: the kind of access, and why."""

    def open(self, record: ShardRecord) -> OpenShard:
        """Raises WorkError if the shard or its index is missing, cut short, or does not match the manifest."""

    def prefetch(self, record: ShardRecord) -> None:
        """Download a shard that is needed soon, if this access keeps copies. Errors as :meth:`open`."""


def choose_access(store: Store, shards: tuple[ShardRecord, ...], config: IndexedReaderConfig) -> ShardAccess:
    """The access to a split's shards; see `IndexedReaderConfig.access`."""
    if config.access == "ranged" or (config.access == "auto" and isinstance(store, FolderStore)):
        return direct_access(store)
    cache = ShardCache(config.cache.resolved_folder, config.cache.max_bytes)
    capacity = cache.capacity()
    if config.access == "cached" or sum(shard.tar_bytes for shard in shards) <= capacity:
        return CachedAccess(store, cache)
    room = f"has room for {readable_size(capacity)}" if capacity else "cannot be written"
    return RangedAccess(store, f"; the cache {cache.folder} {room}")


def direct_access(store: Store) -> ShardAccess:
    """Reads shards from their store, without a cache."""
    return LocalAccess(store) if isinstance(store, FolderStore) else RangedAccess(store)


@dataclass
class LocalAccess:
    """Files of a folder, read with pread."""

    store: FolderStore
    kind: ClassVar[AccessKind] = "local"
    max_gap_bytes: ClassVar[int] = LOCAL_GAP_BYTES

    @property
    def description(self) -> str:
        return "local"

    def open(self, record: ShardRecord) -> OpenShard:
        index = read_intact_index(self.store, record)
        path = self.store.path / shard_name(record.number, "tar")
        return OpenShard(name=str(path), index=index, read=open_tar(path, record.tar_bytes).read)

    def prefetch(self, record: ShardRecord) -> None:
        """Nothing is kept."""


@dataclass
class RangedAccess:
    """Byte ranges of objects; keeps no copies."""

    store: Store
    reason: str = ""
    """Why shards are not cached."""
    kind: ClassVar[AccessKind] = "ranged"
    max_gap_bytes: ClassVar[int] = REMOTE_GAP_BYTES

    @property
    def description(self) -> str:
        return f"ranged (only the bytes of the frames that are needed{self.reason})"

    def open(self, record: ShardRecord) -> OpenShard:
        name = shard_name(record.number, "tar")
        index = read_intact_index(self.store, record)
        return OpenShard(name=self.store.url(name), index=index, read=partial(read_existing, self.store, name))

    def prefetch(self, record: ShardRecord) -> None:
        """Nothing is kept."""


@dataclass
class CachedAccess:
    """Copies in the node's cache. A shard that does not fit into the cache is read in ranges."""

    store: Store
    cache: ShardCache
    kind: ClassVar[AccessKind] = "cached"
    max_gap_bytes: ClassVar[int] = LOCAL_GAP_BYTES
    _damaged: set[str] = field(default_factory=set)
    _warned: bool = False

    @property
    def description(self) -> str:
        return f"cached in {self.cache.folder} (at most {self.cache.max_bytes / 1e9:g} GB)"

    def open(self, record: ShardRecord) -> OpenShard:
        file = self.cache.find(record.tar_sha256, record.tar_bytes)
        if file is not None:
            count(Traffic(cache_hits=1))
        else:
            file = self._download(record)
        if file is None:
            return RangedAccess(self.store).open(record)
        return OpenShard(
            name=self.store.url(shard_name(record.number, "tar")),
            index=read_intact_index(self.store, record),
            read=file.read,
            discard=partial(self.cache.drop, file),
        )

    def prefetch(self, record: ShardRecord) -> None:
        if self.cache.find(record.tar_sha256, record.tar_bytes) is None:
            self._download(record)

    def _download(self, record: ShardRecord) -> OpenFile | None:
        """A new copy; None if it does not fit into the cache, or the store's own bytes are damaged."""
        if record.tar_sha256 in self._damaged:
            return None
        name = shard_name(record.number, "tar")

        def pieces() -> Iterator[bytes]:
            for start in range(0, record.tar_bytes, PIECE_BYTES):
                yield read_existing(self.store, name, start, min(PIECE_BYTES, record.tar_bytes - start))

        try:
            return self.cache.download(record.tar_sha256, record.tar_bytes, pieces, self.store.url(name))
        except DamageError:  # only the frames' checksums tell which frames are damaged
            self._damaged.add(record.tar_sha256)
        except CacheFullError:
            self._warn(record)
        return None

    def _warn(self, record: ShardRecord) -> None:
        if not self._warned:
            self._warned = True
            click.echo(
                f"the cache {self.cache.folder} has no room for a shard of {record.tar_bytes:,} bytes (the disk or "
                "data.reader.cache.max_gigabytes is full of shards in use); reading such shards in ranges",
                err=True,
            )


def open_tar(path: Path, num_bytes: int) -> OpenFile:
    """Open a tar of a folder. Raises WorkError if it cannot be opened or its size differs from its record."""
    try:
        file = OpenFile(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise WorkError(f"cannot open {path}: {error.strerror}; run `shardify build` again") from None
    if (size := file.status().st_size) != num_bytes:
        raise WorkError(
            f"{path} has {size} bytes, but the manifest says {num_bytes}; delete its .json and run "
            "`shardify build` again, or download the shard again"
        )
    return file


def read_intact_index(store: Store, record: ShardRecord) -> ShardIndex:
    """A shard's index, read again if it does not match the manifest. Raises WorkError if missing or damaged twice."""
    try:
        return read_index(store, record)
    except DamageError:
        count(Traffic(refetches=1))
    try:
        return read_index(store, record)
    except DamageError as error:
        raise WorkError(str(error)) from None


def read_existing(store: Store, name: str, start: int, num_bytes: int) -> bytes:
    """A byte range of an object. Raises WorkError if the object is missing, too short or unreadable."""
    try:
        return store.read_range(name, start, num_bytes)
    except FileNotFoundError:
        raise WorkError(f"{store.url(name)} is missing; run `shardify build` again, or copy it there again") from None
    except OSError as error:
        raise WorkError(f"cannot read {store.url(name)}: {error.strerror}; check its disk") from None


def readable_size(num_bytes: int) -> str:
    """A size for people: `1.5 GB`, `0.1 MB`."""
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"
