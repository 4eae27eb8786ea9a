"""Still videos: the probe on clips that repeat one frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.evaluations.base import Clips, Evaluation, Section
from eval.evaluations.probe import ALL_LABELS, PROBE

if TYPE_CHECKING:
    from collections.abc import Container

    from eval.config import EvalConfig
    from eval.evaluations.base import Run
    from shardify.arrays import IntArray


class StillSection(Section):
    """The three new layers of `probe`, with its settings, on clips that repeat one frame and on moving clips."""


def _load() -> Run:
    from eval.evaluations.still_rows import evaluate_still

    return evaluate_still


def _clips(config: EvalConfig, train: IntArray, test: IntArray, also: Container[str]) -> Clips:
    """The probe on still clips; and on moving ones, unless `probe` runs in the same place."""
    from eval.judging.subsequences import num_test_clips

    tested = num_test_clips(
        test, config.probe.stride, all_starts=config.probe.all_clips, rule=config.probe.short_videos
    )
    one = Clips(frozen=config.probe.epochs * len(train), tested=tested, num_trainings=1, num_results=1)
    return one if PROBE.name in also and ALL_LABELS in config.probe.fc else one * 2


STILL = Evaluation(
    name="still",
    title="Still videos: what is known without motion",
    short="Still videos",
    question="One frame, repeated, against the moving clip: what a network recognises without any motion (section 4 of "
    "the paper).",
    help="The probe on clips that repeat one frame.",
    section=StillSection,
    load=_load,
    clips=_clips,
    has_all_clips=True,
)
