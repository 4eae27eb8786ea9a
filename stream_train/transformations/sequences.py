"""Which frames of a video become a clip: the temporal transformations of section 3.1 as pure index sequences.

In: drawn values (speed, offset, permutation, turning point, steps). Out: int64 (16,) frame indices. Nothing is random
here; `stream_train.transformations.sampling` draws. Every function raises ValueError if an argument lies outside its
range; an offset must not be negative.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shardify.arrays import IntArray

CLIP_LENGTH = 16
NUM_SPEEDS = 4
MAX_SKIP = 7
"""Most frames that a warp skips between two of its frames."""


def step_of(kappa: int) -> int:
    """q = 2**kappa: the distance of two clip frames, in source frames, at speed 0, 1, 2 or 3."""
    if kappa not in range(NUM_SPEEDS):
        raise ValueError(f"kappa = {kappa}, but the speeds are 0 to {NUM_SPEEDS - 1}")
    return 1 << int(kappa)


def frames_for_speed(kappa: int) -> int:
    """Source frames that a clip at this speed spans: 15q + 1, that is 16, 31, 61 or 121."""
    return (CLIP_LENGTH - 1) * step_of(kappa) + 1


def speed_indices(kappa: int, offset: int = 0) -> IntArray:
    """Every q-th frame (tau = 0): offset + j * 2**kappa for j = 0..15. The offset is the paper's rho."""
    return _from(offset) + np.arange(CLIP_LENGTH, dtype=np.int64) * step_of(kappa)


def random_indices(permutation: Sequence[int] | npt.NDArray[np.integer], offset: int = 0) -> IntArray:
    """Sixteen consecutive frames in a permuted order (tau = 1, always kappa = 0): offset + permutation of 0..15."""
    order = np.asarray(permutation, dtype=np.int64)
    if order.shape != (CLIP_LENGTH,) or not np.array_equal(np.sort(order), np.arange(CLIP_LENGTH)):
        raise ValueError(f"permutation must hold each of 0..{CLIP_LENGTH - 1} once, not {order.tolist()}")
    return _from(offset) + order


def periodic_indices(kappa: int, turn: int, offset: int = 0) -> IntArray:
    """Forward to the turning point, then backward (tau = 2, displayed formula of section 3.1).

    With q = 2**kappa, sbar = turn // q and delta = turn - sbar * q, the clip starts at rho = max(0, (15 - 2 sbar) q -
    delta), runs forward in steps of q for j <= sbar, then backward over frames shifted by delta.

    Args:
        kappa: speed; consecutive frames are 2**kappa apart, except at the turn.
        turn: the paper's s, in [2 * 2**kappa + 1, 13 * 2**kappa).
        offset: the shift r, added to every index in addition to the formula's rho.
    """
    return _from(offset) + _forward_backward(kappa, turn, shifts=1)


def periodic_prose_indices(kappa: int, turn: int, offset: int = 0) -> IntArray:
    """The periodic clip as the paper's prose builds it: 0..s, then s-1..2s-15q, sub-sampled by q afterwards.

    The only difference from :func:`periodic_indices`: the backward part is shifted by 2 delta instead of delta.
    """
    return _from(offset) + _forward_backward(kappa, turn, shifts=2)


def periodic_window_indices(kappa: int, window: int, overshoot: int, offset: int = 0) -> IntArray:
    """The periodic clip of the authors' released code: a 16-frame window of a longer forward and backward sequence.

    Forward: 0, q, ..., 13q with q = 2**kappa. Backward: the same frames reversed, shifted by `overshoot`.

    `window`, 0 to 12, is where the 16 frames start in these 28. `overshoot` is 0 or 1 at kappa = 0, else 1 to q - 1.
    """
    q = step_of(kappa)
    lowest, highest = (0, 1) if q == 1 else (1, q - 1)
    if not lowest <= overshoot <= highest:
        raise ValueError(f"overshoot = {overshoot}, but at kappa = {kappa} it must lie in {lowest}..{highest}")
    there = np.arange(CLIP_LENGTH - 2, dtype=np.int64) * q
    both = np.concatenate((there, there[::-1] + overshoot))
    if not 0 <= window <= len(both) - CLIP_LENGTH:
        raise ValueError(f"window = {window}, but it must lie in 0..{len(both) - CLIP_LENGTH}")
    return _from(offset) + both[window : window + CLIP_LENGTH]


def warp_indices(steps: Sequence[int] | npt.NDArray[np.integer], offset: int = 0) -> IntArray:
    """A clip whose speed changes from frame to frame (tau = 3): offset + the cumulative sum of 15 steps.

    A step, 0 to 8, is 1 + the number of skipped frames. Step 0 repeats a frame, as in the literal displayed formula.
    """
    distances = np.asarray(steps, dtype=np.int64)
    if distances.shape != (CLIP_LENGTH - 1,):
        raise ValueError(f"a warp has {CLIP_LENGTH - 1} steps, but {distances.shape} were given")
    if distances.min() < 0 or distances.max() > MAX_SKIP + 1:
        raise ValueError(f"warp steps must lie in 0..{MAX_SKIP + 1}, not {distances.tolist()}")
    return _from(offset) + np.concatenate(([0], np.cumsum(distances)))


def _forward_backward(kappa: int, turn: int, shifts: int) -> IntArray:
    q = step_of(kappa)
    if not 2 * q + 1 <= turn < 13 * q:
        raise ValueError(f"turn = {turn}, but at kappa = {kappa} it must lie in {2 * q + 1}..{13 * q - 1}")
    last_forward, delta = divmod(int(turn), q)
    shift = shifts * delta
    j = np.arange(CLIP_LENGTH, dtype=np.int64)
    indices = np.where(j <= last_forward, j * q, (2 * last_forward - j) * q + shift)
    return indices + max(0, (CLIP_LENGTH - 1 - 2 * last_forward) * q - shift)


def _from(offset: int) -> int:
    if offset < 0:
        raise ValueError(f"offset = {offset}, but a clip cannot start before frame 0")
    return int(offset)
