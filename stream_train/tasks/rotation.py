"""3D-RotNet (Jing et al., 2018): by how many quarter turns is the clip rotated?

A video gives the same frames in all four rotations, with one crop and one flip: the pixels differ by the turn alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from stream_train.data.plans import ClipPlan
from stream_train.draws import SampleDraws
from stream_train.tasks.config import RotationConfig
from stream_train.tasks.drawing import draw_start, frames_from, span
from stream_train.tasks.question import Question


@dataclass(frozen=True)
class Rotation(Question):
    """See :class:`RotationConfig`."""

    config: RotationConfig
    head = "rotation"
    classes = ("0", "90", "180", "270")

    @property
    def min_frames(self) -> int:
        return span(self.config.stride)

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        frames = frames_from(draw_start(num_frames, self.min_frames, draws), self.config.stride)
        turns = range(len(self.classes))
        return tuple(ClipPlan(indices=frames, targets={"rotation": k}, view=0, quarter_turns=k) for k in turns)
