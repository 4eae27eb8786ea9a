"""What the evaluations are asked to do: data, networks and one section an evaluation (configs/eval/*.yaml).

A config is a setting (which data, which networks, which recipes); a command answers one question in it.
"""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveInt

from eval.features.config import FeatureConfig, LinearConfig, NeighboursConfig
from eval.features.labels import LabelBudget
from eval.judging.config import FineTuneOptimizer, FrozenNorm, JudgingConfig, ShortRule
from shardify.config import StrictModel

ALL_LABELS = LabelBudget.parse("100%")
BUDGETS = tuple(LabelBudget.parse(value) for value in ("100%", "10%", 10, 5, 1))


class FitSection(StrictModel):
    """The keys of every evaluation that trains."""

    networks: tuple[str, ...] | None = None
    """Which of the config's networks to judge; null is all but trivial features."""
    epochs: PositiveInt = 50
    optimizer: FineTuneOptimizer = FineTuneOptimizer()


class FrozenSection(FitSection):
    """The keys of every evaluation that may freeze convolutions."""

    frozen_norm: FrozenNorm = "evaluation"
    """BatchNorm below frozen convolutions: frozen like the weights, or in training mode as in the authors' code."""


class TransferSection(FitSection):
    """Action recognition by fine-tuning all layers (Table 2; Table 1, HMDB51)."""

    epochs: PositiveInt = 75
    stride: PositiveInt = 4
    """Frames from one frame of a clip to the next."""
    all_clips: bool = False
    """Test on every start, not only on 32 to 63 of a video."""
    short_videos: ShortRule = "exact"
    """Videos too short for the stride take the largest one that fits: exactly, in 15 * stride + 1 frames, or by the
    released code's 16 * stride."""
    validate_every_epochs: NonNegativeInt = 0
    """Judge single clips of the test split while training, for the curves only; 0 never."""


class ProbeSection(FrozenSection):
    """What frozen convolutions are worth to new classifiers (Table 1, UCF101), with all or few labels."""

    stride: PositiveInt = 4
    all_clips: bool = False
    short_videos: ShortRule = "exact"
    """As in `transfer`."""
    fc: tuple[LabelBudget, ...] = (ALL_LABELS,)
    """Label budgets for three new fully connected layers on the last convolution (the paper's probe): `N%` of each
    class's videos, or so many a class. Fewer videos are seen more often, in as many steps."""
    linear: tuple[LabelBudget, ...] = BUDGETS
    """Label budgets for logistic regression on features averaged over clips."""
    knn: tuple[LabelBudget, ...] = BUDGETS
    """Label budgets for nearest neighbours on the same features."""
    low_label_seeds: tuple[NonNegativeInt, ...] = (0, 1, 2, 3, 4)
    """Which labelled videos are drawn, for linear and knn with budgets below 100 %; each is a row of its own."""
    features: FeatureConfig = FeatureConfig()
    """What linear and knn look at."""
    logistic: LinearConfig = LinearConfig()
    neighbours: NeighboursConfig = NeighboursConfig()


class RetrievalSection(StrictModel):
    """Nearest neighbours of test videos among the training videos (Table 4, Figure 5)."""

    networks: tuple[str, ...] | None = None
    """Which of the config's networks to judge; null is all."""
    features: FeatureConfig = FeatureConfig()
    top: tuple[PositiveInt, ...] = Field(default=(1, 5, 10, 20, 50), min_length=1)
    num_shown: PositiveInt = 6
    """Queries in the picture."""


class SyncSection(FrozenSection):
    """By how many frames two overlapping clips are shifted (Table 3)."""

    stride: PositiveInt = 1
    """Frames from one frame of a clip to the next; the shift counts such steps."""
    frozen: bool = True
    """Whether the convolutions stay as they are."""


class BeforeAfterSection(FrozenSection):
    """Which of two disjoint pieces of a video comes first (Table 3)."""

    stride: PositiveInt = 1
    frozen: bool = False
    tests_per_video: PositiveInt = 5
    """Pairs of pieces that each test video gives, each in both orders."""


class StillSection(StrictModel):
    """The probe of three new layers on clips that repeat one frame, by the recipe of `probe`, beside the moving one."""

    networks: tuple[str, ...] | None = None
    """Which of the config's networks to judge; null is all but trivial features."""


class SaliencySection(StrictModel):
    """What moves a network's answer: guided backpropagation (Figure 4)."""

    networks: tuple[str, ...] | None = None
    """Which of the config's networks to show, in this order; null is all that are trained."""
    num_videos: PositiveInt = 3
    videos: tuple[str, ...] = ()
    """Keys of the test videos to show; if empty, num_videos of different classes."""
    stride: PositiveInt = 4


class EvalConfig(JudgingConfig):
    """One setting for all evaluations."""

    transfer: TransferSection = TransferSection()
    probe: ProbeSection = ProbeSection()
    retrieval: RetrievalSection = RetrievalSection()
    sync: SyncSection = SyncSection()
    before_after: BeforeAfterSection = BeforeAfterSection()
    still: StillSection = StillSection()
    saliency: SaliencySection = SaliencySection()
