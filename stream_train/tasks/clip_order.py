"""Clip order (VCOP; Xu et al., CVPR 2019): the order of several clips of a video.

The clips follow each other with a gap, and are shown in a random order. Each clip has its own crop, so that a camera's
pan does not give the order away.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from stream_train.data.plans import ClipPlan
from stream_train.draws import Purpose, SampleDraws
from stream_train.tasks.base import HeadWidth
from stream_train.tasks.config import ClipOrderConfig
from stream_train.tasks.drawing import draw_start, frames_from, names_of, orders, span
from stream_train.tasks.heads import PairsHead
from stream_train.tasks.question import Question


@dataclass(frozen=True)
class ClipOrder(Question):
    """See :class:`ClipOrderConfig`."""

    config: ClipOrderConfig
    head = "order"

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        return names_of(orders(self.config.num_clips))

    @property
    def min_frames(self) -> int:
        return self.config.num_clips * self._step - self.config.gap

    @property
    def _step(self) -> int:
        """Frames from the start of a clip to the start of the next."""
        return span(self.config.stride) + self.config.gap

    @property
    def clips_per_answer(self) -> int:
        return self.config.num_clips

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        start = draw_start(num_frames, self.min_frames, draws)
        answer = draws.stream(Purpose.TASK_ORDER).integer(0, len(self.classes))
        return tuple(
            ClipPlan(indices=frames_from(start + place * self._step, self.config.stride), targets={"order": answer})
            for place in orders(self.config.num_clips)[answer]
        )

    def build_heads(self, width: HeadWidth) -> dict[str, nn.Module]:
        units, dropout = self.config.pair_units, self.config.dropout
        return {"order": PairsHead(width, self.config.num_clips, len(self.classes), units=units, dropout=dropout)}
