"""What an evaluation declares of itself.

Each evaluation has a file here with its section of the config and its :class:`Evaluation`; `eval.suite` lists them.
These files import nothing slow, so that `--help` is quick. The computing is in `*_rows.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from eval.judging.config import FineTuneOptimizer, FrozenNorm
from shardify.config import StrictModel

if TYPE_CHECKING:
    from eval.config import EvalConfig
    from eval.judging.setting import Say
    from eval.results.rows import Row
    from stream_train.training.distributed import World

    Run = Callable[[EvalConfig, World, Say], list[Row]]


class Section(StrictModel):
    """The keys of every evaluation."""

    networks: tuple[str, ...] | None = None
    """Which of the config's networks to evaluate; null is every one that the evaluation can use."""


class FitSection(Section):
    """The keys of every evaluation that trains."""

    epochs: PositiveInt = 50
    optimizer: FineTuneOptimizer = FineTuneOptimizer()


class FrozenSection(FitSection):
    """The keys of every evaluation that may freeze convolutions."""

    frozen_norm: FrozenNorm = "evaluation"
    """BatchNorm below frozen convolutions: frozen like the weights, or in training mode as in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One evaluation, for the command line, `video-eval all` and the report."""

    name: str
    """In rows, folders and the config."""
    title: str
    """Heading in the report."""
    short: str
    """The title where space is short."""
    question: str
    """One sentence for the report: what the numbers say."""
    help: str
    section: type[Section]
    """Its keys in the config."""
    load: Callable[[], Run]
    """Imports the computing code and returns the function that runs the evaluation."""
    makes_rows: bool = True
    """False for an evaluation that only draws."""
    has_all_clips: bool = False
    """Whether it tests on sub-sequences of videos, so that the option --all-clips applies."""
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
