"""What each evaluation declares: its section of the config and its :class:`Evaluation`. `eval.suite` lists them.

The declaring files import nothing slow, so `--help` is quick. The computing is in `*_rows.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from eval.judging.config import FineTuneOptimizer, FrozenNorm
from shardify.config import StrictModel

if TYPE_CHECKING:
    from eval.config import EvalConfig
    from eval.judging.setting import Say
    from eval.results.rows import Row
    from shardify.arrays import IntArray
    from stream_train.training.distributed import World

    Run = Callable[[EvalConfig, World, Say], list[Row]]


class Section(StrictModel):
    """The keys of every evaluation."""

    networks: tuple[str, ...] | None = None
    """Which of the config's networks to evaluate; null is all that the evaluation can use."""


class FitSection(Section):
    """The keys of every evaluation that trains."""

    epochs: PositiveInt = 50
    optimizer: FineTuneOptimizer = FineTuneOptimizer()


class FrozenSection(FitSection):
    """The keys of every evaluation that can freeze convolutions."""

    frozen_norm: FrozenNorm = "evaluation"
    """Mode of BatchNorm in frozen convolutions: `evaluation`, or `training` as in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Clips that an evaluation of one network, with one pair of splits and one seed, uses: what it costs."""

    trained: int = 0
    """In training all layers."""
    frozen: int = 0
    """In training new layers on frozen convolutions."""
    tested: int = 0
    """In tests of what was trained."""
    features: int = 0
    """Only for their features, without training."""
    num_trainings: int = 0
    num_results: int = 0

    def __bool__(self) -> bool:
        return any((self.trained, self.frozen, self.tested, self.features))

    def __add__(self, other: Clips) -> Clips:
        return Clips(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def __mul__(self, times: int) -> Clips:
        return Clips(**{name: value * times for name, value in vars(self).items()})

    def only_features(self) -> Clips:
        """The clips of features without a network, which take no part in trainings."""
        return Clips(features=self.features, num_results=self.num_results - self.num_trainings)

    def only_trained(self) -> Clips:
        """The clips of a network with its own learning rate, which takes part only where all layers are trained."""
        return self if self.trained else Clips()


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One evaluation, for the command line, `video-eval all` and the report."""

    name: str
    """Used in rows, folders and the config."""
    title: str
    """Heading in the report."""
    short: str
    question: str
    """One sentence for the report: what the numbers mean."""
    help: str
    section: type[Section]
    """Its section of the config."""
    load: Callable[[], Run]
    """Imports the slow code and returns the function that runs the evaluation."""
    clips: Callable[[EvalConfig, IntArray, IntArray, Container[str]], Clips] = lambda *_: Clips()
    """What one network costs. From a config, the lengths of the training and of the test videos, int64 (V,), and the
    names of the evaluations that run in the same place."""
    makes_rows: bool = True
    """False for an evaluation that only draws."""
    has_all_clips: bool = False
    """Whether it has the option --all-clips."""
    is_wanted: Callable[[EvalConfig], bool] = lambda _: True
    """Whether `video-eval all` runs it."""

    @property
    def command(self) -> str:
        return self.name.replace("_", "-")

    def section_of(self, config: EvalConfig) -> Section:
        """Its section in a config."""
        section = getattr(config, self.name)
        assert isinstance(section, self.section)
        return section
