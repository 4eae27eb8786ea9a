"""From requests to samples: which frames a batch needs, and reading them, early if the store is slow.

In: a :class:`BatchRequest`, which may name the next one. Out: each sample's index entry, draws, clip plans and JPEG
bytes. The calling thread reads folders. For object stores and the cache, threads read the samples of this request and
the next one, and download the shards that later requests need.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, replace
from itertools import chain, islice

import numpy as np

from shardify.arrays import IntArray
from shardify.errors import DamageError
from shardify.shards.index import SampleEntry
from shardify.storage.traffic import Traffic, count
from stream_train.data.clips import frames_needed
from stream_train.data.order import Slot
from stream_train.data.plans import ClipPlan, DrawClips
from stream_train.data.reader import FrameReader, ShardSet
from stream_train.draws import Domain, SampleDraws

SAMPLE_THREADS = 16
"""Samples that a process reads at once."""
SHARD_THREADS = 2
"""Shards that a process prefetches at once."""
MAX_SUBSTITUTES = 100
"""How many samples after a damaged one to try in its place."""


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """The contents of one batch of this rank."""

    number: int
    """The global batch's number."""
    slots: tuple[Slot, ...]
    clips: tuple[int, int] | None = None
    """Half-open range of each video's clips, if a long video is read in parts; None: all clips."""
    following: BatchRequest | None = None
    """The next request to the same process."""
    new_shards: tuple[int, ...] = ()
    """Shards to prefetch for a request some batches later, as numbers within the split."""
    buffer: int | None = None
    """Number of the buffer to write the frames in; None: new memory."""


@dataclass(frozen=True, kw_only=True)
class ReadSample:
    """One video of a batch, ready to be decoded."""

    slot: Slot
    """The sample that was read: the requested one, or its substitute if that was damaged."""
    entry: SampleEntry
    draws: SampleDraws
    plans: Sequence[ClipPlan]
    jpegs: Mapping[int, memoryview]
    """JPEG bytes by frame index, of at least the planned frames."""


@dataclass(eq=False)
class SamplePrefetcher:
    """Reads the samples of requests. One per process."""

    shard_set: ShardSet
    draw: DrawClips
    seed: int
    domain: Domain
    _: KW_ONLY
    open_shards: int
    """How many shards to keep open."""
    substitute: bool = False
    """Whether another sample replaces a damaged one."""
    positions: IntArray | None = None
    """The samples of the split to use, increasing; None: all."""

    def __post_init__(self) -> None:
        self._reader = FrameReader(self.shard_set, self.open_shards)
        kind = self.shard_set.access.kind
        self._threads = None if kind == "local" else ThreadPoolExecutor(SAMPLE_THREADS, "samples")
        self._shard_threads = ThreadPoolExecutor(SHARD_THREADS, "shards") if kind == "cached" else None
        self._begun: dict[tuple[object, ...], list[Future[ReadSample]]] = {}

    def samples(self, request: BatchRequest) -> Iterator[ReadSample]:
        """The samples of a request, in order. Raises WorkError if one can neither be read nor replaced."""
        if self._threads is None:
            yield from (self._sample(slot, request.clips) for slot in request.slots)
            return
        if self._shard_threads is not None:
            for shard in request.new_shards:
                self._shard_threads.submit(self.shard_set.access.prefetch, self.shard_set.shards[shard])
        futures = self._begun.pop(_identity(request), None) or self._begin(request)
        if request.following is not None:
            self._begun[_identity(request.following)] = self._begin(request.following)
        for future in futures:
            start = time.perf_counter()
            sample = future.result()
            count(Traffic(loader_wait_seconds=time.perf_counter() - start))
            yield sample

    def close(self) -> None:
        """Start nothing more; reads that already run continue."""
        for threads in (self._threads, self._shard_threads):
            if threads is not None:
                threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, request: BatchRequest) -> list[Future[ReadSample]]:
        assert self._threads is not None
        return [self._threads.submit(self._sample, slot, request.clips) for slot in request.slots]

    def _sample(self, slot: Slot, clips: tuple[int, int] | None) -> ReadSample:
        try:
            return self._intact_sample(slot, clips)
        except DamageError:
            if not self.substitute:
                raise
        for other in islice(self._after(slot), MAX_SUBSTITUTES):
            try:
                sample = self._intact_sample(other, clips)
            except DamageError:
                continue
            count(Traffic(substitutes=1))
            return sample
        return self._intact_sample(slot, clips)

    def _intact_sample(self, slot: Slot, clips: tuple[int, int] | None) -> ReadSample:
        entry = self._reader.entry(slot.position)
        draws = SampleDraws(self.seed, slot.epoch, slot.position, self.domain)
        plans = self.draw(entry.num_frames, draws)[slice(*(clips or (None,)))]
        jpegs = self._reader.read(slot.position, frames_needed(plans))
        return ReadSample(slot=slot, entry=entry, draws=draws, plans=plans, jpegs=jpegs)

    def _after(self, slot: Slot) -> Iterator[Slot]:
        """All other samples: first those after the slot's in the split, then those before it."""
        if self.positions is None:
            others = chain(range(slot.position + 1, self.shard_set.num_samples), range(slot.position))
        else:
            at = int(np.searchsorted(self.positions, slot.position))
            others = chain(self.positions[at + 1 :].tolist(), self.positions[:at].tolist())
        return (replace(slot, position=position) for position in others)


def look_ahead(
    requests: Iterator[BatchRequest], shard_set: ShardSet, *, num_workers: int, ahead_batches: int
) -> Iterator[BatchRequest]:
    """Fill in `following` and `new_shards` of each request; a shard is named `ahead_batches` before its first use.

    The loader gives requests to its workers in turn, so a worker's next request comes `num_workers` later. With 0
    workers, this process carries out all requests.
    """
    stride = max(num_workers, 1)
    last_use: dict[int, int] = {}
    waiting: deque[BatchRequest] = deque()
    numbered = enumerate(requests)

    def take(count: int) -> tuple[int, ...]:
        """Take `count` more requests; returns the shards that the `ahead_batches` before them did not need."""
        new: dict[int, None] = {}
        for number, request in islice(numbered, count):
            waiting.append(request)
            for shard in (shard_set.shard_of(slot.position) for slot in request.slots):
                if number - last_use.get(shard, -ahead_batches - 1) > ahead_batches:
                    new[shard] = None
                last_use[shard] = number
        return tuple(new)

    new_shards = take(max(stride, ahead_batches) + 1)
    while waiting:
        request = waiting.popleft()
        following = waiting[stride - 1] if len(waiting) >= stride else None
        yield replace(request, following=following, new_shards=new_shards)
        new_shards = take(1)


def _identity(request: BatchRequest) -> tuple[object, ...]:
    return request.number, request.slots, request.clips
