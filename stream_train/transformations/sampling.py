"""Draws the temporal transformations of a sample. Only this module makes their index sequences random.

In: a video's length and its draws. Out: one plan a clip, with two targets: "motion" (tau: 0 speed, 1 random,
2 periodic, 3 warp; IGNORED if the clip looks like another class) and "speed" (kappa; IGNORED for random and warp).
Where the paper (section 3.1) and the authors' code differ, :class:`SamplingConfig` has a switch.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from shardify.arrays import IntArray
from stream_train.data.plans import IGNORED, ClipPlan, loop_short_video
from stream_train.draws import Purpose, SampleDraws
from stream_train.transformations.config import Motion, SamplingConfig
from stream_train.transformations.sequences import (
    CLIP_LENGTH,
    NUM_SPEEDS,
    frames_for_speed,
    periodic_indices,
    periodic_prose_indices,
    periodic_window_indices,
    random_indices,
    speed_indices,
    step_of,
    warp_indices,
)


def largest_speed(num_frames: int, rule: Literal["exact", "full_steps"] = "exact") -> int:
    """kappa_max: the fastest speed that a video of this length allows, 0 to 3 (0 also below 16 frames)."""
    return max([k for k in range(NUM_SPEEDS) if _frames_needed(k, rule) <= num_frames], default=0)


def _frames_needed(kappa: int, rule: Literal["exact", "full_steps"]) -> int:
    return frames_for_speed(kappa) if rule == "exact" else CLIP_LENGTH * step_of(kappa)


def draw_clips(num_frames: int, draws: SampleDraws, config: SamplingConfig) -> tuple[ClipPlan, ...]:
    """Draw a video's clips: speed first, then the configured motions in tau order (section 3.2).

    kappa is uniform over the speeds that the length allows; the speed and the periodic clip share it. Each clip has its
    own offset. A video shorter than 16 frames loops. Raises ValueError if num_frames is not positive.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames = {num_frames}, but a video has at least one frame")
    length = max(num_frames, CLIP_LENGTH)
    fastest = largest_speed(length, config.frames_for_speed)
    kappa = draws.stream(Purpose.SPEED).integer(0, fastest + 1)
    clips = [_draw_speed(length, kappa, draws, config)]
    for name in config.motions:
        if name == "random":
            clips.append(_draw_random(length, draws, config))
        elif name == "periodic":
            clips.append(_draw_periodic(length, kappa, draws, config))
        else:
            clips.append(_draw_warp(length, fastest, draws, config))
    return loop_short_video(clips, num_frames)


def _plan(indices: IntArray, motion: int, speed: int = IGNORED) -> ClipPlan:
    return ClipPlan(indices=indices, targets={"motion": int(motion), "speed": speed})


def _draw_speed(length: int, kappa: int, draws: SampleDraws, config: SamplingConfig) -> ClipPlan:
    needed = _frames_needed(kappa, config.frames_for_speed)
    offset = draws.stream(Purpose.SPEED_OFFSET).integer(0, length - needed + 1)
    return _plan(speed_indices(kappa, offset), Motion.SPEED, kappa)


def _draw_random(length: int, draws: SampleDraws, config: SamplingConfig) -> ClipPlan:
    stream = draws.stream(Purpose.RANDOM_PERMUTATION)
    permutation = stream.permutation(CLIP_LENGTH)
    while config.random_identity == "excluded" and _is_contiguous(permutation):
        permutation = stream.permutation(CLIP_LENGTH)
    offset = draws.stream(Purpose.RANDOM_OFFSET).integer(0, length - CLIP_LENGTH + 1)
    return _plan(random_indices(permutation, offset), Motion.RANDOM)


def _draw_periodic(length: int, kappa: int, draws: SampleDraws, config: SamplingConfig) -> ClipPlan:
    stream = draws.stream(Purpose.PERIODIC_TURN)
    q = step_of(kappa)
    if config.periodic == "window":
        overshoot = stream.integer(0, 2) if q == 1 else stream.integer(1, q)
        indices = periodic_window_indices(kappa, stream.integer(0, CLIP_LENGTH - 3), overshoot)
    else:
        build = periodic_indices if config.periodic == "formula" else periodic_prose_indices
        indices = build(kappa, stream.integer(2 * q + 1, 13 * q))
    if config.periodic_shift == "uniform":
        needed = int(indices.max()) + 1
        indices = indices + draws.stream(Purpose.PERIODIC_OFFSET).integer(0, length - needed + 1)
    return _plan(indices, Motion.PERIODIC, kappa)


def _draw_warp(length: int, fastest: int, draws: SampleDraws, config: SamplingConfig) -> ClipPlan:
    """If kappa_max >= 2, random steps of up to 2**kappa_max; else a sorted random subset of all frames."""
    stream = draws.stream(Purpose.WARP_STEPS)
    if length == CLIP_LENGTH:  # nothing can be skipped: the clip equals the video at speed 0
        return _plan(speed_indices(0), motion=IGNORED)
    while True:
        if fastest >= 2:
            lowest = 1 if config.warp == "skips" else 0
            indices = warp_indices(stream.integers(lowest, lowest + step_of(fastest), CLIP_LENGTH - 1))
            room = length - int(indices[-1])
        else:
            indices = np.sort(stream.permutation(length)[:CLIP_LENGTH])
            room = 1
        if not _is_contiguous(indices):
            offset = draws.stream(Purpose.WARP_OFFSET).integer(0, room)
            return _plan(indices + offset, Motion.WARP)


def _is_contiguous(indices: IntArray) -> bool:
    return bool((np.diff(indices) == 1).all())
