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
    with _rows_of_batches(rows_of, shard_set, data, draw, positions, max_clips, world, precision, seed) as batches:
        for rows, samples in batches:
            numbers, inverse, repeats = torch.unique(samples, return_inverse=True, return_counts=True)
            totals = torch.zeros(len(numbers), rows.shape[1], dtype=torch.float64)
            totals.index_add_(0, inverse, rows)
            for sample, total, count in zip(numbers.tolist(), totals, repeats.tolist(), strict=True):
                sums[sample] = sums[sample] + total if sample in sums else total
                counts[sample] = counts.get(sample, 0) + count
    means = {sample: (total / counts[sample]).numpy() for sample, total in sums.items()}
    merged = _merged(means, world)
    return np.stack([merged[position] for position in cast("list[int]", positions.tolist())])


def per_video_rows(
    rows_of: RowsOf,
    shard_set: ShardSet,
    data: DataConfig,
    draw: DrawClips,
    *,
    positions: IntArray,
    max_clips: int,
    world: World,
    precision: Precision = "auto",
) -> list[FloatArray]:
    """For each video float64 (R, D): its rows in the order of its clips; arguments as of :func:`per_video_means`."""
    found: dict[int, list[Tensor]] = {}
    with _rows_of_batches(rows_of, shard_set, data, draw, positions, max_clips, world, precision, 0) as batches:
        for rows, samples in batches:
            for row, sample in zip(rows, samples.tolist(), strict=True):
                found.setdefault(sample, []).append(row)
    merged = _merged({sample: torch.stack(rows).numpy() for sample, rows in found.items()}, world)
    return [merged[position] for position in cast("list[int]", positions.tolist())]


@contextmanager
def _rows_of_batches(
    rows_of: RowsOf,
    shard_set: ShardSet,
    data: DataConfig,
    draw: DrawClips,
    positions: IntArray,
    max_clips: int,
    world: World,
    precision: Precision,
    seed: int,
) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
    """Each batch's rows, float64 on the CPU, and their samples; a video's rows come in the order of its clips."""
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
        outputs = (rows_of(batch.to(world.device)) for batch in batches)
        yield ((rows.detach().double().cpu(), samples.cpu()) for rows, samples in outputs)


def _merged(mine: dict[int, FloatArray], world: World) -> dict[int, FloatArray]:
    """What all ranks computed, by sample."""
    return {sample: values for share in world.gather(mine) for sample, values in share.items()}


@contextmanager
def _unequal_batches() -> Iterator[None]:
    """Switch off cuDNN's benchmark: it would run again for each number of clips."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
