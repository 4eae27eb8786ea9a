"""What the clips of several tasks are drawn with: consecutive frames, and orders that are no order.

In: a video's length and draws. Out: int64 frame indices and permutations.
"""

from __future__ import annotations

import itertools

import numpy as np

from shardify.arrays import IntArray
from stream_train.draws import Purpose, SampleDraws
from stream_train.transformations.sequences import CLIP_LENGTH


def span(stride: int = 1, length: int = CLIP_LENGTH) -> int:
    """Frames from the first to the last of `length` frames at a stride, both included."""
    return (length - 1) * stride + 1


def frames_from(start: int, stride: int = 1, length: int = CLIP_LENGTH) -> IntArray:
    """int64 (length,): start, start + stride, ..."""
    return start + np.arange(length, dtype=np.int64) * stride


def draw_start(num_frames: int, needed: int, draws: SampleDraws, item: int = 0) -> int:
    """Uniform over all starts of `needed` frames; each `item` of a sample has its own. Raises ValueError if none."""
    return draws.stream(Purpose.TASK_START, item).integer(0, num_frames - needed + 1)


def draw_shuffle(draws: SampleDraws, length: int = CLIP_LENGTH) -> IntArray:
    """int64 (length,): a random permutation that is neither in order nor reversed."""
    stream = draws.stream(Purpose.TASK_ORDER)
    while True:
        permutation = stream.permutation(length)
        if len(set(np.diff(permutation).tolist())) > 1:
            return permutation


def orders(length: int) -> tuple[tuple[int, ...], ...]:
    """All permutations of 0 .. length - 1, sorted; the answers of the tasks that sort."""
    return tuple(itertools.permutations(range(length)))


def names_of(permutations: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
    """`1-3-2`: the pieces in the order in which they are shown, counted from 1."""
    return tuple("-".join(str(piece + 1) for piece in permutation) for permutation in permutations)
