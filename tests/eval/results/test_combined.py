"""Rows of several splits and seeds as one result: what belongs together, and what must never be mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_results import pretraining_of, write_result

from eval.results.combined import Combined, combine
from eval.results.intervals import ScoredRun, combined_interval, grouped_interval
from eval.results.rows import read_row, read_scores
from shardify.errors import UsageError, WorkError

RIGHT = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0]  # 5 of 8
WRONG = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]  # 2 of 8
EVEN = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0]  # 4 of 8


def value_of(result: Combined) -> float:
    return result.metrics["accuracy"].value


def test_a_single_row_keeps_its_own_numbers(tmp_path: Path) -> None:
    folder = write_result(tmp_path, "transfer", "finetune", RIGHT, pretraining=pretraining_of(), num_left_out=3)
    (result,) = combine([tmp_path])
    assert result.metrics == read_row(folder).metrics
    assert (result.num_splits, result.num_seeds, result.num_videos, result.num_groups) == (1, 1, 8, 4)
    assert (result.num_left_out, result.root) == (3, tmp_path)


def test_splits_and_seeds_are_averaged(tmp_path: Path) -> None:
    network = pretraining_of()
    folders = [
        write_result(tmp_path, "transfer", "finetune", RIGHT, pretraining=network, num_left_out=3),
        write_result(tmp_path, "transfer", "finetune", WRONG, pretraining=network, seed=1, num_left_out=3),
        write_result(tmp_path, "transfer", "finetune", EVEN, pretraining=network, split=2, num_left_out=1),
    ]
    (result,) = combine([tmp_path])
    assert value_of(result) == pytest.approx(((5 + 2) / 2 / 8 + 4 / 8) / 2)
    assert (result.num_splits, result.num_seeds, result.num_left_out) == (2, 2, 3 + 1)
    assert (result.num_videos, result.num_groups) == (16, 8)
    runs = []
    for folder, split in zip(folders, ("1", "1", "2"), strict=True):
        scores = read_scores(folder)
        runs.append(ScoredRun(split=split, values=scores.values["accuracy"], groups=scores.groups))
    metric = result.metrics["accuracy"]
    assert (metric.low, metric.high) == combined_interval(runs)
    pooled = np.concatenate([run.values for run in runs])
    assert (metric.low, metric.high) != grouped_interval(pooled, tuple(g for run in runs for g in run.groups))


def test_splits_may_lie_in_different_folders(tmp_path: Path) -> None:
    network = pretraining_of()
    write_result(tmp_path / "a", "transfer", "finetune", RIGHT, pretraining=network)
    write_result(tmp_path / "b", "transfer", "finetune", WRONG, pretraining=network, split=2)
    (result,) = combine([tmp_path / "a", tmp_path / "b"])
    assert value_of(result) == pytest.approx(7 / 16)
    assert result.num_splits == 2


def test_a_row_counts_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_result(tmp_path / name, "transfer", "finetune", RIGHT, pretraining=pretraining_of())
    (result,) = combine([tmp_path, tmp_path / "a", tmp_path / "a" / ".." / "a"])
    assert (value_of(result), result.num_seeds, result.num_splits) == (5 / 8, 1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "of another run"},
        {"network": "other"},
        {"data_set": "hmdb51"},
        {"pretraining": pretraining_of(epochs=50)},
        {"pretraining": pretraining_of(motions=["warp"])},
        {"architecture": "r3d18"},
        {"config": {"epochs": 75, "train_fingerprint": "train1"}},
        {"fingerprint": "rebuilt", "seed": 0},
        {"config": {"epochs": 50, "train_fingerprint": "b"}, "seed": 0},
    ],
)
def test_what_differs_is_not_mixed(tmp_path: Path, changes: dict[str, Any]) -> None:
    shared: dict[str, Any] = {"pretraining": pretraining_of()}
    write_result(tmp_path / "a", "transfer", "finetune", RIGHT, **shared)
    write_result(tmp_path / "b", "transfer", "finetune", WRONG, **shared | {"seed": 1} | changes)
    assert [value_of(result) for result in combine([tmp_path])] == [5 / 8, 2 / 8]


def test_seeds_of_random_weights_are_seeds_beside_those_of_the_labels(tmp_path: Path) -> None:
    for root, right, network_seed in (("a", RIGHT, 0), ("a2", WRONG, 1)):
        config = {"labels": 5, "network_seed": network_seed, "train_fingerprint": "train1"}
        write_result(tmp_path / root, "probe", "linear-5", right, pretraining=pretraining_of(), config=config)
    (result,) = combine([tmp_path])
    assert (value_of(result), result.num_seeds) == (3.5 / 8, 2)


def test_random_weights_of_different_runs_are_not_mixed(tmp_path: Path) -> None:
    write_result(tmp_path / "a", "transfer", "finetune", RIGHT, network="random")
    write_result(tmp_path / "a", "transfer", "finetune", WRONG, network="random", seed=1)
    write_result(tmp_path / "b", "transfer", "finetune", EVEN, network="random", seed=2)
    assert [value_of(result) for result in combine([tmp_path])] == [3.5 / 8, 4 / 8]


def test_the_paper_s_data_sets_have_one_name(tmp_path: Path) -> None:
    names = ("UCF-101", "ucf101-8", "mine")
    for i, name in enumerate(names):
        write_result(tmp_path, "transfer", "finetune", RIGHT, pretraining=pretraining_of(), data_set=name, seed=i)
    assert {result.data_set for result in combine([tmp_path])} == {"ucf101", "ucf101-8", "mine"}


def test_damage_and_missing_folders_are_named(tmp_path: Path) -> None:
    folder = write_result(tmp_path, "transfer", "finetune", RIGHT, pretraining=pretraining_of())
    write_result(tmp_path, "transfer", "finetune", RIGHT, pretraining=pretraining_of(), seed=1)
    (folder / "videos.csv").unlink()
    with pytest.raises(WorkError, match=r"seed0/videos\.csv does not exist"):
        combine([tmp_path])
    (folder / "row.json").write_text("{}")
    with pytest.raises(WorkError, match=r"seed0/row\.json is damaged or not a result row"):
        combine([tmp_path])
    with pytest.raises(UsageError, match="nowhere does not exist"):
        combine([tmp_path / "nowhere"])
    assert combine([]) == []


def test_rows_of_earlier_versions_belong_to_later_ones_of_the_same_weights(tmp_path: Path) -> None:
    for split, later in ((1, {}), (2, {"changes": {"data.crop": 56}})):
        write_result(tmp_path, "transfer", "finetune", RIGHT, pretraining=pretraining_of() | later, split=split)
    (result,) = combine([tmp_path])
    assert result.num_splits == 2
