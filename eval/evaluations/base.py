"""What each evaluation declares: its section of the config and its :class:`Evaluation`. `eval.suite` lists them.

The declaring files import nothing slow, so `--help` is quick. The computing is in `*_rows.py`.
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
