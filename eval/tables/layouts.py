"""Data: the layouts of the paper's tables, with columns and notes. Notes mark our choices where the paper is open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eval.results.paper import GMACS
from eval.results.paper_tables import (
    BEFORE_AFTER,
    FINETUNED_HMDB51,
    FINETUNED_UCF101,
    FROZEN_UCF101,
    MOVING,
    NETWORK_NAMES,
    RETRIEVAL,
    STILL,
    SYNC,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_STILL,
    TOP,
    PaperTable,
    Question,
)

OTHER_VARIANTS = {"sync": ("finetune",), "before_after": ("frozen",)}
"""Variants that the paper's tables lack; they get extra lines."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number of each line: the paper's, and beside it the measured one."""

    question: Question
    metric: str = "accuracy"
    heading: str
    at_home: bool = True
    """Whether this table also shows results without a line in the paper; if not, another table does."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one of the paper's tables is printed."""

    table: PaperTable
    labels: tuple[str, ...]
    """Headings of the first columns: method, speed loss, network, variant, trained on, or some of these."""
    columns: tuple[Column, ...]
    random_method: str = "random weights"
    """The name of training without pre-training."""
    random_rates: tuple[float, ...] = ()
    """Learning rates of training without pre-training that have a line each, also if they are not measured."""
    below_each_other: bool = False
    """Whether measured numbers are below the paper's, not beside them; for many columns."""
    notes: tuple[str, ...]
    """With `{stride}` for a setting of the results, or the usual one without results; see SETTINGS."""
    paper_notes: tuple[str, ...] = ()
    """Further notes, only where the paper's numbers stand."""


SETTINGS: Mapping[str, Mapping[Any, str]] = {
    "all_clips": {
        False: "32 to 63 centre-cropped clips of a video, as in the authors' code",
        True: "all clips of a video",
    },
    "gap": {"spread": "any number of frames", "near": "1 to 16 frames", "matched": "matched numbers of frames"},
}
"""Settings in notes whose values need words."""
_CLIPS = "Test: probabilities averaged over {all_clips}."
_VARIANTS = (
    "The paper's 3D-ResNet18 and R(2+1)D are smaller than torchvision's: "
    + ", ".join(
        f"{NETWORK_NAMES[kind]} {costs['official']} and {costs['torchvision']}" for kind, costs in GMACS.items()
    )
    + " GMAC (10^9 multiply-adds) a clip."
)
_REIMPLEMENTED = "The star: re-implemented by the paper's authors."

LAYOUTS = (
    Layout(
        table=TABLE_1,
        labels=("method", "speed loss"),
        columns=(
            Column(question=FROZEN_UCF101, heading="UCF101"),
            Column(question=FINETUNED_HMDB51, heading="HMDB51", at_home=False),
        ),
        notes=(
            "UCF101: accuracy of three new fully connected layers on frozen convolutions.",
            "HMDB51: accuracy after fine-tuning all layers.",
            _CLIPS,
        ),
        paper_notes=("The paper: 50 epochs of pre-training, 50 of training.",),
    ),
    Layout(
        table=TABLE_2,
        labels=("method", "network", "variant", "trained on"),
        columns=(
            Column(question=FINETUNED_UCF101, heading="UCF101"),
            Column(question=FINETUNED_HMDB51, heading="HMDB51"),
        ),
        random_method="from scratch",
        random_rates=(5e-5, 3e-4),
        notes=(
            "Accuracy after fine-tuning all layers.",
            _CLIPS,
        ),
        paper_notes=(
            "The paper's numbers are means over three splits.",
            "from scratch: 5e-5 is the paper's rate of fine-tuning, 3e-4 of pre-training, which suits new weights.",
            _VARIANTS,
            _REIMPLEMENTED,
            "The plus: missing from the paper's table; from the PRP paper, above this method's 68.3 on UCF101.",
            "The C3D and R(2+1)D of Clip Order and PRP are other networks, fine-tuned and tested in another way.",
        ),
    ),
    Layout(
        table=TABLE_3,
        labels=("method",),
        columns=(
            Column(question=SYNC, heading="sync"),
            Column(question=SYNC, metric="mae", heading="error"),
            Column(question=BEFORE_AFTER, heading="order"),
        ),
        notes=(
            "sync: accuracy of the offset between two clips, one of 13; error: its mean absolute error, in steps.",
            "order: accuracy of which of two pieces of a video comes first.",
            "Our choices (open in the paper): stride {stride}; sync: one crop and flip for both, frozen convolutions.",
            "order: all layers fine-tuned, {gap} between the pieces (likewise our choices).",
            "order, seam only: from three grey-level differences, without a network; only what is above it counts.",
        ),
        paper_notes=(_REIMPLEMENTED,),
    ),
    Layout(
        table=TABLE_STILL,
        labels=("method",),
        columns=(Column(question=STILL, heading="still"), Column(question=MOVING, heading="moving")),
        notes=(
            "Accuracy of three new fully connected layers on frozen convolutions.",
            "still: trained and tested on clips that repeat one frame 16 times; moving: on the videos as they are.",
        ),
    ),
    Layout(
        table=TABLE_4,
        labels=("method", "network", "variant"),
        columns=tuple(Column(question=RETRIEVAL, metric=f"top{k}", heading=f"top {k}") for k in TOP),
        below_each_other=True,
        notes=(
            "Share of test videos of which one of the k nearest training videos has the class.",
            "Our choices (open in the paper): {clips_per_video} clips at even distances, stride {stride}, centre crop.",
            "Features are normalised by the training videos' mean and deviation in each dimension (our choice).",
        ),
        paper_notes=(
            "The paper's line is a 3D-ResNet18 that learnt from Kinetics: do not compare it with other networks.",
            _VARIANTS,
        ),
    ),
)
