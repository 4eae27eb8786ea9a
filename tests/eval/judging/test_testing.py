"""Means over each video's clips, against a slow loop over the pictures; whoever shares the work."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import pytest
import simplejpeg
import torch
from helpers_datasets import numbered_jpeg
from helpers_eval import LENGTHS, write_eval_dataset
from torch import Tensor

from eval.judging.subsequences import TestClips
from eval.judging.testing import per_video, per_video_means
from shardify.arrays import FloatArray, IntArray
from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.plans import ClipPlan, DrawClips
from stream_train.data.reader import ShardSet, open_shard_set
from stream_train.draws import SampleDraws
from stream_train.training.distributed import World
from stream_train.transformations.subsequences import draw_subsequence, plan_of

Value = TypeVar("Value")
DATA = DataConfig(crop=16, num_workers=0, crop_scope="clip", flip_scope="clip", colour="frame")
"""Augmentation that must not touch a test."""
FIRST_VIDEO = 16
"""Number of test1's first video in the data set."""
NUM_CLIPS = [2, 2, 1, 8, 15, 11, 6, 1]
"""Of test1's videos, which have 17, 62, 5, 23, 45, 26, 21 and 16 frames: at most at stride 4."""
EVERYONE = list(range(8))
CLIPS = TestClips()


@pytest.fixture(scope="module")
def shard_set(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """test1 of numbered pictures; read-only."""
    return open_shard_set(write_eval_dataset(tmp_path_factory.mktemp("numbered")), "test1")


def colour_sums(batch: Batch) -> tuple[Tensor, Tensor]:
    """Rows that are exact, whatever else is in a batch: the sums of red, green and blue over each clip's pixels."""
    return batch.frames.long().sum(dim=(1, 2, 3)), batch.sample


@lru_cache
def slow_rows(draw: DrawClips, position: int) -> IntArray:
    """The sums of each clip of a video, from pictures centre-cropped from 48 x 64 to 16 x 16, a clip at a time."""
    rows = []
    for plan in draw(LENGTHS[2][position], SampleDraws(0, 0, position)):
        row = np.zeros(3, dtype=np.int64)
        for frame in plan.indices.tolist():
            pixels = simplejpeg.decode_jpeg(numbered_jpeg(FIRST_VIDEO + position, frame))[16:32, 24:40]
            row += pixels.astype(np.int64).sum(axis=(0, 1))
        rows.append(row)
    return np.array(rows)


def slow_means(draw: DrawClips, positions: list[int]) -> FloatArray:
    """The same means from the pictures themselves."""
    return np.stack([slow_rows(draw, position).mean(axis=0) for position in positions])


def means(shard_set: ShardSet, draw: DrawClips = CLIPS, **changes: Any) -> FloatArray:
    """Of all videos in batches of 7, but for what is changed."""
    values: dict[str, Any] = {
        "rows_of": colour_sums,
        "shard_set": shard_set,
        "data": DATA,
        "draw": draw,
        "positions": np.array(EVERYONE),
        "max_clips": 7,
        "world": World(),
    }
    return per_video_means(**values | changes)


@pytest.mark.parametrize("max_clips", [1, 2, 5, 7, 15, 1000])
def test_means_are_those_of_the_slow_loop(shard_set: ShardSet, max_clips: int) -> None:
    """However videos are cut into batches."""
    found = means(shard_set, max_clips=max_clips)
    assert found.dtype == np.float64
    assert np.array_equal(found, slow_means(CLIPS, EVERYONE))


def test_only_the_chosen_videos_in_their_order(shard_set: ShardSet) -> None:
    chosen = [1, 2, 5, 7]
    found = means(shard_set, positions=np.array(chosen))
    assert np.array_equal(found, slow_means(CLIPS, chosen))


def test_batches_are_as_large_as_allowed_and_no_larger(shard_set: ShardSet) -> None:
    """At most 7: 8, 15 and 11 clips are cut into 7 + 1, 7 + 7 + 1 and 7 + 4; 2 + 2 + 1 and 6 + 1 share a batch."""
    sizes: list[int] = []
    seen: Counter[tuple[int, tuple[int, ...]]] = Counter()

    def rows_of(batch: Batch) -> tuple[Tensor, Tensor]:
        assert torch.is_inference_mode_enabled()
        assert not batch.flip.any()
        assert batch.colour is None
        sizes.append(len(batch))
        seen.update(zip(batch.sample.tolist(), map(tuple, batch.indices.tolist()), strict=True))
        return colour_sums(batch)

    means(shard_set, rows_of=rows_of)
    assert sorted(sizes) == [1, 1, 4, 5, 7, 7, 7, 7, 7]
    assert set(seen.values()) == {1}
    assert [sum(1 for sample, _ in seen if sample == position) for position in range(8)] == NUM_CLIPS


def test_rows_need_not_be_clips(shard_set: ShardSet) -> None:
    """A row for each pair of clips, as the synchronisation has them; 23, 45 and 26 frames get 3, 1 and 3 pairs here."""

    def draw(num_frames: int, _: SampleDraws) -> tuple[ClipPlan, ...]:
        shifts = range(1, 2 + num_frames % 3)
        return tuple(plan_of(start + np.arange(16)) for shift in shifts for start in (0, shift))

    def rows_of(batch: Batch) -> tuple[Tensor, Tensor]:
        shifts = batch.indices[1::2, 0] - batch.indices[0::2, 0]
        return torch.stack((shifts, shifts**2), dim=1), batch.sample[::2]

    expected = np.array([[2, 14 / 3], [1, 1], [2, 14 / 3]])
    for max_clips in (2, 4, 64):
        found = means(shard_set, draw, rows_of=rows_of, positions=np.array([3, 4, 5]), max_clips=max_clips)
        np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_what_is_kept_of_each_video_may_be_several_rows(shard_set: ShardSet) -> None:
    """The first `video + 1` of its rows, however its clips are cut into batches and shared by ranks."""

    def keep(video: int, rows: Tensor) -> Tensor:
        return rows[: video % 2 + 1].float()

    positions = np.array([0, 3, 4, 5])
    rows = [slow_rows(CLIPS, position)[: position % 2 + 1] for position in positions.tolist()]
    for max_clips in (1, 7, 64):
        found = per_video(
            colour_sums,
            shard_set,
            DATA,
            CLIPS,
            keep=keep,
            counts=positions % 2 + 1,
            positions=positions,
            max_clips=max_clips,
            world=World(),
            dtype=np.float32,
        )
        assert found.dtype == np.float32
        assert np.array_equal(found, np.concatenate(rows))


# Sharing the work


@dataclass(frozen=True, kw_only=True)
class Peer(World):
    """One of several ranks that are threads."""

    shares: list[Any]
    barrier: threading.Barrier

    def gather(self, value: Value) -> list[Value]:
        self.shares[self.rank] = value
        self.barrier.wait(timeout=60)
        gathered = list(self.shares)
        self.barrier.wait(timeout=60)
        return gathered


def by_ranks(shard_set: ShardSet, size: int, **changes: Any) -> list[tuple[FloatArray, list[int]]]:
    """What each rank returns, and whose clips it saw."""
    shares: list[Any] = [None] * size
    barrier = threading.Barrier(size)

    def run(rank: int) -> tuple[FloatArray, list[int]]:
        seen: list[int] = []

        def rows_of(batch: Batch) -> tuple[Tensor, Tensor]:
            seen.extend(batch.sample.tolist())
            return colour_sums(batch)

        world = Peer(rank=rank, size=size, shares=shares, barrier=barrier)
        return means(shard_set, rows_of=rows_of, world=world, **changes), seen

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))


