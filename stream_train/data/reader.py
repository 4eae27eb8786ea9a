"""From shards to frame bytes: the samples of a split, and reading chosen frames of a sample.

In: a data set's location and split, a position, frame indices. Out: JPEG bytes, each checked against its crc32.
Opening a split reads only the manifest. The first read of a shard loads its index; the least recently used is dropped.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from shardify.arrays import IntArray
from shardify.errors import DamageError, UsageError, counted
from shardify.progress import counting
from shardify.shards.index import SampleEntry, ShardIndex
from shardify.shards.manifest import Manifest, read_manifest
from shardify.shards.record import ShardRecord
from shardify.storage import open_store
from shardify.storage.folder_store import FolderStore
from shardify.storage.locations import can_list
from shardify.storage.store import Store
from shardify.storage.traffic import Traffic, count
from stream_train.data.config import DataConfig
from stream_train.data.shard_access import (
    OpenShard,
    ShardAccess,
    choose_access,
    direct_access,
    read_intact_index,
    readable_size,
)

Picked = TypeVar("Picked")

OPEN_SHARDS = 64
"""Default number of shards whose index and file a process keeps open."""
MAX_OPEN_SHARDS = 512
"""More would come close to the usual limit of 1024 open files."""
INDEX_THREADS = 16
"""Indexes read at once if all indexes of a split are needed."""


@dataclass(frozen=True, kw_only=True)
class ShardSet:
    """The samples of one split, known from the manifest, and the access to their bytes."""

    access: ShardAccess
    split: str | None
    manifest: Manifest
    shards: tuple[ShardRecord, ...]
    starts: tuple[int, ...]
    """Position of each shard's first sample, and num_samples at the end."""
    fingerprint: str

    @property
    def store(self) -> Store:
        return self.access.store

    @property
    def location(self) -> str:
        return self.store.location

    @property
    def is_remote(self) -> bool:
        """Whether the shards lie in an object store."""
        return not isinstance(self.store, FolderStore)

    @property
    def name(self) -> str:
        """The data set's name in its manifest."""
        return self.manifest.name

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels; empty without labels."""
        return self.manifest.classes

    @property
    def num_samples(self) -> int:
        return self.starts[-1]

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        return tuple(shard.num_samples for shard in self.shards)

    @property
    def geometry(self) -> tuple[int, int]:
        """Height and width of the stored frames."""
        return self.manifest.height, self.manifest.width

    @property
    def description(self) -> str:
        """For the user: how much data there is, and how it is read."""
        num_bytes = readable_size(sum(shard.tar_bytes for shard in self.shards))
        return f"{counted(len(self.shards), 'shard')}, {num_bytes}, {self.access.description}"

    def sizes_within(self, positions: IntArray) -> tuple[int, ...]:
        """How many of the increasing `positions` lie in each shard."""
        return tuple(np.diff(np.searchsorted(positions, self.starts)).tolist())

    def shard_of(self, position: int) -> int:
        """Number, within the split, of a position's shard. Raises IndexError outside [0, num_samples)."""
        if not 0 <= position < self.num_samples:
            raise IndexError(f"position {position} of a split with {self.num_samples} samples")
        return bisect_right(self.starts, position) - 1

    def locate(self, position: int) -> tuple[ShardRecord, int]:
        """The shard of a position, and the sample's number in it; errors as :meth:`shard_of`."""
        shard = self.shard_of(position)
        return self.shards[shard], position - self.starts[shard]


def open_shard_set(location: str | Path, split: str | None, config: DataConfig | None = None) -> ShardSet:
    """Open a split of a data set; see :func:`shard_set_of` for arguments and errors."""
    return shard_set_of(open_store(location), split, config)


def shard_set_of(store: Store, split: str | None, config: DataConfig | None = None) -> ShardSet:
    """The samples of a split, or of the whole data set if the split is None.

    `config` says how to read them, and its crop must fit the frames. None reads them without a cache.

    Raises:
        UsageError: if there is no data set, no such split, no sample in it, or the crop does not fit.
        WorkError: if the manifest is damaged.
    """
    manifest = _read_manifest(store)
    shards = manifest.shards_of(split)
    if config is not None:
        config.check_crop((manifest.height, manifest.width))
    return ShardSet(
        access=direct_access(store) if config is None else choose_access(store, shards, config.indexed_reader),
        split=split,
        manifest=manifest,
        shards=shards,
        starts=tuple(np.cumsum([0, *(shard.num_samples for shard in shards)]).tolist()),
        fingerprint=manifest.fingerprint(split),
    )


