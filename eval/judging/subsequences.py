"""The test clips of the evaluations: which sub-sequences of a video are tested (section 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shardify.arrays import IntArray
from stream_train.data.plans import ClipPlan
from stream_train.draws import SampleDraws
from stream_train.transformations.config import ShortRule
from stream_train.transformations.subsequences import even_starts, num_starts, plan_of, subsequence

NUM_SPACED_STARTS = 32
"""The released code takes every floor(M / 32)-th of a video's M starts."""


def subsequence_starts(
    num_frames: int, stride: int, *, all_starts: bool = False, rule: ShortRule = "exact"
) -> IntArray:
    """int64 starts of the test clips: all M if `all_starts` or M < 32, else every floor(M / 32)-th, so 32 to 63."""
    starts = num_starts(num_frames, stride, rule)
    return np.arange(0, starts, 1 if all_starts else max(1, starts // NUM_SPACED_STARTS), dtype=np.int64)


def num_test_clips(num_frames: IntArray, stride: int, *, all_starts: bool = False, rule: ShortRule = "exact") -> int:
    """The number of test clips of all videos, whose lengths are int64 (V,)."""
    return sum(len(subsequence_starts(n, stride, all_starts=all_starts, rule=rule)) for n in num_frames.tolist())


@dataclass(frozen=True, kw_only=True)
class TestClips:
    """The test clips of a classifier; a `DrawClips`."""

    __test__ = False  # not a test, although pytest collects names that begin with Test

    stride: int = 4
    all_starts: bool = False
    still: bool = False
    """Repeat the middle frame of each clip (the paper's still videos)."""
    rule: ShortRule = "exact"

    def __call__(self, num_frames: int, _: SampleDraws) -> tuple[ClipPlan, ...]:
        starts = subsequence_starts(num_frames, self.stride, all_starts=self.all_starts, rule=self.rule)
        clips = (subsequence(int(start), num_frames, self.stride, self.rule) for start in starts)
        return tuple(plan_of(indices, still=self.still) for indices in clips)


@dataclass(frozen=True, kw_only=True)
class EvenClips:
    """A few clips at even distances over a video; a `DrawClips`."""

    stride: int = 4
    count: int = 10

    def __call__(self, num_frames: int, _: SampleDraws) -> tuple[ClipPlan, ...]:
        starts = even_starts(num_frames, self.stride, self.count)
        return tuple(plan_of(subsequence(int(start), num_frames, self.stride)) for start in starts)