@pytest.mark.parametrize(("size", "at_once"), [(1, 4096), (2, 4096), (2, 1), (3, 1), (3, 2), (11, 1)])
def test_ranks_share_the_videos(shard_set: ShardSet, size: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank has the same bits as one process; every clip of every video is seen once, by one rank."""
    monkeypatch.setattr("eval.judging.testing.GATHERED_VIDEOS", at_once)
    expected = slow_means(CLIPS, EVERYONE)
    results = by_ranks(shard_set, size)
    assert all(np.array_equal(found, expected) for found, _ in results)
    clips = Counter(sample for _, seen in results for sample in seen)
    assert [clips[position] for position in range(8)] == NUM_CLIPS
    assert sum(len(set(seen)) for _, seen in results) == 8
    assert sum(bool(seen) for _, seen in results) == min(size, 8)


def test_ranks_share_the_chosen_videos(shard_set: ShardSet) -> None:
    """Positions, not the numbers of the split, are dealt out; and more ranks than videos is no error."""
    chosen = np.array([1, 3, 5])
    expected = slow_means(CLIPS, chosen.tolist())
    results = by_ranks(shard_set, 4, positions=chosen)
    assert all(np.array_equal(found, expected) for found, _ in results)
    assert [sorted(set(seen)) for _, seen in results] == [[1], [3], [5], []]


def test_worker_processes_change_nothing(shard_set: ShardSet) -> None:
    found = means(shard_set, data=DATA.model_copy(update={"num_workers": 2}), max_clips=9)
    assert np.array_equal(found, slow_means(CLIPS, EVERYONE))


def test_draws_are_the_seed_s_and_not_those_of_training(shard_set: ShardSet) -> None:
    """Clips that are drawn depend on seed and video alone, whatever the ranks."""

    def draw(num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        assert draws.domain.name == "VALIDATION"
        return (draw_subsequence(num_frames, draws, 1),)

    one = means(shard_set, draw, seed=1)
    assert np.array_equal(one, means(shard_set, draw, seed=1, max_clips=2))
    assert np.array_equal(one, by_ranks(shard_set, 3, draw=draw, seed=1)[1][0])
    assert not np.array_equal(one, means(shard_set, draw, seed=2))
