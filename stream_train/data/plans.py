"""The plan of a clip: which frames of a video, what is done to their pixels, and the right answers.

A task draws plans from a video's length, before any frame is read. The loader carries them out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shardify.arrays import FloatArray, ImageArray, IntArray
from stream_train.draws import SampleDraws

IGNORED = -1
"""Answer of a clip that a question ignores."""

MeasureClip = Callable[[ImageArray], Mapping[str, FloatArray]]
"""uint8 (T, crop, crop, 3) frames as the network sees them, but for a change of colours -> named targets."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A square part of the crop, in shares of the crop's side."""

    top: float
    left: float
    side: float

    def __post_init__(self) -> None:
        if not (0 < self.side <= 1 and 0 <= self.top <= 1 - self.side and 0 <= self.left <= 1 - self.side):
            raise ValueError(f"{self} does not lie within the crop: top and left from 0 to 1 - side, side at most 1")


@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """One clip. All plans of a task have the same number T of frames, and targets of the same names."""

    indices: IntArray
    """int64 (T,) frames of the sample, each in [0, num_frames)."""
    targets: Mapping[str, int | FloatArray] = field(default_factory=dict)
    """The right answers by name: class numbers (IGNORED: none), or float vectors of one length."""
    view: int | None = None
    """Clips of a video with the same number share crop, flip and colours; None: as `data.crop_scope` and so on say."""
    window: Window | None = None
    """Only this part of the crop, enlarged to the crop's size."""
    quarter_turns: int = 0
    """Turns by 90 degrees, counter-clockwise; the clip that is turned is the flipped one."""
    jitter: IntArray | None = None
    """int64 (T, 2) pixels down and right by which each frame's crop moves; it stays within the frame."""
    channels: IntArray | None = None
    """int64 (T,) the colour channel (0 red, 1 green, 2 blue) that stands for all three in each frame."""
    measure: MeasureClip | None = None
    """Gives further targets from the pixels, in the loader's workers."""

    @property
    def changes_pixels(self) -> bool:
        """Whether frames are not simply cropped."""
        return self.quarter_turns % 4 != 0 or any(
            part is not None for part in (self.window, self.jitter, self.channels)
        )


DrawClips = Callable[[int, SampleDraws], Sequence[ClipPlan]]
"""A task's sampler: a video's length and draws -> its clips, always the same number. Must be picklable."""


def loop_short_video(plans: Sequence[ClipPlan], num_frames: int) -> tuple[ClipPlan, ...]:
    """Plans for a longer video, on one of `num_frames`: its frames repeat from the start."""
    return tuple(replace(plan, indices=plan.indices % num_frames) for plan in plans)
