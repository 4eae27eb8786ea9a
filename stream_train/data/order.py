"""The order of samples as a pure function, and each rank's slots.

In: each shard's number of samples (from the manifest), seed, epoch, number of lanes, window. Out: positions: indices
0..N-1 into the split's samples in shard order.

An epoch visits every sample once. There is one lane for each video of the global batch. Every shard goes to a lane, and
a lane is shuffled within windows of a few shards. Each slot of a batch draws from one lane, so a rank reads only a few
shards at a time. When the shortest lane is empty, the rest of all other lanes is shuffled together and ends the epoch.
Batches continue across epochs: nothing is dropped, padded or repeated.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from shardify.arrays import IntArray
from shardify.errors import UsageError
from stream_train.draws import Domain, Stream


class _Part(enum.IntEnum):
    DEAL = 0
    CUT = 1
    WINDOW = 2
    TAIL = 3


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One place in the endless stream: a sample, and the epoch of its draws."""

    epoch: int
    position: int


class SampleOrder:
    """The endless, seeded order of a split's samples.

    `shard_sizes` are the numbers of samples of the shards, in the split's order; `num_lanes` is the number of videos in
    a global batch; `window_shards` shards of a lane are shuffled together.
    Raises ValueError if there are no samples, or num_lanes or window_shards is not positive.
    """

    def __init__(self, shard_sizes: Sequence[int], *, seed: int, num_lanes: int, window_shards: int) -> None:
        if num_lanes < 1 or window_shards < 1:
            raise ValueError(f"num_lanes = {num_lanes} and window_shards = {window_shards} must both be positive")
        self.num_samples = sum(shard_sizes)
        if self.num_samples < 1:
            raise ValueError("there are no samples to order")
        self._sizes = list(shard_sizes)
        self._starts = np.cumsum([0, *self._sizes])
        self._seed = seed
        self._num_lanes = num_lanes
        self._window_shards = window_shards
        self._cached: tuple[int, IntArray] | None = None

    def epoch(self, epoch: int) -> IntArray:
        """int64 (num_samples,): every position once, in this epoch's order."""
        if self._cached is None or self._cached[0] != epoch:
            self._cached = (epoch, self._compute(epoch))
        return self._cached[1]

    def slots(self, start: int, stop: int) -> Iterator[Slot]:
        """Places [start, stop) of the endless stream; place g lies in epoch g // num_samples."""
        for place in range(start, stop):
            epoch, within = divmod(place, self.num_samples)
            yield Slot(epoch=epoch, position=int(self.epoch(epoch)[within]))

    def _compute(self, epoch: int) -> IntArray:
        lanes = [self._lane(pieces, lane, epoch) for lane, pieces in enumerate(self._deal(self._pieces(epoch), epoch))]
        shortest = min(len(lane) for lane in lanes)
        body = np.stack([lane[:shortest] for lane in lanes], axis=1).reshape(-1)
        tail = np.concatenate([lane[shortest:] for lane in lanes])
        return np.concatenate((body, tail[self._stream(_Part.TAIL, 0, epoch).permutation(len(tail))]))

    def _pieces(self, epoch: int) -> list[IntArray]:
        """Whole shards. With fewer shards than lanes, each shard is shuffled and cut, so that lanes can share it."""
        shards = [
            np.arange(start, start + size, dtype=np.int64)
            for start, size in zip(self._starts[:-1], self._sizes, strict=True)
            if size
        ]
        if len(shards) >= self._num_lanes:
            return shards
        cuts = -(-self._num_lanes // len(shards))
        pieces: list[IntArray] = []
        for number, shard in enumerate(shards):
            shuffled = shard[self._stream(_Part.CUT, number, epoch).permutation(len(shard))]
            pieces += [piece for piece in np.array_split(shuffled, cuts) if len(piece)]
        return pieces

    def _deal(self, pieces: list[IntArray], epoch: int) -> list[list[IntArray]]:
        """Give pieces to the lane with the fewest samples, largest first, ties at random; then shuffle each lane."""
        rank = self._stream(_Part.DEAL, 0, epoch).permutation(len(pieces))
        by_size = sorted(range(len(pieces)), key=lambda i: (-len(pieces[i]), rank[i]))
        load = [(0, lane) for lane in range(self._num_lanes)]
        dealt: list[list[int]] = [[] for _ in range(self._num_lanes)]
        for i in by_size:
            samples, lane = heapq.heappop(load)
            dealt[lane].append(i)
            heapq.heappush(load, (samples + len(pieces[i]), lane))
        return [[pieces[i] for i in sorted(lane, key=lambda i: int(rank[i]))] for lane in dealt]

    def _lane(self, pieces: list[IntArray], lane: int, epoch: int) -> IntArray:
        stream = self._stream(_Part.WINDOW, lane, epoch)
        windows = [np.empty(0, dtype=np.int64)]
        for first in range(0, len(pieces), self._window_shards):
            window = np.concatenate(pieces[first : first + self._window_shards])
            windows.append(window[stream.permutation(len(window))])
        return np.concatenate(windows)

    def _stream(self, part: _Part, item: int, epoch: int) -> Stream:
        return Stream(self._seed, Domain.ORDER, (int(part), item, epoch))


def slots_of_rank(videos_per_batch: int, rank: int, world_size: int) -> range:
    """A rank's contiguous, nearly equal share of a batch's slots. Raises UsageError for more ranks than slots."""
    if world_size > videos_per_batch:
        raise UsageError(
            f"{world_size} ranks share data.videos_per_batch = {videos_per_batch} videos, so some would have none; "
            "start at most that many ranks or raise data.videos_per_batch"
        )
    return range(rank * videos_per_batch // world_size, (rank + 1) * videos_per_batch // world_size)
