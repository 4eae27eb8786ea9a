"""Differences of two networks: paired by video, split and seed; narrower than unpaired ones; verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers_results import pretraining_of, write_result

from eval.results.combined import Combined, combine
from eval.results.differences import num_paired_seeds, paired_difference
from eval.results.intervals import ScoredRun, combined_interval
from eval.results.rows import Metric, read_scores
from eval.tables.build import build_tables, tables_markdown
from eval.tables.differences import NAME, verdict


def two(root: Path, first: list[list[float]], second: list[list[float]], **changes: int) -> tuple[Combined, Combined]:
    """The method's network and random weights; a list of answers for each seed."""
    for seed, right in enumerate(first):
        write_result(root, "transfer", "finetune", right, pretraining=pretraining_of(), weights="one", seed=seed)
    for seed, right in enumerate(second):
        number = seed + changes.get("from_seed", 0)
        write_result(root, "transfer", "finetune", right, network="random", seed=number)
    one, other = combine([root])
    return one, other


def test_a_small_difference_on_the_same_videos_is_certain_though_the_intervals_overlap(tmp_path: Path) -> None:
    """Half of the videos are hard for both; the first network also answers a tenth more, in every part of the data."""
    base = np.array([i // 2 % 2 == 0 for i in range(200)], dtype=float)
    more = base.copy()
    more[10::20] = more[15::20] = 1
    one, other = two(tmp_path, [more.tolist()], [base.tolist()])
    difference = paired_difference(one, other, "accuracy")
    assert difference is not None
    assert difference.value == pytest.approx(0.1)
    assert 0 < difference.low < 0.1 < difference.high
    assert one.metrics["accuracy"].low < other.metrics["accuracy"].high
    reverse = paired_difference(other, one, "accuracy")
    assert reverse is not None
    assert (reverse.value, reverse.low, reverse.high) == pytest.approx(
        (-difference.value, -difference.high, -difference.low)
    )


def test_runs_are_paired_by_seed(tmp_path: Path) -> None:
    """Each seed moves both networks alike, so the seeds do not widen the interval."""
    videos = [1.0, 0.0] * 20
    weak, strong = [0.0, 0.0] * 20, [1.0, 1.0] * 20
    one, other = two(tmp_path, [videos, strong], [weak, videos])
    difference = paired_difference(one, other, "accuracy")
    assert difference is not None
    assert difference.value == 0.5
    assert not difference.has_interval  # every group and both seeds differ by the same 0.5


def test_other_seeds_are_paired_in_their_order_and_lone_runs_left_out(tmp_path: Path) -> None:
    one, other = two(tmp_path, [[1.0] * 8, [0.0] * 8], [[0.0] * 8], from_seed=7)
    difference = paired_difference(one, other, "accuracy")
    assert difference is not None
    assert difference.value == 1
    (table,) = [table for table in build_tables([tmp_path]) if table.name == NAME]
    assert [row.cells[5] for row in table.rows] == ["no interval, on 1 seed"]


def test_draws_of_labels_are_no_seeds_of_a_study(tmp_path: Path) -> None:
    """Two pre-trainings with three draws each count as two; so does the random row, which repeats its results."""
    answers = np.random.default_rng(0).integers(0, 2, size=(2, 3, 16)).astype(float)
    for seed in range(2):
        for draw in range(3):
            folders = [tmp_path / row / f"seed{seed}" / "x" for row in ("all", "random")]
            right, trained = answers[seed, draw].tolist(), pretraining_of()
            write_result(folders[0], "probe", "knn-5", right, network="all", pretraining=trained, seed=draw)
            write_result(folders[1], "probe", "knn-5", [1.0] * 16, network="random", seed=draw)
    one, other = combine([tmp_path], study=tmp_path)
    assert (one.num_seeds, other.num_seeds) == (2, 2)
    assert num_paired_seeds(one, other) == 2
    difference = paired_difference(one, other, "accuracy")
    groups = read_scores(one.rows[0][0]).groups
    averaged = [ScoredRun(split="1", values=answers[seed].mean(axis=0) - 1, groups=groups) for seed in range(2)]
    assert difference is not None
    assert difference.value == pytest.approx(answers.mean() - 1)
    assert (difference.low, difference.high) == pytest.approx(combined_interval(averaged))
    assert one.metrics["accuracy"].low == pytest.approx(difference.low + 1)


def test_no_common_video_no_difference(tmp_path: Path) -> None:
    write_result(tmp_path, "transfer", "finetune", [1.0] * 8, pretraining=pretraining_of(), split=1)
    write_result(tmp_path, "transfer", "finetune", [0.0] * 8, network="random", split=2)
    one, other = combine([tmp_path])
    assert paired_difference(one, other, "accuracy") is None
    assert NAME not in {table.name for table in build_tables([tmp_path])}


@pytest.mark.parametrize(
    ("metric", "low", "high", "word"),
    [
        ("accuracy", 0.1, 0.3, "better"),
        ("accuracy", -0.3, -0.1, "worse"),
        ("mae", 0.1, 0.3, "worse"),
        ("mae", -0.3, -0.1, "better"),
        ("accuracy", -0.1, 0.3, "undecided"),
        ("accuracy", 0.0, 0.3, "undecided"),
        ("accuracy", float("nan"), float("nan"), "no interval"),
    ],
)
def test_verdicts(metric: str, low: float, high: float, word: str) -> None:
    assert verdict(metric, Metric(value=(low + high) / 2, low=low, high=high)) == word


def test_the_table_compares_the_first_network_with_each_other(tmp_path: Path) -> None:
    write_result(tmp_path, "transfer", "finetune", [1.0] * 6 + [0.0, 1.0], pretraining=pretraining_of())
    write_result(tmp_path, "transfer", "finetune", [0.0, 1.0] * 4, network="random")
    write_result(tmp_path, "transfer", "finetune", [0.0] * 8, network="scratch", weights="s")
    write_result(tmp_path, "retrieval", "pooled", {"top1": [1.0] * 8}, network="random")
    (table,) = [table for table in build_tables([tmp_path]) if table.name == NAME]
    assert [row.cells[2:4] for row in table.rows] == [("pretrained", "random"), ("pretrained", "scratch")]
    assert [row.cells[4].partition(" ")[0] for row in table.rows] == ["37.5", "87.5"]
    assert [row.cells[5] for row in table.rows] == ["undecided", "better"]
    assert table.rows[0].is_measured
    assert "Differences between networks" in tables_markdown([table])
