"""Test a network on videos: the mean of a function over the clips of each video.

In: a split, its test clips, a function from a batch to rows. Out: the mean row of each video, equal on every rank. All
clips of a video go to the same rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch import Tensor

from shardify.arrays import FloatArray, IntArray
from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.evaluation_pass import each_video_whole
from stream_train.data.plans import DrawClips
from stream_train.data.reader import ShardSet
from stream_train.training.config import Precision
from stream_train.training.distributed import World
from stream_train.training.precision import autocast, choose_precision

RowsOf = Callable[[Batch], tuple[Tensor, Tensor]]
"""A batch on the device -> rows (R, D), and int64 (R,) the sample of each row."""


def per_video_means(
    rows_of: RowsOf,
    shard_set: ShardSet,
    data: DataConfig,
    draw: DrawClips,
    *,
    positions: IntArray,
    max_clips: int,
    world: World,
    precision: Precision = "auto",
    seed: int = 0,
) -> FloatArray:
    """float64 (V, D): the mean over each video's rows, in the order of `positions`.

    `positions`, int64 (V,) and increasing, are the samples to test; the ranks share them. `draw` gives the clips of
    each video, with `seed`; a batch has at most `max_clips`. `rows_of` is called without gradients, in `precision`.
    """
    sums: dict[int, Tensor] = {}
    counts: dict[int, int] = {}
    batches = each_video_whole(
        shard_set,
        data,
        draw,
        positions=positions,
        max_clips=max_clips,
        seed=seed,
        rank=world.rank,
        world_size=world.size,
    )
    with torch.inference_mode(), _unequal_batches(), autocast(choose_precision(precision, world.device), world.device):
        for batch in batches:
            rows, samples = rows_of(batch.to(world.device))
            numbers, inverse, repeats = torch.unique(samples.cpu(), return_inverse=True, return_counts=True)
            totals = torch.zeros(len(numbers), rows.shape[1], dtype=torch.float64)
            totals.index_add_(0, inverse, rows.detach().double().cpu())
            for sample, total, count in zip(numbers.tolist(), totals, repeats.tolist(), strict=True):
                sums[sample] = sums[sample] + total if sample in sums else total
                counts[sample] = counts.get(sample, 0) + count
    means = {sample: (total / counts[sample]).numpy() for sample, total in sums.items()}
    everyone = world.gather(means)
    merged = {sample: mean for share in everyone for sample, mean in share.items()}
    return np.stack([merged[position] for position in cast("list[int]", positions.tolist())])


@contextmanager
def _unequal_batches() -> Iterator[None]:
    """Switch off cuDNN's benchmark: it would run again for each number of clips."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
