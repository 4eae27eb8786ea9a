"""Shards to frame bytes: where the samples of a split lie, and reading chosen frames of one of them.

In: a data set's location and split, a position, frame indices. Out: JPEG bytes, each checked against its crc32.
Start-up needs the manifest alone; a shard's index is loaded when one of its samples is first read and dropped when
enough other shards have been used since.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from shardify.arrays import IntArray
from shardify.errors import DamageError
from shardify.shards.index import SampleEntry, ShardIndex
from shardify.shards.manifest import Manifest, read_manifest
from shardify.shards.record import ShardRecord
from shardify.storage import open_store
from shardify.storage.traffic import Traffic, count
from stream_train.data.shard_access import OpenShard, ShardAccess, direct_access, fetch_index

Picked = TypeVar("Picked")

OPEN_SHARDS = 64
"""Shards whose index and file stay open in a process, unless it is told another number."""

MAX_OPEN_SHARDS = 512
"""More would come close to the usual limit of 1024 open files."""

INDEX_THREADS = 16
"""Indexes fetched at once where all of a split are needed."""


@dataclass(frozen=True, kw_only=True)
class ShardSet:
    """The samples of one split, known from the manifest alone."""

    location: str
    split: str | None
    manifest: Manifest
    shards: tuple[ShardRecord, ...]
    starts: tuple[int, ...]
    """Position of each shard's first sample, and num_samples at the end."""
    fingerprint: str

    @property
    def name(self) -> str:
        """The data set's name, as its manifest gives it."""
        return self.manifest.name

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

    def sizes_within(self, positions: IntArray) -> tuple[int, ...]:
        """How many of some increasing positions lie in each shard."""
        return tuple(np.diff(np.searchsorted(positions, self.starts)).tolist())

    def locate(self, position: int) -> tuple[ShardRecord, int]:
        """The shard of a position, and the sample's number in it; errors as :meth:`place`."""
        place = self.place(position)
        return self.shards[place], position - self.starts[place]

    def place(self, position: int) -> int:
        """Which of the split's shards a position lies in.

        Raises:
            IndexError: if the position is not in [0, num_samples).
        """
        if not 0 <= position < self.num_samples:
            raise IndexError(f"position {position} of a split with {self.num_samples} samples")
        return bisect_right(self.starts, position) - 1


def open_shard_set(location: str | Path, split: str | None) -> ShardSet:
    """Open a split of a data set; None is every sample.

    Raises:
        UsageError: if there is no data set, no such split, or no sample in it.
        WorkError: if the manifest is damaged.
    """
    manifest = read_manifest(open_store(location))
    shards = manifest.shards_of(split)
    starts = np.cumsum([0] + [shard.num_samples for shard in shards])
    return ShardSet(
        location=str(location),
        split=split,
        manifest=manifest,
        shards=shards,
        starts=tuple(int(start) for start in starts),
        fingerprint=manifest.fingerprint(split),
    )


def pick_from_indexes(shard_set: ShardSet, pick: Callable[[ShardIndex], Picked]) -> list[Picked]:
    """Something from each index of a split, in order; the indexes themselves, which are large, are not kept.

    Raises:
        WorkError: if one is missing or damaged.
    """
    store = open_store(shard_set.location)
    with ThreadPoolExecutor(INDEX_THREADS, "indexes") as threads:
        try:
            return list(threads.map(lambda record: pick(fetch_index(store, record)), shard_set.shards))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


class FrameReader:
    """Reads chosen frames of samples. One for each process, for all its threads; holds a bounded number of shards open.

    Args:
        shard_set: the samples.
        access: the way to their bytes; None reads them where they lie.
        open_shards: how many shards' indexes and files to keep.
    """

    def __init__(self, shard_set: ShardSet, access: ShardAccess | None = None, open_shards: int = OPEN_SHARDS) -> None:
        self._shard_set = shard_set
        self._access = access or direct_access(open_store(shard_set.location))
        self._limit = open_shards
        self._open: OrderedDict[int, _Opening] = OrderedDict()
        self._lock = threading.Lock()

    def entry(self, position: int) -> SampleEntry:
        """The index line of a sample: key, label, length. Errors as :meth:`read`."""
        record, number = self._shard_set.locate(position)
        return self.shard(record).index[number]

    def read(self, position: int, frames: Sequence[int]) -> dict[int, memoryview]:
        """Read frames of a sample; once more if they do not match their checksums.

        Args:
            position: the sample.
            frames: distinct frame indices in increasing order.

        Returns:
            The JPEG bytes by frame index.

        Raises:
            DamageError: if a frame does not match its checksum, twice.
            WorkError: if the shard or its index is missing, or cut short.
        """
        record, number = self._shard_set.locate(position)
        shard = self.shard(record)
        try:
            return self._read(shard, number, frames)
        except DamageError:
            count(Traffic(refetches=1))
            shard.discard()
            with self._lock:
                opening = self._open.get(record.number)
                if opening is not None and opening.shard is shard:  # not what another thread has opened since
                    del self._open[record.number]
        return self._read(self.shard(record), number, frames)

    def shard(self, record: ShardRecord) -> OpenShard:
        """A shard, opened by the first thread that asks for it. Errors as :meth:`read`, one for all that wait."""
        with self._lock:
            opening = self._open.setdefault(record.number, _Opening())
            self._open.move_to_end(record.number)
            while len(self._open) > self._limit:
                self._open.popitem(last=False)
        with opening.lock:
            if opening.error is not None:
                raise opening.error
            if opening.shard is None:
                opening.shard = self._try_open(record, opening)
            return opening.shard

    def _try_open(self, record: ShardRecord, opening: _Opening) -> OpenShard:
        try:
            return self._access.open(record)
        except Exception as error:
            opening.error = error
            with self._lock:
                if self._open.get(record.number) is opening:  # who asks later tries again
                    del self._open[record.number]
            raise

    def _read(self, shard: OpenShard, number: int, frames: Sequence[int]) -> dict[int, memoryview]:
        entry = shard.index[number]
        offsets = entry.frame_offsets(shard.index.packing)
        result: dict[int, memoryview] = {}
        for run in _runs(frames, offsets.tolist(), entry.frame_bytes.tolist(), self._access.max_gap_bytes):
            first = int(offsets[run[0]])
            data = memoryview(shard.read(first, int(offsets[run[-1]] + entry.frame_bytes[run[-1]]) - first))
            for frame in run:
                start = int(offsets[frame]) - first
                jpeg = data[start : start + int(entry.frame_bytes[frame])]
                entry.check(frame, jpeg, first + start, shard.name)
                result[frame] = jpeg
        return result


@dataclass(kw_only=True)
class _Opening:
    """A shard that is open, or is being opened by the thread that holds the lock, or could not be."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    shard: OpenShard | None = None
    error: Exception | None = None


def _runs(
    frames: Sequence[int], offsets: Sequence[int], sizes: Sequence[int], max_gap_bytes: int
) -> Iterator[list[int]]:
    """Group increasing frames so that those close to each other in the file are read together."""
    run: list[int] = []
    for frame in frames:
        if run and offsets[frame] - (offsets[run[-1]] + sizes[run[-1]]) > max_gap_bytes:
            yield run
            run = []
        run.append(frame)
    if run:
        yield run
