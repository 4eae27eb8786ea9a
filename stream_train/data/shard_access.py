"""The three ways to the bytes of a shard: in place in a folder, in ranges from an object store, or by the node's cache.

In: a shard's record. Out: an :class:`OpenShard`, its index and chosen ranges of its tar. Nothing here knows of frames.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

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
"""Wanted frames with at most so many unwanted bytes between them are read by one call: a request costs more than a
seek."""
PIECE_BYTES = 8 * 1024 * 1024
"""Whole shards are fetched in pieces of this size, each tried again on its own."""

AccessKind = Literal["local", "ranged", "cached"]


@dataclass(frozen=True, kw_only=True)
class OpenShard:
    """A shard that can be read. Closed when nothing refers to it any more, so any thread may go on reading."""

    name: str
    """Where it lies, for error messages."""
    index: ShardIndex
    read: Callable[[int, int], bytes]
    """`read(start, num_bytes)`: raises WorkError if the tar is missing or ends before that."""
    discard: Callable[[], None] = lambda: None
    """If this is a copy: it proved to be damaged, so that the next opening is to fetch it anew."""


class ShardAccess(Protocol):
    """Opens shards of one data set."""

    kind: AccessKind
    max_gap_bytes: int

    def open(self, record: ShardRecord) -> OpenShard:
        """Raises WorkError if the shard or its index is missing, cut short, or does not match the manifest."""

    def prepare(self, record: ShardRecord) -> None:
        """Bring a shard near that is soon to be opened, as far as this access keeps any. Errors as :meth:`open`."""


def choose_access(store: Store, shards: tuple[ShardRecord, ...], config: IndexedReaderConfig) -> AccessKind:
    """What a config's `access` means for these shards.

    Args:
        store: where they lie.
        shards: the split's.
        config: see `IndexedReaderConfig.access`.
    """
    if config.access == "cached":
        return "cached"
    if isinstance(store, FolderStore):
        return "local"
    if config.access == "ranged":
        return "ranged"
    fits = sum(shard.tar_bytes for shard in shards) <= open_cache(config).capacity()
    return "cached" if fits else "ranged"


def direct_access(store: Store) -> ShardAccess:
    """Reads shards where they lie, without a cache."""
    return LocalAccess(store) if isinstance(store, FolderStore) else RangedAccess(store)


def open_access(store: Store, kind: AccessKind, config: IndexedReaderConfig) -> ShardAccess:
    """The access of a kind, for this process."""
    if kind == "cached":
        return CachedAccess(store, open_cache(config))
    return direct_access(store)


def open_cache(config: IndexedReaderConfig) -> ShardCache:
    """The node's cache that a config names."""
    return ShardCache(config.cache.resolved_folder, config.cache.max_bytes)


class LocalAccess:
    """Files of a folder, read with pread."""

    kind: AccessKind = "local"
    max_gap_bytes = LOCAL_GAP_BYTES

    def __init__(self, store: FolderStore) -> None:
        self._store = store

    def open(self, record: ShardRecord) -> OpenShard:
        index = fetch_index(self._store, record)
        path = self._store.path / shard_name(record.number, "tar")
        return OpenShard(name=str(path), index=index, read=open_tar(path, record.tar_bytes).read)

    def prepare(self, record: ShardRecord) -> None:
        """Nothing is kept."""


class RangedAccess:
    """Ranges of objects; nothing is kept."""

    kind: AccessKind = "ranged"
    max_gap_bytes = REMOTE_GAP_BYTES

    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self, record: ShardRecord) -> OpenShard:
        name = shard_name(record.number, "tar")
        return OpenShard(
            name=self._store.url(name),
            index=fetch_index(self._store, record),
            read=partial(read_existing, self._store, name),
        )

    def prepare(self, record: ShardRecord) -> None:
        """Nothing is kept."""


class CachedAccess:
    """Copies in the node's cache. A shard that the cache cannot hold is read in ranges instead."""

    kind: AccessKind = "cached"
    max_gap_bytes = LOCAL_GAP_BYTES

    def __init__(self, store: Store, cache: ShardCache) -> None:
        self._store = store
        self._cache = cache
        self._ranged = RangedAccess(store)
        self._damaged: set[str] = set()
        self._warned = False

    def open(self, record: ShardRecord) -> OpenShard:
        file = self._found(record)
        if file is not None:
            count(Traffic(cache_hits=1))
        else:
            file = self._fetched(record)
        if file is None:
            return self._ranged.open(record)
        return OpenShard(
            name=self._name(record),
            index=fetch_index(self._store, record),
            read=file.read,
            discard=partial(self._cache.drop, file),
        )

    def prepare(self, record: ShardRecord) -> None:
        if self._found(record) is None:
            self._fetched(record)

    def _found(self, record: ShardRecord) -> OpenFile | None:
        return self._cache.find(record.tar_sha256, record.tar_bytes)

    def _fetched(self, record: ShardRecord) -> OpenFile | None:
        """A new copy; None if the cache cannot hold it, or what comes is damaged."""
        if record.tar_sha256 in self._damaged:
            return None
        try:
            return self._cache.fetch(
                record.tar_sha256, record.tar_bytes, partial(self._pieces, record), self._name(record)
            )
        except DamageError:  # which frames are damaged only their own checksums tell
            self._damaged.add(record.tar_sha256)
        except CacheFullError:
            self._warn(record)
        return None

    def _name(self, record: ShardRecord) -> str:
        return self._store.url(shard_name(record.number, "tar"))

    def _pieces(self, record: ShardRecord) -> Iterator[bytes]:
        name = shard_name(record.number, "tar")
        for start in range(0, record.tar_bytes, PIECE_BYTES):
            yield read_existing(self._store, name, start, min(PIECE_BYTES, record.tar_bytes - start))

    def _warn(self, record: ShardRecord) -> None:
        if not self._warned:
            self._warned = True
            click.echo(
                f"the cache {self._cache.folder} has no room for a shard of {record.tar_bytes:,} bytes (the disk or "
                "data.reader.cache.max_gigabytes is full of shards in use); reading such shards in ranges",
                err=True,
            )


def open_tar(path: Path, num_bytes: int) -> OpenFile:
    """Open a tar of a folder. Raises WorkError if it cannot be opened or has another size than its record says."""
    try:
        file = OpenFile(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise WorkError(f"cannot open {path}: {error.strerror}; run `shardify build` again") from None
    if (size := file.status().st_size) != num_bytes:
        raise WorkError(
            f"{path} has {size} bytes, but the manifest says {num_bytes}; delete its .json and run "
            "`shardify build` again, or fetch the shard again"
        )
    return file


def fetch_index(store: Store, record: ShardRecord) -> ShardIndex:
    """A shard's index, fetched once more if it does not match the manifest.

    Raises:
        WorkError: if it is missing, or damaged: without it no sample of the shard can be told from another.
    """
    try:
        return read_index(store, record)
    except DamageError:
        count(Traffic(refetches=1))
    try:
        return read_index(store, record)
    except DamageError as error:
        raise WorkError(str(error)) from None


def read_existing(store: Store, name: str, start: int, num_bytes: int) -> bytes:
    """A range of an object. Raises WorkError if it cannot be read, the object is missing, or ends before that."""
    try:
        return store.read_range(name, start, num_bytes)
    except FileNotFoundError:
        raise WorkError(f"{store.url(name)} is missing; run `shardify build` again, or copy it there again") from None
    except OSError as error:
        raise WorkError(f"cannot read {store.url(name)}: {error.strerror}; check its disk") from None
