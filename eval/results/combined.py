"""Result rows of several splits and seeds -> one result each.

In: folders that evaluations wrote below. Out: :class:`Combined` results. Rows belong together that differ by split and
seed alone: the same evaluation, settings and data set, and the same weights. Random weights and features without a
network have no checksum; theirs must come from the same run of evaluations, for only its config says how wide they are.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eval.results.intervals import ScoredRun, combined_interval, combined_mean
from eval.results.paper import find_reported, is_whole, like_data_set
from eval.results.paper_tables import PaperRow, PaperTable
from eval.results.rows import Metric, Row, VideoScores, find_rows, read_row, read_scores

DATA_KEYS = ("train_fingerprint",)
"""Keys of a row's config that say which data it learnt from, and so differ between splits."""
SEED_KEYS = ("network_seed",)
"""Keys of a row's config that are seeds too: of random weights, where the row's own draws the labelled videos."""
_LEVELS_BELOW_ROOT = 5
"""A row lies in ROOT/evaluation/variant/network/split/seed."""


@dataclass(frozen=True, kw_only=True)
class Combined:
    """What rows that belong together say together."""

    row: Row
    """One of them, for all that they share."""
    root: Path
    """The folder of the run of evaluations that `row` comes from."""
    metrics: dict[str, Metric]
    """Means over splits of means over seeds; a single row's own metrics."""
    num_splits: int
    num_seeds: int
    """In the split that has most."""
    num_videos: int
    """Different test videos over all splits."""
    num_groups: int
    num_left_out: int
    """Test videos too short for the question, over all splits."""

    @cached_property
    def line(self) -> tuple[PaperTable, PaperRow] | tuple[None, None]:
        """The table and line of the paper that reports the like; two None if there are none."""
        row = self.row
        found = find_reported(
            evaluation=row.evaluation,
            variant=row.variant,
            architecture=row.architecture,
            pretraining=row.pretraining,
            data_set=row.data_set,
        )
        return (None, None) if found is None else found[:2]

    @property
    def data_set(self) -> str:
        """The name of the test data; the paper's, however they are spelled, by the paper's name."""
        name = self.row.data_set
        return (like_data_set(name) or name) if is_whole(name) else name

    @property
    def network(self) -> tuple[str, ...]:
        """What is judged: equal for the same network in different evaluations."""
        row = self.row
        return (row.network, row.architecture, json.dumps(row.pretraining, sort_keys=True), row.weights)


def combine(roots: Iterable[Path]) -> list[Combined]:
    """All results below some folders: this method's, other trained networks', random weights', no network's.

    A row that repeats another's network, settings, data, split and seed is left out.

    Raises:
        UsageError: if a folder does not exist.
        WorkError: if a row is damaged.
    """
    together: dict[tuple[str, ...], list[tuple[Path, Row]]] = defaultdict(list)
    seen = set()
    for folder in {folder.resolve(): folder for root in roots for folder in find_rows(root)}.values():
        row = read_row(folder)
        key = _what_is_shared(folder, row)
        seeds = (row.seed, *(row.config.get(name) for name in SEED_KEYS))
        own = (key, _split_of(row), _data_of(row), seeds)
        if own not in seen:
            seen.add(own)
            together[key].append((folder, row))
    results = [_combine(rows) for group in together.values() for rows in _of_one_data(group)]
    return sorted(results, key=lambda result: _rank(result.row))


def _rank(row: Row) -> int:
    if row.pretraining is None:
        return 3 + (row.architecture == "none")
    return {"transformations": 0, "transfer": 1}.get(str(row.pretraining["question"]), 2)


def _what_is_shared(folder: Path, row: Row) -> tuple[str, ...]:
    settings = {name: value for name, value in row.config.items() if name not in (*DATA_KEYS, *SEED_KEYS)}
    return (
        *(row.evaluation, row.variant, row.network, row.architecture, row.data_set),
        row.weights or str(_root_of(folder.resolve())),
        *(json.dumps(part, sort_keys=True) for part in (row.pretraining, settings)),
    )


def _of_one_data(rows: Sequence[tuple[Path, Row]]) -> list[list[tuple[Path, Row]]]:
    """Apart by the data where one split has several: the same name then stands for different data."""
    found = defaultdict(set)
    for _, row in rows:
        found[_split_of(row)].add(_data_of(row))
    if all(len(data) == 1 for data in found.values()):
        return [list(rows)]
    apart = defaultdict(list)
    for folder, row in rows:
        apart[_data_of(row)].append((folder, row))
    return list(apart.values())


def _data_of(row: Row) -> tuple[str, ...]:
    return (row.fingerprint, *(str(row.config.get(key)) for key in DATA_KEYS))


def _combine(rows: Sequence[tuple[Path, Row]]) -> Combined:
    folder, row = rows[0]
    splits: dict[str, list[Row]] = defaultdict(list)
    for _, other in rows:
        splits[_split_of(other)].append(other)
    shared: dict[str, Any] = {
        "row": row,
        "root": _root_of(folder),
        "num_splits": len(splits),
        "num_seeds": max(map(len, splits.values())),
        "num_left_out": sum(others[0].num_left_out for others in splits.values()),
    }
    if len(rows) == 1:
        return Combined(metrics=row.metrics, num_videos=row.num_videos, num_groups=row.num_groups, **shared)
    scores = [(_split_of(other), read_scores(place)) for place, other in rows]
    return Combined(
        metrics={name: _metric(scores, name) for name in row.metrics},
        num_videos=len({key for _, videos in scores for key in videos.keys}),
        num_groups=len({group for _, videos in scores for group in videos.groups}),
        **shared,
    )


def _metric(scores: Sequence[tuple[str, VideoScores]], name: str) -> Metric:
    runs = [ScoredRun(split=split, values=videos.values[name], groups=videos.groups) for split, videos in scores]
    low, high = combined_interval(runs)
    return Metric(value=combined_mean(runs), low=low, high=high)


def _split_of(row: Row) -> str:
    return f"{row.train_split}/{row.test_split}"


def _root_of(folder: Path) -> Path:
    return folder.parents[min(_LEVELS_BELOW_ROOT, len(folder.parents)) - 1]
