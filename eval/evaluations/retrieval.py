"""Retrieval: the nearest neighbours of test videos among training videos."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from eval.evaluations.base import Clips, Evaluation, Section
from eval.features.config import FeatureConfig, features_clips

if TYPE_CHECKING:
    from collections.abc import Container

    from eval.config import EvalConfig
    from eval.evaluations.base import Run
    from shardify.arrays import IntArray


class RetrievalSection(Section):
    """Nearest neighbours of test videos among the training videos (Table 4, Figure 5)."""

    features: FeatureConfig = FeatureConfig()
    top: tuple[PositiveInt, ...] = Field(default=(1, 5, 10, 20, 50), min_length=1)
    num_shown: PositiveInt = 6
    """Queries in the picture."""


def _load() -> Run:
    from eval.evaluations.retrieval_rows import evaluate_retrieval

    return evaluate_retrieval


def _clips(config: EvalConfig, train: IntArray, test: IntArray, _: Container[str]) -> Clips:
    return Clips(features=features_clips(config.retrieval.features, train, test), num_results=1)


RETRIEVAL = Evaluation(
    name="retrieval",
    title="Retrieval: nearest neighbours",
    short="Retrieval",
    question="For each test video, is one of its k nearest training videos of the same class (Table 4 and Figure 5 of "
    "the paper)?",
    help="Nearest training videos of test videos (Table 4).",
    section=RetrievalSection,
    load=_load,
    clips=_clips,
)
