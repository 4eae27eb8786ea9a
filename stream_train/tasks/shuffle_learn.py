"""Shuffle and Learn (Misra et al., ECCV 2016): are frames, or three clips, in their true order?

One shuffled clip is never in order nor reversed, and both clips of a video show the same frames. A wrong triplet is
b, a, d or b, e, d, where a to e are five clips in order: its middle clip does not lie between the others. The original
has more wrong than right triplets, also reverses them, and takes frames with much motion.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from stream_train.data.plans import ClipPlan
from stream_train.draws import Purpose, SampleDraws
from stream_train.tasks.base import HeadWidth
from stream_train.tasks.config import ShuffleLearnConfig
from stream_train.tasks.drawing import draw_shuffle, draw_start, frames_from, span
from stream_train.tasks.heads import ConcatenationHead
from stream_train.tasks.question import Question

TRIPLET = 3
NUM_PLACES = 5


@dataclass(frozen=True)
class ShuffleLearn(Question):
    """One right and one wrong example of each video; see :class:`ShuffleLearnConfig`."""

    config: ShuffleLearnConfig
    head = "order"
    classes = ("in order", "shuffled")

    @property
    def min_frames(self) -> int:
        return span(self.config.stride) + (self._spread if self.config.variant == "triplet" else 0)

    @property
    def _spread(self) -> int:
        return (NUM_PLACES - 1) * self.config.spacing

    @property
    def clips_per_answer(self) -> int:
        return TRIPLET if self.config.variant == "triplet" else 1

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        start = draw_start(num_frames, self.min_frames, draws)
        if self.config.variant == "clip":
            frames = frames_from(start, self.config.stride)
            shuffled = frames[draw_shuffle(draws)]
            return tuple(ClipPlan(indices=clip, targets={"order": k}) for k, clip in enumerate((frames, shuffled)))
        a, b, c, d, e = (start + place * self.config.spacing for place in range(NUM_PLACES))
        choices = draws.stream(Purpose.TASK_CHOICE)
        wrong = (b, (a, e)[choices.integer(0, 2)], d)
        starts = [(one, k) for k, triplet in enumerate(((b, c, d), wrong)) for one in triplet]
        return tuple(ClipPlan(indices=frames_from(one, self.config.stride), targets={"order": k}) for one, k in starts)

    def build_heads(self, width: HeadWidth) -> dict[str, nn.Module]:
        if self.config.variant == "clip":
            return super().build_heads(width)
        return {"order": ConcatenationHead(width, TRIPLET, len(self.classes))}
