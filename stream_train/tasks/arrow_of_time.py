"""Arrow of time (Wei et al., CVPR 2018): does the clip play forwards or backwards?

A video gives a clip and its reverse, with one crop and one flip: the pixels differ in their order alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from stream_train.data.plans import ClipPlan
from stream_train.draws import SampleDraws
from stream_train.tasks.config import ArrowOfTimeConfig
from stream_train.tasks.drawing import draw_start, frames_from, span
from stream_train.tasks.question import Question


@dataclass(frozen=True)
class ArrowOfTime(Question):
    """See :class:`ArrowOfTimeConfig`."""

    config: ArrowOfTimeConfig
    head = "arrow"
    classes = ("forwards", "backwards")

    @property
    def min_frames(self) -> int:
        return span(self.config.stride)

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        frames = frames_from(draw_start(num_frames, self.min_frames, draws), self.config.stride)
        return tuple(
            ClipPlan(indices=clip, targets={"arrow": k}, view=0) for k, clip in enumerate((frames, frames[::-1]))
        )
