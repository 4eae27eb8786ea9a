"""Batches: the whole chain from the order of samples to what the trainer sees.

    order -> positions of this rank -> samples -> chosen frame indices -> JPEG bytes -> decoded, cropped clips -> batch

The main process makes the order and the requests; worker processes only carry requests out. So neither their number
nor the number of ranks changes any clip.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from torch.utils.data import Dataset

from shardify.arrays import IntArray
from shardify.errors import UserFacingError
from stream_train.data.batch import Batch, BatchBuilder
from stream_train.data.clips import centre_view, decode_clips, draw_views
from stream_train.data.config import DataConfig
from stream_train.data.order import SampleOrder, slots_of_rank
from stream_train.data.prefetching import BatchRequest, SamplePrefetcher, look_ahead
from stream_train.data.reader import MAX_OPEN_SHARDS, OPEN_SHARDS, ShardSet
from stream_train.data.workers import WorkerResult, load_batches, worker_result
from stream_train.draws import Domain
from stream_train.transformations.sampling import DrawClips


class ClipStream:
    """This rank's slice of each global batch, in order, for a fixed number of batches.

    Args:
        shard_set: the samples.
        config: how they are batched.
        draw: which clips a video gives.
        seed: of the order and of all draws.
        rank: this rank's number.
        world_size: number of ranks.
        start_sample: samples that the run has consumed so far, over all ranks and epochs.
        num_batches: global batches to give.
        positions: the samples of the split that take part, increasing; None is all of them.

    Raises:
        UsageError: if there are more ranks than videos in a batch.
    """

    def __init__(
        self,
        shard_set: ShardSet,
        config: DataConfig,
        draw: DrawClips,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start_sample: int = 0,
        num_batches: int,
        positions: IntArray | None = None,
    ) -> None:
        self._config = config
        self._clips = VideoClips(shard_set, config, draw, seed, Domain.TRAINING, positions)
        self._positions = positions
        self._order = SampleOrder(
            shard_set.shard_sizes if positions is None else shard_set.sizes_within(positions),
            seed=seed,
            num_lanes=config.videos_per_batch,
            window_shards=config.indexed_reader.window_shards,
        )
        self._slots = slots_of_rank(config.videos_per_batch, rank, world_size)
        self._start_sample = start_sample
        self._num_batches = num_batches

    def __iter__(self) -> Iterator[Batch]:
        return load(self._clips, self.requests(), self._config)

    def requests(self) -> Iterator[BatchRequest]:
        """What the batches will be made of; reads nothing."""
        size = self._config.videos_per_batch
        for number in range(self._num_batches):
            first = self._start_sample + number * size
            slots = self._order.slots(first + self._slots.start, first + self._slots.stop)
            if self._positions is not None:
                slots = (replace(slot, position=int(self._positions[slot.position])) for slot in slots)
            yield BatchRequest(number=first // size, slots=tuple(slots))


class VideoClips(Dataset[WorkerResult]):
    """Carries out batch requests: reads, draws, decodes. Lives in the loader's workers.

    Augmentation is drawn in Domain.TRAINING only; the other domains look at the centre.
    """

    def __init__(
        self,
        shard_set: ShardSet,
        config: DataConfig,
        draw: DrawClips,
        seed: int,
        domain: Domain,
        positions: IntArray | None = None,
    ) -> None:
        self.shard_set = shard_set
        self._config = config
        self._draw = draw
        self._seed = seed
        self._domain = domain
        self._positions = positions
        self._prefetcher: tuple[int, SamplePrefetcher] | None = None
        """And the process that it belongs to, with its files, connections and threads."""

    def __getitem__(self, request: BatchRequest) -> WorkerResult:
        try:
            return worker_result(self._load(request))
        except UserFacingError as error:
            if self._prefetcher is not None:
                self._prefetcher[1].close()  # no other sample is waited for
            self._prefetcher = None
            return worker_result(error)

    def _load(self, request: BatchRequest) -> Batch:
        stored = self.shard_set.geometry
        samples = list(self._prefetcher_of_process().samples(request))
        num_clips = sum(len(sample.plans) for sample in samples)
        builder = BatchBuilder(self._config.crop)
        for sample in samples:
            if self._domain is Domain.TRAINING:
                views = draw_views(sample.plans, sample.draws, request.number, self._config, stored)
            else:
                views = [centre_view(self._config, stored)] * len(sample.plans)
            position, label = sample.slot.position, sample.entry.label
            out = builder.add(sample.plans, views, label=label, sample=position, num_clips=num_clips)
            name = f"{self.shard_set.location}, sample {sample.entry.key}"
            decode_clips(sample.jpegs, sample.plans, views, out, stored=stored, name=name)
        return builder.batch()

    def _prefetcher_of_process(self) -> SamplePrefetcher:
        if self._prefetcher is None or self._prefetcher[0] != os.getpid():
            reader = self._config.indexed_reader
            prefetcher = SamplePrefetcher(
                self.shard_set,
                self._draw,
                self._seed,
                self._domain,
                open_shards=_open_shards(self._config),
                substitute=self._domain is Domain.TRAINING and reader.on_damage == "substitute",
                positions=self._positions,
            )
            self._prefetcher = (os.getpid(), prefetcher)
        return self._prefetcher[1]


def load(clips: VideoClips, requests: Iterator[BatchRequest], config: DataConfig) -> Iterator[Batch]:
    """Carry out requests in order, early, in worker processes. Raises UserFacingError: what a worker met."""
    if clips.shard_set.access.kind != "local":
        ahead = config.indexed_reader.ahead_batches
        requests = look_ahead(requests, clips.shard_set, num_workers=config.workers_of_rank, ahead_batches=ahead)
    return load_batches(clips, requests, config, is_remote=clips.shard_set.is_remote)


def _open_shards(config: DataConfig) -> int:
    """Shards that a process keeps open: those of all lanes' windows, twice, so that the next ones can come in."""
    wanted = 2 * config.videos_per_batch * config.indexed_reader.window_shards
    return min(max(OPEN_SHARDS, wanted), MAX_OPEN_SHARDS)
