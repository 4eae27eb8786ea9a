"""Combine result rows of several splits and seeds.

In: folders with results of evaluations. Out: :class:`Combined` results. Rows belong together if they differ only in
split and seed: they have the same evaluation, settings, data set and weights. Random weights and features without a
network have no checksum; their rows must come from the same run of evaluations, because only its config says how wide
the networks are.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eval.results.intervals import ScoredRun, combined_interval, combined_mean, mean_of_jobs
from eval.results.paper import Reported, find_reported, paper_data_set
from eval.results.rows import Metric, Row, VideoScores, find_rows, read_row, read_scores
from shardify.progress import counting

DATA_KEYS = ("train_fingerprint",)
"""Keys of a row's config that differ between splits: the training data."""
SEED_KEYS = ("network_seed",)
"""Keys of a row's config with seeds of random weights. (The row's own seed draws the labelled videos.)"""
LATER_KEYS = ("changes", "learning_rate")
"""Keys of a row's `pretraining` that rows of earlier versions lack."""
_LEVELS_BELOW_ROOT = 5
"""A row lies in ROOT/<evaluation>/<variant>/<network>/<data set>-<train split>/seed<k>."""


@dataclass(frozen=True, kw_only=True)
class Combined:
    """The result of one or more rows that belong together."""

    row: Row
    """One of the rows, for the fields that all share."""
    root: Path
    """The folder of the run of evaluations that wrote `row`, or of the study."""
    metrics: dict[str, Metric]
    """Means over splits of means over seeds; those of a single row are unchanged."""
    num_splits: int
    num_seeds: int
    """In the split with most seeds; in a study, seeds of the study."""
    num_videos: int
    """Distinct test videos of all splits."""
    num_groups: int
    num_left_out: int
    """Test videos of all splits that are too short."""
    rows: tuple[tuple[Path, Row], ...]
    """All rows with their folders."""
    study: Path | None = None
    """The folder of the study."""

    @cached_property
    def reported(self) -> Reported:
        """The paper's line about this experiment."""
        return find_reported(self.row)

    @property
    def main_metric(self) -> str:
        return next(iter(self.metrics))

    @property
    def data_set(self) -> str:
        """The name of the test data. The paper's data sets have one spelling each, which is no other data set's."""
        name, num_classes = self.row.data_set, self.row.num_classes
        if (paper := paper_data_set(name, num_classes)) is not None:
            return paper
        return name if paper_data_set(name) is None else f"{name} ({num_classes} classes)"

    @property
    def network(self) -> tuple[str, ...]:
        """Equal for the same network in different evaluations."""
        row = self.row
        weights = row.weights or json.dumps(dict(row.options), sort_keys=True)
        return (row.network, row.architecture, _training_of_weights(row), weights)


def combine(roots: Iterable[Path], *, study: Path | None = None) -> list[Combined]:
    """All results below some folders: first this method, then other training, random weights, no network.

    Of rows with the same network, settings, data, split and seed, only the first counts. `study` is the folder of a
    study: there, each seed has a network of its own, so rows of one name belong together although the weights differ,
    and the rows of a seed, such as draws of labelled videos, are averaged.

    Raises:
        UsageError: if a folder does not exist.
        WorkError: if a row is damaged.
    """
    together: dict[tuple[str, ...], list[tuple[Path, Row]]] = defaultdict(list)
    seen = set()
    for folder in {folder.resolve(): folder for root in roots for folder in find_rows(root)}.values():
        row = read_row(folder)
        key = _what_is_shared(row, weights=row.weights or str(_root_of(folder.resolve())) if study is None else "")
        seeds = (row.seed, *(row.config.get(name) for name in SEED_KEYS))
        own = (key, split_of(row), _data_of(row), seeds, row.weights, job_of(folder, study))
        if own not in seen:
            seen.add(own)
            together[key].append((folder, row))
    groups = [rows for group in together.values() for rows in _of_one_data(group)]
    results = [_combine(rows, study) for rows in counting(groups, unit="result", doing="combining")]
    return sorted(results, key=lambda result: _rank(result.row))


def _rank(row: Row) -> int:
    if row.pretraining is None:
        return 3 + (row.architecture == "none")
    return {"transformations": 0, "transfer": 1}.get(str(row.pretraining["question"]), 2)


def _what_is_shared(row: Row, weights: str) -> tuple[str, ...]:
    settings = {name: value for name, value in row.config.items() if name not in (*DATA_KEYS, *SEED_KEYS)}
    return (
        *(row.evaluation, row.variant, row.network, row.architecture, row.data_set),
        weights,
        _training_of_weights(row),
        json.dumps(settings, sort_keys=True),
    )


def _training_of_weights(row: Row) -> str:
    """The row's `pretraining` as text, without the keys that rows of earlier versions lack."""
    pretraining = row.pretraining and {k: v for k, v in row.pretraining.items() if k not in LATER_KEYS}
    return json.dumps(pretraining, sort_keys=True)


def _of_one_data(rows: Sequence[tuple[Path, Row]]) -> list[list[tuple[Path, Row]]]:
    """Separate rows by their data, if rows with the same split name have different data."""
    found = defaultdict(set)
    for _, row in rows:
        found[split_of(row)].add(_data_of(row))
    if all(len(data) == 1 for data in found.values()):
        return [list(rows)]
    apart = defaultdict(list)
    for folder, row in rows:
        apart[_data_of(row)].append((folder, row))
    return list(apart.values())


def _data_of(row: Row) -> tuple[str, ...]:
    return (row.fingerprint, *(str(row.config.get(key)) for key in DATA_KEYS))


def job_of(folder: Path, study: Path | None) -> str:
    """The name of the seed's folder that a result of a study lies in; "" outside a study."""
    return "" if study is None else folder.resolve().relative_to(study.resolve()).parts[1]


def _combine(rows: Sequence[tuple[Path, Row]], study: Path | None) -> Combined:
    row = rows[0][1]
    splits: dict[str, list[Row]] = defaultdict(list)
    jobs: dict[str, set[str | Path]] = defaultdict(set)
    for folder, other in rows:
        splits[split_of(other)].append(other)
        jobs[split_of(other)].add(job_of(folder, study) or folder)
    shared: dict[str, Any] = {
        "row": row,
        "rows": tuple(rows),
        "root": study or _root_of(rows[0][0]),
        "num_splits": len(splits),
        "num_seeds": max(map(len, jobs.values())),
        "study": study,
        "num_left_out": sum(others[0].num_left_out for others in splits.values()),
    }
    if len(rows) == 1:
        return Combined(metrics=row.metrics, num_videos=row.num_videos, num_groups=row.num_groups, **shared)
    scores = [(split_of(other), job_of(place, study), read_scores(place)) for place, other in rows]
    return Combined(
        metrics={name: _metric(scores, name) for name in row.metrics},
        num_videos=len({key for _, _, videos in scores for key in videos.keys}),
        num_groups=len({group for _, _, videos in scores for group in videos.groups}),
        **shared,
    )


def _metric(scores: Sequence[tuple[str, str, VideoScores]], name: str) -> Metric:
    runs = mean_of_jobs(
        ScoredRun(split=split, values=videos.values[name], groups=videos.groups, job=job)
        for split, job, videos in scores
    )
    low, high = combined_interval(runs)
    return Metric(value=combined_mean(runs), low=low, high=high)


def split_of(row: Row) -> str:
    """The name of a row's pair of splits."""
    return f"{row.train_split}/{row.test_split}"


def _root_of(folder: Path) -> Path:
    return folder.parents[min(_LEVELS_BELOW_ROOT, len(folder.parents)) - 1]
