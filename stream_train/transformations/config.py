"""Which transformations are drawn, and which reading of the paper they follow (method sections 2 and 7)."""

from __future__ import annotations

import enum
from typing import Literal

from pydantic import field_validator

from shardify.config import StrictModel


class Motion(enum.IntEnum):
    """tau, the motion types of section 3.1."""

    SPEED = 0
    RANDOM = 1
    PERIODIC = 2
    WARP = 3


ShortRule = Literal["exact", "full_steps"]
"""How many frames a stride needs: 15 * stride + 1, the span of a clip; or 16 * stride, as in the released code."""
MotionName = Literal["random", "periodic", "warp"]


class SamplingConfig(StrictModel):
    """Which clips each video gives, and which reading of the paper they follow."""

    motions: tuple[MotionName, ...] = ("random", "periodic", "warp")
    """The transformations beside speed, any subset in this order; empty trains on speed alone (Table 1)."""
    frames_for_speed: Literal["exact", "full_steps"] = "exact"
    """Frames that a speed needs: 15q + 1, or 16q as in the released code, which also leaves fewer starts."""
    random_identity: Literal["excluded", "possible"] = "excluded"
    """Whether the random permutation may be the identity."""
    periodic: Literal["formula", "prose", "window"] = "formula"
    """How the clip turns: by the displayed formula, the paper's prose, or the released code's random window."""
    periodic_shift: Literal["uniform", "none"] = "uniform"
    """Where the periodic clip starts: anywhere it fits, or at the formula's rho."""
    warp: Literal["skips", "literal"] = "skips"
    """Steps of 1 + {0..7} skipped frames, or literally {0..7} as in the displayed formula, which repeats frames."""

    @field_validator("motions")
    @classmethod
    def _canonical(cls, motions: tuple[MotionName, ...]) -> tuple[MotionName, ...]:
        if len(set(motions)) != len(motions):
            raise ValueError("each motion may be named once")
        return tuple(sorted(motions, key=lambda name: Motion[name.upper()]))
