"""Batches: the whole way from the order of samples to what the trainer sees.

    order -> slots of this rank -> samples -> chosen frame indices -> JPEG bytes -> decoded, cropped clips -> batch

The order and the requests are made in the main process; worker processes only carry requests out, so neither their
number nor the number of ranks changes any clip.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from shardify.arrays import IntArray
from shardify.errors import UsageError, UserFacingError
from shardify.process import usable_cores
from shardify.storage.locations import is_url
from stream_train.data.batch import Batch
from stream_train.data.clips import ClipDecoder, ClipView, centre_view, check_crop, draw_views
from stream_train.data.config import ClipConfig, DataConfig, IndexedReaderConfig
from stream_train.data.fetching import BatchRequest, DrawClips, SampleFetcher, look_ahead
from stream_train.data.order import SampleOrder, slots_of_rank
from stream_train.data.reader import MAX_OPEN_SHARDS, OPEN_SHARDS, ShardSet
from stream_train.data.workers import Delivery, delivered, delivery, make_loader
from stream_train.draws import Domain
from stream_train.transformations.sampling import ClipPlan


class ClipStream:
    """This rank's slice of each global batch, in order, for a fixed number of batches.

    Args:
        shard_set: the samples.
        config: how they are read.
        draw: which clips a video gives.
        seed: of the order and of all draws.
        rank: this rank's number.
        world_size: number of ranks.
        start_sample: samples that the run has consumed so far, over all ranks and epochs.
        num_batches: global batches to give.
        positions: the samples of the split that take part, increasing; None is all of them.

    Raises:
        UsageError: if the crop does not fit into the frames, or there are more ranks than videos in a batch.
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
        check_crop(config, shard_set.geometry)
        check_ranks(config, world_size)
        assert isinstance(config.reader, IndexedReaderConfig)
        self._config = config
        self._clips = VideoClips(shard_set, config, draw, seed, Domain.TRAINING, positions)
        self._positions = positions
        self._order = SampleOrder(
            shard_set.shard_sizes if positions is None else shard_set.sizes_within(positions),
            seed=seed,
            num_lanes=config.videos_per_batch,
            window_shards=config.reader.window_shards,
        )
        self._slots = slots_of_rank(config.videos_per_batch, rank, world_size)
        self._start_sample = start_sample
        self._num_batches = num_batches

    def __iter__(self) -> Iterator[Batch]:
        return load(self._clips, self.requests(), self._config)

    def requests(self) -> Iterator[BatchRequest]:
        """What the batches will be made of; costs no reading."""
        size = self._config.videos_per_batch
        for number in range(self._num_batches):
            first = self._start_sample + number * size
            slots = self._order.slots(first + self._slots.start, first + self._slots.stop)
            if self._positions is not None:
                slots = (replace(slot, position=int(self._positions[slot.position])) for slot in slots)
            yield BatchRequest(number=first // size, slots=tuple(slots))


class VideoClips(Dataset[Delivery]):
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
        self._tools: tuple[int, SampleFetcher, ClipDecoder] | None = None

    def __getitem__(self, request: BatchRequest) -> Delivery:
        try:
            return delivery(self._load(request))
        except UserFacingError as error:
            self._close()  # none of the other samples is waited for
            return delivery(error)

    def _load(self, request: BatchRequest) -> Batch:
        fetcher, decoder = self._process_tools()
        samples = list(fetcher.fetch(request))
        num_clips = sum(len(sample.plans) for sample in samples)
        builder = BatchBuilder(self._config)
        for sample in samples:
            plans, position = sample.plans, sample.slot.position
            if self._domain is Domain.TRAINING:
                views = draw_views(plans, sample.draws, request.number, self._config, self.shard_set.geometry)
            else:
                views = [centre_view(self._config, self.shard_set.geometry)] * len(plans)
            out = builder.add(plans, views, label=sample.entry.label, sample=position, num_clips=num_clips)
            origin = f"{self.shard_set.location}, sample {sample.entry.key}"
            decoder.decode(sample.jpegs, plans, views, out, origin=origin)
        return builder.batch()

    def _close(self) -> None:
        if self._tools is not None and self._tools[0] == os.getpid():
            self._tools[1].close()
        self._tools = None

    def _process_tools(self) -> tuple[SampleFetcher, ClipDecoder]:
        """Open files, connections, threads and buffers belong to one process: a forked worker makes its own."""
        if self._tools is None or self._tools[0] != os.getpid():
            assert isinstance(self._config.reader, IndexedReaderConfig)
            fetcher = SampleFetcher(
                self.shard_set,
                self._config.reader,
                self._draw,
                self._seed,
                self._domain,
                open_shards=open_shards(self._config),
                positions=self._positions,
            )
            self._tools = (os.getpid(), fetcher, ClipDecoder(self._config, self.shard_set.geometry))
        return self._tools[1], self._tools[2]


class BatchBuilder:
    """Collects videos' clips into one Batch, with a single array for all frames."""

    def __init__(self, config: ClipConfig) -> None:
        self._config = config
        self._frames: torch.Tensor | None = None
        self._plans: list[ClipPlan] = []
        self._views: list[ClipView] = []
        self._labels: list[int] = []
        self._samples: list[int] = []

    def __len__(self) -> int:
        return len(self._plans)

    def add(
        self, plans: Sequence[ClipPlan], views: Sequence[ClipView], *, label: int, sample: int, num_clips: int
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Append a video's clips; returns the uint8 (clips, T, crop, crop, 3) array to decode them into.

        Args:
            plans: the video's clips, all of one length.
            views: how each is looked at.
            label: the video's class.
            sample: the video's position.
            num_clips: clips of the whole batch, the same at each call.
        """
        if self._frames is None:
            crop = self._config.crop
            self._frames = _empty_frames((num_clips, len(plans[0].indices), crop, crop, 3))
        first = len(self)
        self._plans += plans
        self._views += views
        self._labels += [label] * len(plans)
        self._samples += [sample] * len(plans)
        out: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = self._frames.numpy()[first : len(self)]
        return out

    def batch(self) -> Batch:
        assert self._frames is not None
        colours = [view.colour for view in self._views if view.colour is not None]
        return Batch(
            frames=self._frames,
            motion=torch.tensor([int(plan.motion) for plan in self._plans]),
            speed=torch.tensor([plan.speed for plan in self._plans]),
            motion_mask=torch.tensor([plan.motion_mask for plan in self._plans]),
            flip=torch.tensor([view.flip for view in self._views]),
            label=torch.tensor(self._labels),
            sample=torch.tensor(self._samples),
            target=torch.tensor([plan.target for plan in self._plans]),
            indices=torch.from_numpy(np.stack([plan.indices for plan in self._plans]).astype(np.int32)),
            colour=torch.from_numpy(np.stack(colours)) if colours else None,
        )


def _empty_frames(shape: tuple[int, ...]) -> torch.Tensor:
    """Uint8 memory that is cheap to fill: in a worker already shared, as in torch's own collate, to save a copy."""
    if get_worker_info() is None:
        return torch.from_numpy(np.empty(shape, dtype=np.uint8))  # numpy asks for huge pages
    storage = torch.UntypedStorage._new_shared(math.prod(shape))  # type: ignore[no-untyped-call]  # noqa: SLF001
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def load(clips: VideoClips, requests: Iterator[BatchRequest], config: DataConfig) -> Iterator[Batch]:
    """Carry out requests in order, ahead of time, in worker processes.

    Raises:
        UserFacingError: what a worker met, or that one died.
    """
    assert isinstance(config.reader, IndexedReaderConfig)
    is_remote = is_url(clips.shard_set.location)
    if is_remote or config.reader.access == "cached":
        ahead = config.reader.ahead_batches
        requests = look_ahead(requests, clips.shard_set, num_workers=num_workers(config), ahead_batches=ahead)
    loader = make_loader(
        clips,
        requests,
        num_workers=num_workers(config),
        prefetch_batches=config.prefetch_batches,
        is_remote=is_remote,
    )
    return delivered(loader)


def num_workers(config: DataConfig) -> int:
    """Loader processes of this rank; see DataConfig.num_workers."""
    if config.num_workers is not None:
        return config.num_workers
    ranks_on_node = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(0, min(8, usable_cores() // ranks_on_node - 1))


def open_shards(config: DataConfig) -> int:
    """Shards that a process keeps open: those of all lanes' windows, twice, so that the next ones can come in."""
    window = config.reader.window_shards if config.reader.kind == "indexed" else 1
    return min(max(OPEN_SHARDS, 2 * config.videos_per_batch * window), MAX_OPEN_SHARDS)


def check_ranks(config: DataConfig, world_size: int) -> None:
    """Raises UsageError if there are more ranks than videos in a global batch."""
    if world_size > config.videos_per_batch:
        raise UsageError(
            f"{world_size} ranks share data.videos_per_batch = {config.videos_per_batch} videos, so some would "
            "have none; start at most that many ranks or raise data.videos_per_batch"
        )
