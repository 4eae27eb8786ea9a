"""Odd-one-out (O3N; Fernando et al., CVPR 2017): which of a video's clips has its frames shuffled?

The features of all clips meet in the sum of their differences, so the head sees how a clip differs from the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from stream_train.data.plans import ClipPlan
from stream_train.draws import Purpose, SampleDraws
from stream_train.tasks.base import HeadWidth
from stream_train.tasks.config import OddOneOutConfig
from stream_train.tasks.drawing import draw_shuffle, draw_start, frames_from, span
from stream_train.tasks.heads import DifferencesHead
from stream_train.tasks.question import Question


@dataclass(frozen=True)
class OddOneOut(Question):
    """See :class:`OddOneOutConfig`; each clip has its own start."""

    config: OddOneOutConfig
    head = "odd"

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"clip {number + 1}" for number in range(self.config.num_clips))

    @property
    def min_frames(self) -> int:
        return span(self.config.stride)

    @property
    def clips_per_answer(self) -> int:
        return self.config.num_clips

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        odd = draws.stream(Purpose.TASK_CHOICE).integer(0, self.config.num_clips)
        clips = []
        for number in range(self.config.num_clips):
            frames = frames_from(draw_start(num_frames, self.min_frames, draws, number), self.config.stride)
            clips.append(frames[draw_shuffle(draws)] if number == odd else frames)
        return tuple(ClipPlan(indices=clip, targets={"odd": odd}) for clip in clips)

    def build_heads(self, width: HeadWidth) -> dict[str, nn.Module]:
        return {"odd": DifferencesHead(width, self.config.num_clips, self.config.num_clips)}
