"""Before or after: which of two pieces of a video comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from eval.evaluations.base import Clips, Evaluation, FrozenSection

if TYPE_CHECKING:
    from collections.abc import Container

    from eval.config import EvalConfig
    from eval.evaluations.base import Run
    from shardify.arrays import IntArray


GapRule = Literal["spread", "near", "matched"]


class BeforeAfterSection(FrozenSection):
    """Which of two disjoint pieces of a video comes first (Table 3)."""

    gap: GapRule = "spread"
    """Frames between the pieces: `spread` over all that the video leaves; `near`, 1 to 16; or `matched`, with which the
    jump from piece to piece has the same lengths in both orders (at stride 1 it needs 30 frames)."""
    stride: PositiveInt = 1
    frozen: bool = False
    """Whether the convolutions keep their weights."""
    tests_per_video: PositiveInt = 5
    """Pairs of pieces per test video; each pair is tested in both orders."""


def _load() -> Run:
    from eval.evaluations.before_after_rows import evaluate_before_after

    return evaluate_before_after


def _clips(config: EvalConfig, train: IntArray, test: IntArray, _: Container[str]) -> Clips:
    section = config.before_after
    trained = {"frozen" if section.frozen else "trained": section.epochs * len(train)}
    return Clips(**trained, tested=2 * section.tests_per_video * len(test), num_trainings=1, num_results=1)


BEFORE_AFTER = Evaluation(
    name="before_after",
    title="Before or after: which piece comes first?",
    short="Before or after",
    question="Two disjoint pieces of one video, in the right or in the wrong order (Table 3 of the paper).",
    help="Which of two pieces of a video comes first (Table 3).",
    section=BeforeAfterSection,
    load=_load,
    clips=_clips,
)
