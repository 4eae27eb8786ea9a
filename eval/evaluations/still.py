"""Still videos: the probe on clips that repeat one frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.evaluations.base import Evaluation, Section

if TYPE_CHECKING:
    from eval.evaluations.base import Run


class StillSection(Section):
    """The three new layers of `probe`, with its settings, on clips that repeat one frame and on moving clips."""


def _load() -> Run:
    from eval.evaluations.still_rows import evaluate_still

    return evaluate_still


STILL = Evaluation(
    name="still",
    title="Still videos: what is known without motion",
    short="Still videos",
    question="One frame, repeated, against the moving clip: what a network recognises without any motion (section 4 of "
    "the paper).",
    help="The probe on clips that repeat one frame, beside the moving one.",
    section=StillSection,
    load=_load,
    has_all_clips=True,
)
