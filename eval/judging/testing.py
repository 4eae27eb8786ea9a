"""Test a network on videos: what is kept of the rows of each video's clips, such as their mean.

In: a split, its test clips, a function from a batch to rows. Out: the rows of all videos in one array, equal on every
rank. All clips of a video go to the same rank. Besides that array, only one video's rows and one block are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shardify.arrays import IntArray
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
Rows = npt.NDArray[Any]
"""Of the floating type that was asked for."""
Kept = Callable[[int, Tensor], Tensor]
"""A sample and float64 (R, D), its rows in the order of its clips -> what is kept of them, (n, D)."""

GATHERED_VIDEOS = 4096
"""How many videos of each rank are sent to the others at a time."""


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
    dtype: npt.DTypeLike = np.float64,
) -> Rows:
    """(V, D) of a `dtype`: the mean over each video's rows, computed in float64. Arguments as of :func:`per_video`."""
    return per_video(
        rows_of,
        shard_set,
        data,
        draw,
        keep=lambda _, rows: rows.mean(dim=0, keepdim=True),
        counts=np.ones_like(positions),
        positions=positions,
        max_clips=max_clips,
        world=world,
        precision=precision,
        seed=seed,
        dtype=dtype,
    )


def per_video(
    rows_of: RowsOf,
    shard_set: ShardSet,
    data: DataConfig,
    draw: DrawClips,
    *,
    keep: Kept,
    counts: IntArray,
    positions: IntArray,
    max_clips: int,
    world: World,
    precision: Precision = "auto",
    seed: int = 0,
    dtype: npt.DTypeLike = np.float64,
) -> Rows:
    """(sum of `counts`, D) of a `dtype`: what is kept of each video, in the order of `positions`.

    `positions`, int64 (V,) and increasing, V >= 1, are the samples to test; the ranks share them. `draw` gives the
    clips of each video, with `seed`; a batch has at most `max_clips`. `rows_of` is called without gradients, in
    `precision`. `keep` gives `counts[i]` rows of the video at `positions[i]`.
    """
    ends = np.cumsum(counts)
    places = [slice(int(end - count), int(end)) for count, end in zip(counts, ends, strict=True)]
    found: Rows | None = None
    num_tested = 0
    with _batches_of_rows(rows_of, shard_set, data, draw, positions, max_clips, world, precision, seed) as batches:
        for sample, rows in _whole_videos(batches):
            kept = keep(sample, rows).numpy()
            if found is None:
                found = np.empty((int(ends[-1]), kept.shape[1]), dtype=dtype)
            place = places[int(np.searchsorted(positions, sample))]
            assert len(kept) == place.stop - place.start, f"{len(kept)} rows are kept of sample {sample}"
            found[place] = kept
            num_tested += 1
    assert num_tested == len(positions[world.rank :: world.size]), "each video comes once"
    return _merged(found, places, world)


@contextmanager
def _batches_of_rows(
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


def _whole_videos(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[int, Tensor]]:
    """Each video's sample and all its rows. The rows of a video come without those of another in between."""
    open_sample, parts = -1, list[Tensor]()
    for rows, samples in batches:
        numbers, lengths = torch.unique_consecutive(samples, return_counts=True)
        for sample, part in zip(numbers.tolist(), torch.split(rows, lengths.tolist()), strict=True):
            if parts and sample != open_sample:
                yield open_sample, torch.cat(parts)
                parts = []
            open_sample = sample
            parts.append(part)
    if parts:
        yield open_sample, torch.cat(parts)


def _merged(mine: Rows | None, places: list[slice], world: World) -> Rows:
    """The rows of all ranks; rank r has those of videos r, r + size, ..., or None if it has no video."""
    merged = mine
    for first in range(0, len(places), GATHERED_VIDEOS * world.size):
        block = places[first : first + GATHERED_VIDEOS * world.size]
        own = block[world.rank :: world.size]
        share = np.concatenate([mine[place] for place in own]) if mine is not None and own else None
        for rank, rows in enumerate(world.gather(share)):
            if rows is None or rank == world.rank:
                continue
            if merged is None:
                merged = np.empty((places[-1].stop, rows.shape[1]), dtype=rows.dtype)
            start = 0
            for place in block[rank :: world.size]:
                length = place.stop - place.start
                merged[place] = rows[start : start + length]
                start += length
    assert merged is not None, "no video was tested"
    return merged


@contextmanager
def _unequal_batches() -> Iterator[None]:
    """Switch off cuDNN's benchmark: it would run again for each number of clips."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
