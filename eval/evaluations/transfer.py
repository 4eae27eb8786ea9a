"""Transfer: fine-tune a network to recognise actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeInt, PositiveInt

from eval.evaluations.base import Clips, Evaluation, FitSection
from stream_train.transformations.config import ShortRule

if TYPE_CHECKING:
    from collections.abc import Container

    from eval.config import EvalConfig
    from eval.evaluations.base import Run
    from shardify.arrays import IntArray


class TransferSection(FitSection):
    """Action recognition by fine-tuning all layers (Table 2; Table 1, HMDB51)."""

    epochs: PositiveInt = 75
    stride: PositiveInt = 4
    """Frames from one frame of a clip to the next."""
    all_clips: bool = False
    """Test on every sub-sequence of a video, not on 32 to 63 of them."""
    short_videos: ShortRule = "exact"
    """How many frames a stride needs: 15 * stride + 1 (`exact`), or 16 * stride as in the released code (`full_steps`).
    Shorter videos use the largest stride that fits."""
    validate_every_epochs: NonNegativeInt = 0
    """How often to test single clips of the test split during training, for the curves only; 0 is never."""


def _load() -> Run:
    from eval.evaluations.transfer_rows import evaluate_transfer

    return evaluate_transfer


def _clips(config: EvalConfig, train: IntArray, test: IntArray, _: Container[str]) -> Clips:
    from eval.judging.subsequences import num_test_clips

    section = config.transfer
    tested = num_test_clips(test, section.stride, all_starts=section.all_clips, rule=section.short_videos)
    return Clips(trained=section.epochs * len(train), tested=tested, num_trainings=1, num_results=1)


TRANSFER = Evaluation(
    name="transfer",
    title="Transfer: action recognition by fine-tuning",
    short="Transfer",
    question="The whole network is trained on to name the action of a video (Table 2 of the paper).",
    help="Fine-tune all layers to recognise actions (Table 2).",
    section=TransferSection,
    load=_load,
    clips=_clips,
    has_all_clips=True,
)
