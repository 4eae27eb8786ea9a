"""Runs side by side: folders of runs -> one self-contained HTML page.

In: at least two runs, of which at least one can be read. Out: a page with what differs in their configs, their held-out
results over the epochs, and their evaluations' results; it names what is missing, and what cannot be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eval.report.comparability import warnings_about
from eval.report.held_out import Plot, held_out_plots
from eval.report.pretraining import TaskMetric
from eval.report.result_groups import ResultGroup, result_groups
from eval.report.runs import ABSENT, FoundRuns, RunOf, opened_runs
from eval.report.writing import fill, page_target, write_page
from stream_train.training.metrics import SCORE_ENDINGS

PAGE_NAME = "runs.html"
TEMPLATE_NAME = "side_by_side.html"
_ALWAYS_OTHER = ("out",)
"""Keys that differ between any two runs, so they are not listed."""


@dataclass(frozen=True, kw_only=True)
class TableLine:
    """A value of each run, as text; ABSENT where a run has none."""

    name: str
    values: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class MetricLine:
    """A score of the pretext task of each run; None where a run has none."""

    name: str
    values: Sequence[TaskMetric | None]


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Everything that the template shows."""

    runs: Sequence[RunOf]
    problems: Sequence[str]
    unfinished: Sequence[RunOf]
    warnings: Sequence[str]
    facts: Sequence[TableLine]
    settings: Sequence[TableLine]
    """The keys of the configs whose values differ."""
    num_equal: int
    """Keys with equal values."""
    metrics: Sequence[MetricLine]
    plots: Sequence[Plot]
    groups: Sequence[ResultGroup]
    few_labels: Sequence[ResultGroup]
    """Probes with few labels; there are many."""
    more_metrics: Sequence[ResultGroup]
    """The groups with their further metrics as lines."""

    @property
    def drawn(self) -> Sequence[tuple[int, str]]:
        """Number and name of each run that has a line in a plot."""
        return sorted({(line.number, line.name) for plot in self.plots for line in plot.lines})


def write_side_by_side(locations: Sequence[str | Path], out: str | Path | None = None) -> str:
    """Write the page about several runs, folders or URLs, and return the page's location.

    `out` is the HTML file or its URL; by default PAGE_NAME in the working folder.

    Raises:
        UsageError: if a run is given twice, no run can be read, or `out` is a folder.
        WorkError: if the scores of a result are damaged, or the disk is full.
    """
    target = page_target(PAGE_NAME if out is None else out)
    with opened_runs(locations) as found:
        page = fill(TEMPLATE_NAME, compare_runs(found))
    write_page(target, page)
    return target


def compare_runs(found: FoundRuns) -> SideBySide:
    """What the page shows of the runs, while their files are open.

    Raises WorkError if the scores of a result are damaged.
    """
    runs = found.runs
    groups = result_groups(runs)
    settings = _table([run.settings for run in runs])
    differing = [line for line in settings if len(set(line.values)) > 1 and line.name not in _ALWAYS_OTHER]
    return SideBySide(
        runs=runs,
        problems=found.problems,
        unfinished=[run for run in runs if run.pretraining and not run.pretraining.is_finished],
        warnings=[*warnings_about(runs), *_about_groups(groups)],
        facts=_table([dict(run.pretraining.facts) if run.pretraining else {} for run in runs]),
        settings=differing,
        num_equal=len([line for line in settings if len(set(line.values)) == 1]),
        metrics=_metrics(runs),
        plots=held_out_plots(runs),
        groups=[group for group in groups if not group.has_few_labels],
        few_labels=[group for group in groups if group.has_few_labels],
        more_metrics=[replace(group, lines=group.more_lines) for group in groups if group.more_lines],
    )


def _about_groups(groups: Sequence[ResultGroup]) -> list[str]:
    """One sentence about all evaluations that cannot be compared."""
    apart = dict.fromkeys(group.title for group in groups if group.differences)
    return [f"Settings or data of evaluations differ: {', '.join(apart)}; the table says which."] if apart else []


def _table(columns: Sequence[Mapping[str, str]]) -> list[TableLine]:
    names = dict.fromkeys(name for column in columns for name in column)
    return [TableLine(name=name, values=[column.get(name, ABSENT) for column in columns]) for name in names]


def _metrics(runs: Sequence[RunOf]) -> list[MetricLine]:
    columns = [{metric.name: metric for metric in run.pretraining.metrics} if run.pretraining else {} for run in runs]
    known = dict.fromkeys(name for column in columns for name in column if column[name].held_out)
    names = [name for name in known if name.replace(" ", "_").endswith(SCORE_ENDINGS)]
    return [MetricLine(name=name, values=[column.get(name) for column in columns]) for name in names]
