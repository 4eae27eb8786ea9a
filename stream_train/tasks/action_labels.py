"""Action recognition: which of the data set's classes does a clip show? The supervised task, and the evaluations'.

One sub-sequence of each video, anywhere in it (section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from shardify.errors import UsageError
from stream_train.data.batch import Batch
from stream_train.data.plans import ClipPlan
from stream_train.draws import SampleDraws
from stream_train.tasks.config import ActionLabelsConfig
from stream_train.tasks.question import Question
from stream_train.transformations.config import ShortRule
from stream_train.transformations.subsequences import draw_subsequence

ACTION = "action"
"""Name of the head."""


@dataclass(frozen=True, kw_only=True)
class ActionLabels(Question):
    """See :class:`ActionLabelsConfig`."""

    classes: tuple[str, ...]
    stride: int
    still: bool = False
    """Clips repeat one frame."""
    rule: ShortRule = "exact"
    head = ACTION

    @classmethod
    def of(cls, config: ActionLabelsConfig, labels: Sequence[str]) -> ActionLabels:
        """The pretext task on a data set with these labels. Raises UsageError for fewer than two."""
        if len(labels) < 2:
            raise UsageError(
                f"task.kind action_labels needs labels of two or more classes, but the data set has {len(labels)}; "
                "build it from lists with labels, or take a task without"
            )
        return cls(classes=tuple(labels), stride=config.stride)

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        return (draw_subsequence(num_frames, draws, self.stride, still=self.still, rule=self.rule),)

    def targets(self, batch: Batch) -> Tensor:
        return batch.label
