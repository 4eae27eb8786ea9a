"""Evaluation passes: samples of a split in order and without augmentation, to validate or evaluate networks.

In: a split, a sampler of clips, this rank's number. Out: batches of centre-cropped, unflipped clips. Each sample goes
to exactly one rank.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from shardify.arrays import IntArray
from shardify.progress import counting
from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.loader import VideoClips, load
from stream_train.data.order import Slot
from stream_train.data.plans import DrawClips
from stream_train.data.prefetching import BatchRequest
from stream_train.data.reader import ShardSet, pick_from_indexes
from stream_train.draws import Domain, SampleDraws


def each_sample_once(
    shard_set: ShardSet,
    config: DataConfig,
    draw: DrawClips,
    *,
    seed: int,
    positions: IntArray | None = None,
    repetitions: int = 1,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """The samples at `positions` (None: all) of a split `repetitions` times, each time with other draws.

    Rank r takes batches r, r + world_size, ...; the last batch may be smaller.
    """
    chosen = range(shard_set.num_samples) if positions is None else positions.tolist()
    slots = [Slot(epoch=e, position=p) for e in range(repetitions) for p in chosen]
    size = config.videos_per_batch
    requests = [
        BatchRequest(number=number, slots=tuple(slots[number * size : (number + 1) * size]))
        for number in range(rank, -(-len(slots) // size), world_size)
    ]
    batches = load(VideoClips(shard_set, config, draw, seed, Domain.VALIDATION), iter(requests), max_videos=size)
    return _counted(batches, shard_set, len(requests))


def each_video_whole(
    shard_set: ShardSet,
    config: DataConfig,
    draw: DrawClips,
    *,
    positions: IntArray,
    max_clips: int,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """All clips of the samples at `positions`, int64 (V,); `Batch.sample` tells which sample a clip belongs to.

    Rank r takes samples r, r + world_size, ... of these. A batch holds at most `max_clips` clips: videos with few
    clips share a batch, and videos with more fill several.
    """
    lengths = sample_lengths(shard_set)
    requests: list[BatchRequest] = []
    waiting: list[Slot] = []
    num_waiting = 0
    for position in positions[rank::world_size].tolist():
        slot = Slot(epoch=0, position=position)
        num_clips = len(draw(int(lengths[position]), SampleDraws(seed, 0, position, Domain.VALIDATION)))
        if num_clips > max_clips:
            parts = range(0, num_clips, max_clips)
            requests += [
                BatchRequest(number=0, slots=(slot,), clips=(first, min(first + max_clips, num_clips)))
                for first in parts
            ]
            continue
        if num_waiting + num_clips > max_clips:
            requests.append(BatchRequest(number=0, slots=tuple(waiting)))
            waiting, num_waiting = [], 0
        waiting.append(slot)
        num_waiting += num_clips
    if waiting:
        requests.append(BatchRequest(number=0, slots=tuple(waiting)))
    batches = load(VideoClips(shard_set, config, draw, seed, Domain.VALIDATION), iter(requests), max_clips=max_clips)
    return _counted(batches, shard_set, len(requests))


def _counted(batches: Iterator[Batch], shard_set: ShardSet, total: int) -> Iterator[Batch]:
    """The batches, with their progress for the user."""
    split = f"{shard_set.name} {shard_set.split}" if shard_set.split else shard_set.name
    return counting(batches, unit="part", doing=split, total=total)


def sample_lengths(shard_set: ShardSet) -> Tensor:
    """Int64 (num_samples,): frames of each sample of a split, by position."""
    return torch.from_numpy(np.concatenate(pick_from_indexes(shard_set, lambda index: index.num_frames)))