def _read_manifest(store: Store) -> Manifest:
    """The manifest; an error for tars of other programs says who reads them."""
    try:
        return read_manifest(store)
    except UsageError as error:
        if not can_list(store.location) or not any(name.endswith(".tar") for name in store.names()):
            raise
        raise UsageError(
            f"{error}. If its tars are of another program: pre-training reads them with data.reader.kind=sequential; "
            "evaluations and features need shards that `shardify build` made from the videos"
        ) from None


def pick_from_indexes(shard_set: ShardSet, pick: Callable[[ShardIndex], Picked]) -> list[Picked]:
    """Apply `pick` to each index of a split, in order. Raises WorkError if an index is missing or damaged.

    The indexes themselves are large and are not kept.
    """
    with ThreadPoolExecutor(INDEX_THREADS, "indexes") as threads:
        try:
            picked = threads.map(lambda record: pick(read_intact_index(shard_set.store, record)), shard_set.shards)
            total = len(shard_set.shards)
            return list(counting(picked, unit="shard", doing="reading indexes", total=total))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


class FrameReader:
    """Reads chosen frames of samples. One per process, shared by its threads; keeps at most `open_shards` open."""

    def __init__(self, shard_set: ShardSet, open_shards: int = OPEN_SHARDS) -> None:
        self._shard_set = shard_set
        self._limit = open_shards
        self._open: OrderedDict[int, Future[OpenShard]] = OrderedDict()
        """Shards that are open or opening, the last used one at the end; failed ones are removed."""
        self._lock = threading.Lock()

    def entry(self, position: int) -> SampleEntry:
        """The index entry of a sample; errors as :meth:`read`, except for damaged frames."""
        record, number = self._shard_set.locate(position)
        return self.shard(record).index[number]

    def read(self, position: int, frames: Sequence[int]) -> dict[int, memoryview]:
        """JPEG bytes by frame index; `frames` are distinct frame indices of the sample, increasing.

        Raises:
            DamageError: if a frame fails its checksum twice.
            WorkError: if the shard or its index is missing, cut short, or does not match the manifest.
        """
        record, number = self._shard_set.locate(position)
        shard = self.shard(record)
        try:
            return self._read(shard, number, frames)
        except DamageError:
            count(Traffic(refetches=1))
        shard.discard()
        with self._lock:
            opened = self._open.get(record.number)
            if opened is not None and opened.done() and opened.result() is shard:  # else another thread did this
                del self._open[record.number]
        return self._read(self.shard(record), number, frames)

    def shard(self, record: ShardRecord) -> OpenShard:
        """A shard. The first thread opens it; the others wait and share its error. Errors as :meth:`read`."""
        with self._lock:
            future = self._open.get(record.number)
            if is_first := future is None:
                future = self._open[record.number] = Future()
            self._open.move_to_end(record.number)
            while len(self._open) > self._limit:
                self._open.popitem(last=False)
        if is_first:
            try:
                future.set_result(self._shard_set.access.open(record))
            except BaseException as error:
                with self._lock:
                    if self._open.get(record.number) is future:  # the next call tries again
                        del self._open[record.number]
                future.set_exception(error)
                raise
        return future.result()

    def _read(self, shard: OpenShard, number: int, frames: Sequence[int]) -> dict[int, memoryview]:
        entry = shard.index[number]
        offsets = entry.frame_offsets(shard.index.packing)
        result: dict[int, memoryview] = {}
        max_gap = self._shard_set.access.max_gap_bytes
        for run in _runs(frames, offsets.tolist(), entry.frame_bytes.tolist(), max_gap):
            first = int(offsets[run[0]])
            data = memoryview(shard.read(first, int(offsets[run[-1]] + entry.frame_bytes[run[-1]]) - first))
            for frame in run:
                start = int(offsets[frame]) - first
                jpeg = data[start : start + int(entry.frame_bytes[frame])]
                entry.check(frame, jpeg, first + start, shard.name)
                result[frame] = jpeg
        return result


def _runs(
    frames: Sequence[int], offsets: Sequence[int], sizes: Sequence[int], max_gap_bytes: int
) -> Iterator[list[int]]:
    """Group increasing frames; frames that lie close together in the file are read at once."""
    run: list[int] = []
    for frame in frames:
        if run and offsets[frame] - (offsets[run[-1]] + sizes[run[-1]]) > max_gap_bytes:
            yield run
            run = []
        run.append(frame)
    if run:
        yield run
