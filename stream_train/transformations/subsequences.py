"""Sub-sequences of 16 frames with a constant stride, as action recognition uses them (section 4).

In: a video's length, a stride. Out: int64 (16,) frame indices. A video too short for the stride uses the largest
stride that fits; a video of fewer than 16 frames loops.
"""

from __future__ import annotations

import numpy as np

from shardify.arrays import IntArray
from stream_train.data.plans import ClipPlan
from stream_train.draws import Purpose, SampleDraws
from stream_train.transformations.config import ShortRule
from stream_train.transformations.sequences import CLIP_LENGTH


def stride_that_fits(num_frames: int, stride: int, rule: ShortRule = "exact") -> int:
    """`stride`, or the largest smaller one that fits; 1 for videos that loop. Raises ValueError unless both are > 0."""
    if num_frames < 1 or stride < 1:
        raise ValueError(f"num_frames = {num_frames} and stride = {stride} must both be positive")
    largest = (num_frames - 1) // (CLIP_LENGTH - 1) if rule == "exact" else num_frames // CLIP_LENGTH
    return max(1, min(stride, largest))


def num_starts(num_frames: int, stride: int, rule: ShortRule = "exact") -> int:
    """M: the number of possible starts of a clip, at the stride that fits."""
    return max(num_frames, CLIP_LENGTH) - (CLIP_LENGTH - 1) * stride_that_fits(num_frames, stride, rule)


def even_starts(num_frames: int, stride: int, count: int) -> IntArray:
    """int64 (min(count, M),): distinct starts at even distances, the first and the last included."""
    starts = num_starts(num_frames, stride)
    return np.unique(np.linspace(0, starts - 1, min(count, starts)).round().astype(np.int64))


def subsequence(start: int, num_frames: int, stride: int, rule: ShortRule = "exact") -> IntArray:
    """int64 (16,): the frames of the clip at a start, at the stride that fits; short videos loop."""
    return (start + np.arange(CLIP_LENGTH, dtype=np.int64) * stride_that_fits(num_frames, stride, rule)) % num_frames


def draw_subsequence(
    num_frames: int, draws: SampleDraws, stride: int, *, still: bool = False, rule: ShortRule = "exact"
) -> ClipPlan:
    """A training clip: uniform over all M starts."""
    start = draws.stream(Purpose.SUBSEQUENCE).integer(0, num_starts(num_frames, stride, rule))
    return plan_of(subsequence(start, num_frames, stride, rule), still=still)


def plan_of(indices: IntArray, *, still: bool = False) -> ClipPlan:
    """A clip without a question; `still` repeats its middle frame."""
    if still:
        indices = np.full_like(indices, indices[len(indices) // 2])
    return ClipPlan(indices=indices)
