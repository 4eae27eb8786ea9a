"""Shards to frame bytes: where the samples of a split lie, and reading chosen frames of one of them.

In: a data set's location and split, a position, frame indices. Out: JPEG bytes, each checked against its crc32.
Start-up needs the manifest alone; a shard's index is loaded when one of its samples is first read and dropped when
enough other shards have been used since.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shardify.errors import WorkError
from shardify.format import Manifest, SampleEntry, ShardIndex, ShardRecord, read_index, read_manifest, shard_name
from shardify.storage import FolderStore, Store, open_store

MAX_GAP_BYTES = 32 * 1024
"""Wanted frames with at most this many unwanted bytes between them are read by one call."""

OPEN_SHARDS = 64
"""Shards whose index and file stay open in a process, unless it is told another number."""

MAX_OPEN_SHARDS = 512
"""More would come close to the usual limit of 1024 open files."""


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

    def sizes_within(self, positions: npt.NDArray[np.int64]) -> tuple[int, ...]:
        """How many of some increasing positions lie in each shard."""
        return tuple(np.diff(np.searchsorted(positions, self.starts)).tolist())

    def locate(self, position: int) -> tuple[ShardRecord, int]:
        """The shard of a position, and the sample's number in it.

        Raises:
            IndexError: if the position is not in [0, num_samples).
        """
        if not 0 <= position < self.num_samples:
            raise IndexError(f"position {position} of a split with {self.num_samples} samples")
        shard = bisect_right(self.starts, position) - 1
        return self.shards[shard], position - self.starts[shard]


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


class FrameReader:
    """Reads chosen frames of samples from local shards. One for each process; holds a bounded number of shards open.

    Args:
        shard_set: the samples.
        open_shards: how many shards' indexes and files to keep.
    """

    def __init__(self, shard_set: ShardSet, open_shards: int = OPEN_SHARDS) -> None:
        self._shard_set = shard_set
        self._store = open_store(shard_set.location)
        self._limit = open_shards
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()

    def entry(self, position: int) -> SampleEntry:
        """The index line of a sample: key, label, length. Errors as :meth:`read`."""
        record, number = self._shard_set.locate(position)
        return self._shard(record).index[number]

    def read(self, position: int, frames: Sequence[int]) -> dict[int, memoryview]:
        """Read frames of a sample.

        Args:
            position: the sample.
            frames: distinct frame indices in increasing order.

        Returns:
            The JPEG bytes by frame index.

        Raises:
            WorkError: if the shard or its index is missing, cut short, or does not match its checksums.
        """
        record, number = self._shard_set.locate(position)
        shard = self._shard(record)
        entry = shard.index[number]
        offsets = entry.frame_offsets(shard.index.packing)
        result: dict[int, memoryview] = {}
        for run in _runs(frames, offsets.tolist(), entry.frame_bytes.tolist()):
            first = int(offsets[run[0]])
            data = memoryview(shard.read(first, int(offsets[run[-1]] + entry.frame_bytes[run[-1]]) - first))
            for frame in run:
                start = int(offsets[frame]) - first
                jpeg = data[start : start + int(entry.frame_bytes[frame])]
                entry.check(frame, jpeg, first + start, shard.name)
                result[frame] = jpeg
        return result

    def _shard(self, record: ShardRecord) -> _OpenShard:
        shard = self._open.get(record.number)
        if shard is None:
            shard = self._open[record.number] = _OpenShard(self._store, record)
            while len(self._open) > self._limit:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(record.number)
        return shard


class _OpenShard:
    """A shard's index and an open file descriptor."""

    def __init__(self, store: Store, record: ShardRecord) -> None:
        assert isinstance(store, FolderStore)
        self.index: ShardIndex = read_index(store, record)
        path = store.path / shard_name(record.number, "tar")
        self.name = str(path)
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise WorkError(f"cannot open {path}: {error.strerror}; run `shardify build` again") from None
        size = os.fstat(self._descriptor).st_size
        if size != record.tar_bytes:
            self.close()
            raise WorkError(
                f"{path} has {size} bytes, but the manifest says {record.tar_bytes}; delete its .json and run "
                "`shardify build` again, or fetch the shard again"
            )

    def read(self, start: int, num_bytes: int) -> bytes:
        data = os.pread(self._descriptor, num_bytes, start)
        if len(data) != num_bytes:
            raise WorkError(f"{self.name} ends at byte {start + len(data)}, but a frame reaches to {start + num_bytes}")
        return data

    def close(self) -> None:
        os.close(self._descriptor)


def _runs(frames: Sequence[int], offsets: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Group increasing frames so that those close to each other in the file are read together."""
    run: list[int] = []
    for frame in frames:
        if run and offsets[frame] - (offsets[run[-1]] + sizes[run[-1]]) > MAX_GAP_BYTES:
            yield run
            run = []
        run.append(frame)
    if run:
        yield run
