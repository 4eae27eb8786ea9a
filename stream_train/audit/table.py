"""The table of an audit: one line for each kind of clips, observer, and part of the videos.

In: each video's sums, as `ClipTask.count` gives them. Out: scores with bootstrap intervals over videos, and text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shardify.shards.record import dump_json
from shardify.storage.folder_store import FolderStore
from stream_train.tasks.base import ClipTask
from stream_train.training.metrics import SCORE_ENDINGS, score_words, shown_names

AUDIT_NAME = "audit.json"
AUDIT_PICTURE = "audit.png"
RESAMPLES = 300
Counts = dict[int, dict[str, Tensor]]
"""Position of a video -> its sums by name."""


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """One line of the table."""

    group: str
    """network (changed clips), observer (no network), or videos (a part of them)."""
    name: str
    num_videos: int
    scores: dict[str, float]
    """Metric -> value."""
    intervals: dict[str, tuple[float, float]]
    """Metric -> 95 % bootstrap interval over videos."""
    reading: str
    """How to read this line."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """An audit; audit.json holds these fields."""

    task: str
    step: int
    split: str | None
    shards_fingerprint: str
    num_videos: int
    guesses: dict[str, float]
    """Metric -> what guessing gets."""
    rows: tuple[AuditRow, ...]
    frames_needed: dict[str, dict[int, float]]
    """Class of the first question -> frames seen -> share of its clips that a new linear classifier recognises."""


def write_audit(folder: Path, audit: Audit) -> None:
    """Write AUDIT_NAME to a folder, which is created if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    FolderStore(folder).write(AUDIT_NAME, dump_json(asdict(audit), indent=1))


def make_row(task: ClipTask, group: str, name: str, counts: Counts, reading: str) -> AuditRow:
    """A line of the sums of some videos; the interval resamples the videos with a fixed seed."""
    videos = list(counts.values())
    names = list(dict.fromkeys(name for video in videos for name in video))
    stacked = {name: torch.stack([video[name] for video in videos]).double() for name in names}
    random = np.random.default_rng(0)
    resampled: dict[str, list[float]] = {}
    for _ in range(RESAMPLES):
        weights = torch.from_numpy(np.bincount(random.integers(len(videos), size=len(videos)), minlength=len(videos)))
        for metric, value in task.compute_metrics(_weighted(stacked, weights.double())).items():
            resampled.setdefault(metric, []).append(value)
    scores = task.compute_metrics(_weighted(stacked, torch.ones(len(videos), dtype=torch.float64)))
    intervals = {
        metric: (float(low), float(high))
        for metric, values in resampled.items()
        if metric in scores
        for low, high in [np.quantile(values, [0.025, 0.975])]
    }
    return AuditRow(group=group, name=name, num_videos=len(videos), scores=scores, intervals=intervals, reading=reading)


def _weighted(stacked: Mapping[str, Tensor], weights: Tensor) -> dict[str, Tensor]:
    return {name: torch.tensordot(weights, values, dims=1) for name, values in stacked.items()}


def shown_metrics(audit: Audit) -> list[str]:
    """The metrics of the table's columns: scores only, no guesses."""
    return [metric for metric in audit.rows[0].scores if metric.endswith(SCORE_ENDINGS)]


def frames_until_clear(shares: Mapping[int, float], guessing: float) -> int | None:
    """The fewest first frames that give 90 % of what all frames give above guessing; None where all give nothing.

    `shares` are one class's in `Audit.frames_needed`.
    """
    gained = shares[max(shares)] - guessing
    if gained <= 0:
        return None
    return min(count for count, share in shares.items() if share - guessing >= 0.9 * gained)


def audit_lines(audit: Audit) -> list[str]:
    """The table as text, with a sentence on each line, and the frames that each class needs."""
    metrics = shown_metrics(audit)
    width = max(len(row.name) for row in audit.rows) + 2
    titles = [score_words(metric) for metric in metrics]
    lines = [
        f"{audit.task}, step {audit.step}, split {audit.split or 'all'}: {audit.num_videos} videos, 95 % intervals",
        "",
        " " * width + "".join(title.rjust(20) for title in titles) + "  how to read it",
        "guessing".ljust(width) + "".join(_number(audit.guesses.get(metric)).rjust(20) for metric in metrics),
    ]
    group = ""
    for row in audit.rows:
        if row.group != group:
            group = row.group
            lines.append({"network": "the network", "observer": "observers without a network"}.get(group, "parts"))
        cells = "".join(_cell(row, metric).rjust(20) for metric in metrics)
        lines.append(f"{row.name.ljust(width)}{cells}  {row.reading}")
    if audit.frames_needed:
        counts = list(next(iter(audit.frames_needed.values())))
        lines += ["", "share recognised from the first frames, by a new linear classifier on the network's features"]
        lines.append("frames".ljust(width) + "".join(str(count).rjust(8) for count in counts) + "enough".rjust(10))
        for name, shares in zip(shown_names(audit.frames_needed), audit.frames_needed.values(), strict=True):
            enough = frames_until_clear(shares, 1 / len(audit.frames_needed)) or "-"
            cells = "".join(f"{share:.2f}".rjust(8) for share in shares.values())
            lines.append(f"{name.ljust(width)}{cells}{enough:>10}")
        lines.append("enough: the fewest frames that give 90 % of what all give above guessing")
    return lines


def _cell(row: AuditRow, metric: str) -> str:
    if metric not in row.scores:
        return "-"
    low, high = row.intervals[metric]
    return f"{row.scores[metric]:.2f} ({low:.2f}-{high:.2f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
