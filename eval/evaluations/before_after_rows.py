"""Before or after: which of two disjoint pieces of a video comes first (section 4, Table 3).

In: a network. Out: the accuracy. The network sees two pieces of 8 frames as one clip of 16 and tells whether they are
in the order (first, second) or (second, first).

The paper leaves these open; our choices: stride 1; all layers are trained; videos too short for two pieces are left
out; the gap between the pieces is uniform over all spare frames. The jump at the seam is gap + 1 frames if the first
piece comes first, else gap + 14 * stride + 1, backwards. So pieces that lie close together (`near`) give the order away
by the size of the jump alone. What simple numbers about the seam tell is measured beside each result: see
`eval.evaluations.seam`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval.config import EvalConfig
from eval.evaluations.before_after import BEFORE_AFTER, GapRule
from eval.evaluations.seam import seam_answers
from eval.evaluations.temporal import TemporalQuestion, temporal_row
from eval.judging.setting import Say, settings_of
from eval.results.rows import SEAM_METRIC, Row
from shardify.arrays import IntArray
from stream_train.data.plans import ClipPlan
from stream_train.draws import Purpose, SampleDraws, Stream
from stream_train.tasks.question import Question
from stream_train.training.distributed import World
from stream_train.transformations.sequences import CLIP_LENGTH

PIECE_LENGTH = CLIP_LENGTH // 2
MAX_GAP = 16
BEFORE, AFTER = 0, 1


def frames_of_piece(stride: int) -> int:
    """Frames that a piece spans, its first and last included: 8 at stride 1."""
    return (PIECE_LENGTH - 1) * stride + 1


def frames_needed(stride: int, rule: GapRule) -> int:
    """Frames of the shortest video that holds two pieces: 16 at stride 1, 30 with matched jumps."""
    return 2 * frames_of_piece(stride) + (_extra_jump(stride) if rule == "matched" else 0)


def _extra_jump(stride: int) -> int:
    """How many frames longer the jump at the seam is for (second, first), with equal gaps."""
    return 2 * (PIECE_LENGTH - 1) * stride


def draw_pieces(
    num_frames: int, draws: SampleDraws, stride: int, rule: GapRule = "spread", item: int = 0
) -> tuple[ClipPlan, ClipPlan]:
    """Draw two pieces and return the clips (first, second) and (second, first).

    `stride` counts frames between neighbouring frames of a piece; each pair of one sample has its own `item`. With
    `rule="matched"`, the two clips show different pieces: the gap of the first is 14 * stride frames wider.
    Raises ValueError if the video is too short for two pieces.
    """
    length = frames_of_piece(stride)
    spare = num_frames - frames_needed(stride, rule)
    if spare < 0:
        raise ValueError(f"{num_frames} frames do not hold two pieces of {length}, gap {rule}")
    least, most = (min(1, spare), min(MAX_GAP, spare)) if rule == "near" else (0, spare)
    gap = draws.stream(Purpose.PIECES_GAP, item).integer(least, most + 1)
    widened = gap + (_extra_jump(stride) if rule == "matched" else 0)
    starts = draws.stream(Purpose.PIECES_START, item)
    first, second = _pieces(num_frames, starts, stride, widened)
    before = ClipPlan(indices=np.concatenate((first, second)), targets={BEFORE_AFTER.name: BEFORE})
    if rule == "matched":
        first, second = _pieces(num_frames, starts, stride, gap)
    return before, ClipPlan(indices=np.concatenate((second, first)), targets={BEFORE_AFTER.name: AFTER})


def _pieces(num_frames: int, starts: Stream, stride: int, gap: int) -> tuple[IntArray, IntArray]:
    """Two pieces with a gap between them, anywhere in the video."""
    length = frames_of_piece(stride)
    first = starts.integer(0, num_frames - 2 * length - gap + 1) + np.arange(PIECE_LENGTH, dtype=np.int64) * stride
    return first, first + length + gap


@dataclass(frozen=True, kw_only=True)
class BeforeAfterTask(Question):
    """One clip of two pieces per video, in random order (each order has probability 1/2)."""

    stride: int
    rule: GapRule = "spread"
    head: str = BEFORE_AFTER.name
    classes: tuple[str, ...] = ("before", "after")

    @property
    def min_frames(self) -> int:
        return frames_needed(self.stride, self.rule)

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        clips = draw_pieces(num_frames, draws, self.stride, self.rule)
        return (clips[draws.stream(Purpose.PIECES_ORDER).integer(0, 2)],)


@dataclass(frozen=True, kw_only=True)
class BeforeAfterTests:
    """`count` pairs of pieces per video, each in both orders; a `DrawClips`."""

    stride: int
    rule: GapRule = "spread"
    count: int

    def __call__(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        pairs = (draw_pieces(num_frames, draws, self.stride, self.rule, item) for item in range(self.count))
        return tuple(plan for pair in pairs for plan in pair)


def evaluate_before_after(config: EvalConfig, world: World, say: Say) -> list[Row]:
    """Train and test the classifier of the order for each setting: the right half of Table 3."""
    section = config.before_after
    question = TemporalQuestion(
        evaluation=BEFORE_AFTER.name,
        section=section,
        task=BeforeAfterTask(stride=section.stride, rule=section.gap),
        tests=BeforeAfterTests(stride=section.stride, rule=section.gap, count=section.tests_per_video),
        measure=lambda answers, right: (answers == right)[:, None],
        chance={"accuracy": 1 / 2},
        baseline=(SEAM_METRIC, seam_answers),
    )
    settings = settings_of(config, section.networks, world, say, with_own_rate=not section.frozen)
    return [temporal_row(setting, question) for setting in settings]
