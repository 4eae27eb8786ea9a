"""SpeedNet (Benaim et al., CVPR 2020): does a segment play at about normal speed, or about twice as fast?

Both clips begin at the same frame. Frames between two source frames show the earlier one. The original also resizes
clips at random, against clues in their sharpness: `data.scale` does that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stream_train.data.plans import ClipPlan
from stream_train.draws import Purpose, SampleDraws
from stream_train.tasks.config import SpeedNetConfig
from stream_train.tasks.drawing import draw_start
from stream_train.tasks.question import Question
from stream_train.transformations.sequences import CLIP_LENGTH


@dataclass(frozen=True)
class SpeedNet(Question):
    """See :class:`SpeedNetConfig`."""

    config: SpeedNetConfig
    head = "speed"
    classes = ("normal", "fast")

    @property
    def min_frames(self) -> int:
        return int((CLIP_LENGTH - 1) * self.config.fast[1]) + 1

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        start = draw_start(num_frames, self.min_frames, draws)
        factors = draws.stream(Purpose.TASK_CHOICE)
        return tuple(
            ClipPlan(
                indices=start + np.floor(np.arange(CLIP_LENGTH) * factors.uniform(*limits)).astype(np.int64),
                targets={"speed": answer},
            )
            for answer, limits in enumerate((self.config.normal, self.config.fast))
        )
