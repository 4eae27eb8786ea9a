"""The clips of the evaluations: sub-sequences of 16 frames with a constant stride (section 4).

In: a video's length, a stride. Out: starts and int64 (16,) frame indices. A video too short for the stride uses the
largest stride that fits; a video of fewer than 16 frames loops. Only training clips are random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval.judging.config import ShortRule
from shardify.arrays import IntArray
from stream_train.draws import Purpose, SampleDraws
from stream_train.transformations.config import Motion
from stream_train.transformations.sampling import ClipPlan
from stream_train.transformations.sequences import CLIP_LENGTH

NUM_SPACED_STARTS = 32
"""The released code takes every floor(M / 32)-th of a video's M starts."""


def stride_that_fits(num_frames: int, stride: int, rule: ShortRule = "exact") -> int:
    """`stride`, or the largest smaller one that fits; 1 for videos that loop. Raises ValueError unless both are > 0."""
    if num_frames < 1 or stride < 1:
        raise ValueError(f"num_frames = {num_frames} and stride = {stride} must both be positive")
    largest = (num_frames - 1) // (CLIP_LENGTH - 1) if rule == "exact" else num_frames // CLIP_LENGTH
    return max(1, min(stride, largest))


def num_starts(num_frames: int, stride: int, rule: ShortRule = "exact") -> int:
    """M: the number of possible starts of a clip, at the stride that fits."""
    return max(num_frames, CLIP_LENGTH) - (CLIP_LENGTH - 1) * stride_that_fits(num_frames, stride, rule)


def subsequence_starts(
    num_frames: int, stride: int, *, all_starts: bool = False, rule: ShortRule = "exact"
) -> IntArray:
    """int64 starts of the test clips: all M if `all_starts` or M < 32, else every floor(M / 32)-th, so 32 to 63."""
    starts = num_starts(num_frames, stride, rule)
    return np.arange(0, starts, 1 if all_starts else max(1, starts // NUM_SPACED_STARTS), dtype=np.int64)


def even_starts(num_frames: int, stride: int, count: int) -> IntArray:
    """int64 (min(count, M),): distinct starts at even distances, the first and the last included."""
    starts = num_starts(num_frames, stride)
    return np.unique(np.linspace(0, starts - 1, min(count, starts)).round().astype(np.int64))


def subsequence(start: int, num_frames: int, stride: int, rule: ShortRule = "exact") -> IntArray:
    """int64 (16,): the frames of the clip at a start, at the stride that fits; short videos loop."""
    return (start + np.arange(CLIP_LENGTH, dtype=np.int64) * stride_that_fits(num_frames, stride, rule)) % num_frames


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


def draw_subsequence(
    num_frames: int, draws: SampleDraws, stride: int, *, still: bool = False, rule: ShortRule = "exact"
) -> ClipPlan:
    """A training clip: uniform over all M starts."""
    start = draws.stream(Purpose.SUBSEQUENCE).integer(0, num_starts(num_frames, stride, rule))
    return plan_of(subsequence(start, num_frames, stride, rule), still=still)


def plan_of(indices: IntArray, *, still: bool = False, target: int = -1) -> ClipPlan:
    """A clip without a pretext question; `still` repeats its middle frame."""
    if still:
        indices = np.full_like(indices, indices[len(indices) // 2])
    return ClipPlan(motion=Motion.SPEED, speed=-1, indices=indices, target=target)
