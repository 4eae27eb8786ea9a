"""The picture of an audit: scores of all lines with intervals, and what is recognised from the first frames."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stream_train.audit.table import Audit, shown_metrics
from stream_train.training.metrics import shown_names
from stream_train.training.pictures import save_figure, write_title

_COLOURS = {"network": "#3465a4", "observer": "#c17d11", "videos": "#6b6f76"}
_INCHES_PER_ROW = 0.27


def draw_audit(audit: Audit, path: Path) -> None:
    """Write the PNG: a column for each metric, then one for the seen frames."""
    metrics = shown_metrics(audit)
    columns = len(metrics) + bool(audit.frames_needed)
    figure = Figure(figsize=(3.2 + 3.1 * columns, 1.6 + _INCHES_PER_ROW * len(audit.rows)), layout="constrained")
    videos = f"{audit.num_videos} videos of {audit.split or 'all'}"
    write_title(figure, f"audit of {audit.task}, step {audit.step}: {videos}")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for column, metric in enumerate(metrics):
        _draw_scores(axes[column], audit, metric, named=column == 0)
    if audit.frames_needed:
        _draw_seen(axes[-1], audit)
    save_figure(figure, path)


def _draw_scores(axes: Axes, audit: Audit, metric: str, *, named: bool) -> None:
    for place, row in enumerate(audit.rows):
        if metric in row.scores:
            low, high = row.intervals[metric]
            axes.plot([low, high], [place, place], color=_COLOURS[row.group], linewidth=1.5)
            axes.plot(row.scores[metric], place, "o", color=_COLOURS[row.group], markersize=5)
    if metric in audit.guesses:
        axes.axvline(audit.guesses[metric], color="black", linestyle=":", linewidth=1)
    axes.axvline(audit.rows[0].scores[metric], color=_COLOURS["network"], alpha=0.25, linewidth=1)
    lowest = min(0.0, *(row.scores.get(metric, 0.0) for row in audit.rows))
    axes.set(xlim=(max(-1.0, lowest), 1), ylim=(len(audit.rows) - 0.5, -0.5), xlabel="dotted: guessing")
    axes.set_title(metric.replace("_", " "), fontsize=9)
    axes.set_yticks(range(len(audit.rows)), [row.name for row in audit.rows] if named else [], fontsize=8)
    axes.grid(axis="x", alpha=0.25)


def _draw_seen(axes: Axes, audit: Audit) -> None:
    for name, shares in zip(shown_names(audit.frames_needed), audit.frames_needed.values(), strict=True):
        axes.plot(list(shares), list(shares.values()), "o-", markersize=3, linewidth=1.2, label=name)
    axes.axhline(1 / len(audit.frames_needed), color="black", linestyle=":", linewidth=1)
    axes.set(ylim=(0, 1), xlabel="frames seen", ylabel="share recognised")
    axes.set_xticks(list(next(iter(audit.frames_needed.values()))))
    axes.set_title("from the first frames", fontsize=9)
    if len(audit.frames_needed) <= 8:
        axes.legend(fontsize=7)
    axes.grid(alpha=0.25)
