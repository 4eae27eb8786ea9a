"""Retrieval: the nearest neighbours of test videos among training videos."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from eval.evaluations.base import Evaluation, Section
from eval.features.config import FeatureConfig

if TYPE_CHECKING:
    from eval.evaluations.base import Run


class RetrievalSection(Section):
    """Nearest neighbours of test videos among the training videos (Table 4, Figure 5)."""

    features: FeatureConfig = FeatureConfig()
    top: tuple[PositiveInt, ...] = Field(default=(1, 5, 10, 20, 50), min_length=1)
    num_shown: PositiveInt = 6
    """Queries in the picture."""


def _load() -> Run:
    from eval.evaluations.retrieval_rows import evaluate_retrieval

    return evaluate_retrieval


RETRIEVAL = Evaluation(
    name="retrieval",
    title="Retrieval: nearest neighbours",
    short="Retrieval",
    question="For each test video, is one of its k nearest training videos of the same class (Table 4 and Figure 5 of "
    "the paper)?",
    help="Nearest neighbours of test videos among training videos (Table 4, Figure 5).",
    section=RetrievalSection,
    load=_load,
)
