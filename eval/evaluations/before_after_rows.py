"""Before or after: which of two disjoint pieces of a video comes first (section 4, Table 3).

In: a network. Out: the accuracy. The network sees two pieces of 8 frames as one clip of 16 and tells whether they are
in the order (first, second) or (second, first).

The paper leaves these open; our choices: stride 1; all layers are trained; videos too short for two pieces are left
out; a gap of 1 to min(16, what fits) frames between the pieces, or 0 if nothing fits. Both classes draw the gap in the
same way, so the gap does not reveal the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from eval.config import EvalConfig
from eval.evaluations.before_after import BEFORE_AFTER
from eval.evaluations.temporal import TemporalQuestion, temporal_row
from eval.judging.models import JudgedModel
from eval.judging.setting import Say, settings_of
from eval.judging.subsequences import plan_of
from eval.results.rows import Row
from stream_train.data.batch import Batch
from stream_train.draws import Purpose, SampleDraws
from stream_train.tasks.question import Question
from stream_train.training.distributed import World
from stream_train.transformations.sampling import ClipPlan
from stream_train.transformations.sequences import CLIP_LENGTH

PIECE_LENGTH = CLIP_LENGTH // 2
MAX_GAP = 16
BEFORE, AFTER = 0, 1


def frames_of_piece(stride: int) -> int:
    """Frames that a piece spans, its first and last included: 8 at stride 1."""
    return (PIECE_LENGTH - 1) * stride + 1


def draw_pieces(num_frames: int, draws: SampleDraws, stride: int, item: int = 0) -> tuple[ClipPlan, ClipPlan]:
    """Draw two pieces and return the clips (first, second) and (second, first).

    `stride` counts frames between neighbouring frames of a piece; each pair of one sample has its own `item`.
    Raises ValueError if the video is too short for two pieces.
    """
    length = frames_of_piece(stride)
    spare = num_frames - 2 * length
    if spare < 0:
        raise ValueError(f"{num_frames} frames do not hold two pieces of {length}")
    gap = draws.stream(Purpose.PIECES_GAP, item).integer(1, min(MAX_GAP, spare) + 1) if spare else 0
    start = draws.stream(Purpose.PIECES_START, item).integer(0, spare - gap + 1)
    first = start + np.arange(PIECE_LENGTH, dtype=np.int64) * stride
    second = first + length + gap
    return (
        plan_of(np.concatenate((first, second)), target=BEFORE),
        plan_of(np.concatenate((second, first)), target=AFTER),
    )


@dataclass(frozen=True, kw_only=True)
class BeforeAfterTask(Question):
    """One clip of two pieces per video, in random order (each order has probability 1/2)."""

    stride: int
    head: str = BEFORE_AFTER.name
    classes: tuple[str, ...] = ("before", "after")

    @property
    def min_frames(self) -> int:
        return 2 * frames_of_piece(self.stride)

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        clips = draw_pieces(num_frames, draws, self.stride)
        return (clips[draws.stream(Purpose.PIECES_ORDER).integer(0, 2)],)

    def targets(self, batch: Batch) -> Tensor:
        return batch.target


@dataclass(frozen=True, kw_only=True)
class BeforeAfterTests:
    """`count` pairs of pieces per video, each in both orders; a `DrawClips`."""

    stride: int
    count: int

    def __call__(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        return tuple(plan for item in range(self.count) for plan in draw_pieces(num_frames, draws, self.stride, item))


def evaluate_before_after(config: EvalConfig, world: World, say: Say) -> list[Row]:
    """Train and test the classifier of the order for each setting: the right half of Table 3."""
    section = config.before_after
    question = TemporalQuestion(
        evaluation=BEFORE_AFTER.name,
        section=section,
        task=BeforeAfterTask(stride=section.stride),
        tests=BeforeAfterTests(stride=section.stride, count=section.tests_per_video),
        model=JudgedModel,
        measure=lambda answers, right: (answers == right)[:, None],
        chance={"accuracy": 1 / 2},
    )
    return [temporal_row(setting, question) for setting in settings_of(config, section.networks, world, say)]
