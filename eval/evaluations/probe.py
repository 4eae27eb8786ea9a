"""Probes: new classifiers on frozen features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeInt, PositiveInt

from eval.evaluations.base import Clips, Evaluation, FrozenSection
from eval.features.config import FeatureConfig, LabelBudget, LinearConfig, NeighboursConfig, features_clips
from stream_train.transformations.config import ShortRule

if TYPE_CHECKING:
    from collections.abc import Container

    from eval.config import EvalConfig
    from eval.evaluations.base import Run
    from shardify.arrays import IntArray

ALL_LABELS = LabelBudget.parse("100%")
BUDGETS = tuple(LabelBudget.parse(value) for value in ("100%", "10%", 10, 5, 1))


class ProbeSection(FrozenSection):
    """New classifiers on frozen convolutions (Table 1, UCF101), with all or few labels."""

    stride: PositiveInt = 4
    all_clips: bool = False
    short_videos: ShortRule = "exact"
    """As in `transfer`."""
    fc: tuple[LabelBudget, ...] = (ALL_LABELS,)
    """Label budgets for three new fully connected layers on the last convolution (the paper's probe): `N%` of each
    class's videos, or a number per class. Smaller budgets train more epochs, so the number of steps stays the same."""
    linear: tuple[LabelBudget, ...] = BUDGETS
    """Label budgets for logistic regression on features averaged over clips."""
    knn: tuple[LabelBudget, ...] = BUDGETS
    """Label budgets for nearest neighbours on the same features."""
    low_label_seeds: tuple[NonNegativeInt, ...] = (0, 1, 2, 3, 4)
    """Seeds that choose the labelled videos, for linear and knn with budgets below 100 %; one row per seed."""
    features: FeatureConfig = FeatureConfig()
    """For linear and knn."""
    logistic: LinearConfig = LinearConfig()
    neighbours: NeighboursConfig = NeighboursConfig()


def _load() -> Run:
    from eval.evaluations.probe_rows import evaluate_probe

    return evaluate_probe


def _clips(config: EvalConfig, train: IntArray, test: IntArray, _: Container[str]) -> Clips:
    from eval.judging.subsequences import num_test_clips

    section, clips = config.probe, Clips()
    for _budget in section.fc:  # fewer labels train more epochs, so that the steps are as many
        tested = num_test_clips(test, section.stride, all_starts=section.all_clips, rule=section.short_videos)
        clips += Clips(frozen=section.epochs * len(train), tested=tested, num_trainings=1, num_results=1)
    budgets = [*section.linear, *section.knn]
    if budgets:
        few = sum(budget != ALL_LABELS for budget in budgets)
        num_results = len(budgets) - few + few * len(section.low_label_seeds)
        clips += Clips(features=features_clips(section.features, train, test), num_results=num_results)
    return clips


PROBE = Evaluation(
    name="probe",
    title="Probes: what frozen features know about actions",
    short="Probe",
    question="The convolutions stay as they are; new classifiers on them learn the actions from all or few labels "
    "(Table 1 of the paper, UCF101).",
    help="New classifiers on frozen features (Table 1).",
    section=ProbeSection,
    load=_load,
    clips=_clips,
    has_all_clips=True,
)
