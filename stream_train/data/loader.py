"""The whole chain from the order of samples to the trainer's batches.

    order -> positions of this rank -> samples -> chosen frame indices -> JPEG bytes -> decoded, cropped clips -> batch

The main process makes the order and the requests; worker processes only carry them out. So the clips do not depend on
the number of workers or ranks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field, replace

from torch.utils.data import Dataset

from shardify.arrays import IntArray
from shardify.errors import UserFacingError, WorkError, system_error
from stream_train.data.batch import Batch, BatchBuilder
from stream_train.data.clips import centre_view, decode_clips, draw_views
from stream_train.data.config import DataConfig
from stream_train.data.handover import BatchMemory, CarriedBatch, FrameBuffers
from stream_train.data.order import SampleOrder, slots_of_rank
from stream_train.data.plans import DrawClips
from stream_train.data.prefetching import BatchRequest, SamplePrefetcher, look_ahead
from stream_train.data.reader import MAX_OPEN_SHARDS, OPEN_SHARDS, ShardSet
from stream_train.data.workers import WorkerResult, load_batches, worker_result
from stream_train.draws import Domain, SampleDraws

HELD_BATCHES = 3
"""Batches that the main process uses at once: in training this one and the next."""
LONG_VIDEO = 10_000
"""Frames of a video that has room for the clips of any task."""


@dataclass(eq=False)
class ClipStream:
    """This rank's slice of each global batch, in order. Raises UsageError for more ranks than videos in a batch."""

    shard_set: ShardSet
    config: DataConfig
    draw: DrawClips
    _: KW_ONLY
    seed: int
    """Seed of the order and of all draws."""
    rank: int = 0
    world_size: int = 1
    start_sample: int = 0
    """Samples that the run has consumed so far, over all ranks and epochs."""
    num_batches: int
    """Number of global batches."""
    positions: IntArray | None = None
    """The samples of the split to use, increasing; None: all."""

    def __post_init__(self) -> None:
        self._slots = slots_of_rank(self.config.videos_per_batch, self.rank, self.world_size)
        sizes = self.shard_set.shard_sizes if self.positions is None else self.shard_set.sizes_within(self.positions)
        window_shards = self.config.indexed_reader.window_shards
        num_lanes = self.config.videos_per_batch
        self._order = SampleOrder(sizes, seed=self.seed, num_lanes=num_lanes, window_shards=window_shards)

    def __iter__(self) -> Iterator[Batch]:
        clips = VideoClips(self.shard_set, self.config, self.draw, self.seed, Domain.TRAINING, self.positions)
        return load(clips, self.requests(), max_videos=len(self._slots))

    def requests(self) -> Iterator[BatchRequest]:
        """The requests for the batches; reads nothing."""
        size = self.config.videos_per_batch
        for number in range(self.num_batches):
            first = self.start_sample + number * size
            slots = self._order.slots(first + self._slots.start, first + self._slots.stop)
            if self.positions is not None:
                slots = (replace(slot, position=int(self.positions[slot.position])) for slot in slots)
            yield BatchRequest(number=first // size, slots=tuple(slots))


@dataclass(eq=False)
class VideoClips(Dataset[WorkerResult]):
    """Carries out batch requests in the loader's workers: reads, draws, decodes.

    Only Domain.TRAINING augments clips; the other domains use the centre crop.
    """

    shard_set: ShardSet
    config: DataConfig
    draw: DrawClips
    seed: int
    domain: Domain
    positions: IntArray | None = None
    buffers: FrameBuffers | None = field(default=None, init=False)
    """Where requests with a buffer's number want their frames."""
    _prefetcher: tuple[int, SamplePrefetcher] | None = field(default=None, init=False)
    """With its process's id: another process must not use its files, connections and threads."""

    def __getitem__(self, request: BatchRequest) -> WorkerResult:
        try:
            return worker_result(self._load(request))
        except (UserFacingError, OSError) as error:
            if self._prefetcher is not None:
                self._prefetcher[1].close()  # do not wait for other samples
            self._prefetcher = None
            return worker_result(WorkError(system_error(error)) if isinstance(error, OSError) else error)

    def _load(self, request: BatchRequest) -> Batch | CarriedBatch:
        stored = self.shard_set.geometry
        samples = list(self._prefetcher_of_process().samples(request))
        num_clips = sum(len(sample.plans) for sample in samples)
        memory = BatchMemory(self.buffers, request.buffer)
        builder = BatchBuilder(self.config.crop, memory.allocate)
        for sample in samples:
            if self.domain is Domain.TRAINING:
                views = draw_views(sample.plans, sample.draws, request.number, self.config, stored)
            else:
                views = [centre_view(self.config, stored)] * len(sample.plans)
            position, label = sample.slot.position, sample.entry.label
            out = builder.add(sample.plans, views, label=label, sample=position, num_clips=num_clips)
            name = f"{self.shard_set.location}, sample {sample.entry.key}"
            decode_clips(sample.jpegs, sample.plans, views, out, stored=stored, name=name)
        return memory.carry(builder.batch())

    def _prefetcher_of_process(self) -> SamplePrefetcher:
        if self._prefetcher is None or self._prefetcher[0] != os.getpid():
            reader = self.config.indexed_reader
            wanted = 2 * self.config.videos_per_batch * reader.window_shards  # all lanes' windows, and the next ones
            prefetcher = SamplePrefetcher(
                self.shard_set,
                self.draw,
                self.seed,
                self.domain,
                open_shards=min(max(OPEN_SHARDS, wanted), MAX_OPEN_SHARDS),
                substitute=self.domain is Domain.TRAINING and reader.on_damage == "substitute",
                positions=self.positions,
            )
            self._prefetcher = (os.getpid(), prefetcher)
        return self._prefetcher[1]


def load(
    clips: VideoClips, requests: Iterator[BatchRequest], *, max_videos: int = 0, max_clips: int = 0
) -> Iterator[Batch]:
    """Carry out requests in order, early, in worker processes. Raises the UserFacingError of a worker.

    A batch has at most `max_videos` whole videos, or `max_clips` clips; batches with more are only slower.
    """
    shard_set, config = clips.shard_set, clips.config
    if shard_set.access.kind != "local":
        ahead = config.indexed_reader.ahead_batches
        requests = look_ahead(requests, shard_set, num_workers=config.workers_of_rank, ahead_batches=ahead)
    if config.workers_of_rank:
        plans = clips.draw(LONG_VIDEO, SampleDraws(clips.seed, 0, 0, clips.domain))
        frames = (max_clips or max_videos * len(plans)) * len(plans[0].indices)
        count = config.workers_of_rank * config.prefetch_batches + HELD_BATCHES
        buffers = clips.buffers = FrameBuffers(frames * config.crop**2 * 3, count)
        requests = (replace(request, buffer=buffers.lend()) for request in requests)
    return load_batches(clips, requests, config, is_remote=shard_set.is_remote)
