"""Finished shards as a sequence of videos, for other programs. Training has a faster reader of its own.

In: the location of shards. Out: samples with their labels, and their frames as arrays.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import overload

import numpy as np
import simplejpeg

from shardify.arrays import ImageArray
from shardify.errors import DamageError, one_line
from shardify.shards.format import shard_name
from shardify.shards.index import SampleEntry, ShardIndex, read_index
from shardify.shards.manifest import Manifest, read_manifest
from shardify.shards.record import ShardRecord
from shardify.storage import open_store
from shardify.storage.store import Store

MAX_INDEXES = 64
"""How many indexes are kept; the least recently used goes."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One video in a shard."""

    key: str
    label: int
    """-1 without a label."""
    fps: float
    """Frames per second of the source; 0 if unknown."""
    num_frames: int
    _entry: SampleEntry = field(repr=False)
    _shard: int = field(repr=False)
    _dataset: Shards = field(repr=False)

    def frames(self, indices: Sequence[int] | None = None) -> ImageArray:
        """Decode frames (all, or those of some indices): uint8 (frames, height, width, 3), RGB.

        Raises as :meth:`pictures`.
        """
        return np.stack(list(self.pictures(indices)))

    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[ImageArray]:
        """The same frames one after the other, uint8 (height, width, 3) each; all of them are read at once.

        Raises DamageError if a frame does not match its checksum or is no JPEG, WorkError if the shard is cut short,
        IndexError for a frame that does not exist.
        """
        store, name = self._dataset.store, shard_name(self._shard, "tar")
        offsets = self._entry.frame_offsets(self._dataset.manifest.packing).tolist()
        sizes, first = self._entry.frame_bytes.tolist(), offsets[0]
        whole = store.read_range(name, first, offsets[-1] + sizes[-1] - first) if indices is None else b""
        for frame in range(self.num_frames) if indices is None else indices:
            if not 0 <= frame < self.num_frames:
                raise IndexError(f"frame {frame} of {self.key}, which has {self.num_frames}")
            start, size = offsets[frame], sizes[frame]
            jpeg = whole[start - first : start - first + size] if whole else store.read_range(name, start, size)
            self._entry.check(frame, jpeg, start, f"{store.location}/{name}")
            try:
                yield simplejpeg.decode_jpeg(jpeg, colorspace="RGB")
            except ValueError as error:
                raise DamageError(
                    f"{store.location}/{name}: frame {frame} of sample {self.key} is not a sound JPEG "
                    f"({one_line(error)}); run `shardify verify --deep`, then rebuild that shard"
                ) from None


@dataclass(frozen=True, kw_only=True)
class Shards(Sequence[Sample]):
    """The videos of a data set or of one of its splits, in the order of the shards."""

    store: Store
    manifest: Manifest
    records: tuple[ShardRecord, ...]
    """The shards, in order."""
    _indexes: dict[int, ShardIndex] = field(repr=False, default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels; empty without labels."""
        return self.manifest.classes

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of all splits of the data set."""
        return tuple(self.manifest.splits)

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        return tuple(accumulate(record.num_samples for record in self.records))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, position: int) -> Sample: ...
    @overload
    def __getitem__(self, position: slice) -> list[Sample]: ...
    def __getitem__(self, position: int | slice) -> Sample | list[Sample]:
        if isinstance(position, slice):
            return [self[number] for number in range(*position.indices(len(self)))]
        if position < 0:
            position += len(self)
        if not 0 <= position < len(self):
            raise IndexError(f"sample {position} of {len(self)}")
        number = bisect_right(self._ends, position)
        record = self.records[number]
        index = self._indexes.pop(number, None)
        if index is None:
            index = read_index(self.store, record)
        self._indexes[number] = index
        if len(self._indexes) > MAX_INDEXES:
            del self._indexes[next(iter(self._indexes))]
        entry = index[position - (self._ends[number] - record.num_samples)]
        return Sample(
            key=entry.key,
            label=entry.label,
            fps=entry.fps,
            num_frames=entry.num_frames,
            _entry=entry,
            _shard=record.number,
            _dataset=self,
        )


def open_shards(location: str | Path, split: str | None = None) -> Shards:
    """Open finished shards in a folder or at a URL; without a split, all samples.

    Raises UsageError if there is no data set or no such split, WorkError if the manifest is damaged.
    """
    store = open_store(location)
    manifest = read_manifest(store)
    return Shards(store=store, manifest=manifest, records=manifest.shards_of(split))
