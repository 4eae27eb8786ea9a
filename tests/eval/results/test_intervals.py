"""Intervals: hand-worked and exhaustive ones, how often they hold the truth, and what they say with little evidence."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from eval.results.intervals import ScoredRun, combined_interval, combined_mean, grouped_interval, measure
from eval.results.rows import VideoScores
from shardify.arrays import FloatArray, IntArray


def names(numbers: FloatArray | range | IntArray) -> tuple[str, ...]:
    return tuple(f"g{int(number)}" for number in numbers)


def run_of(values: list[float], groups: str, split: str = "test1") -> ScoredRun:
    return ScoredRun(split=split, values=np.array(values, dtype=np.float64), groups=tuple(groups))


def clustered(
    rng: np.random.Generator, num_groups: int, num_simulations: int
) -> list[tuple[FloatArray, tuple[str, ...]]]:
    """Right or wrong answers, half of them right in the long run: 1 to 9 videos a group, mostly alike."""
    simulations = []
    for _ in range(num_simulations):
        groups = np.repeat(np.arange(num_groups), rng.integers(1, 10, num_groups))
        right = rng.beta(0.5, 0.5, num_groups)[groups]
        simulations.append(((rng.random(len(groups)) < right).astype(np.float64), names(groups)))
    return simulations


def share_that_holds(truth: float, intervals: list[tuple[float, float]]) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def test_the_ends_are_those_of_all_possible_resamples() -> None:
    """Groups of 1, 2, 1, 3 and 1 videos have 5**5 resamples; their quantiles at Phi(-sqrt(5/4) * 2.776) = 0.000955."""
    values = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 0.5, 1.0, 1.0])
    groups = ("a", "b", "b", "c", "d", "d", "d", "e")
    sums = np.array([0.0, 1.0, 1.0, 1.5, 1.0])
    counts = np.array([1, 2, 1, 3, 1])
    draws = np.array(list(itertools.product(range(5), repeat=5)))
    every = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    expected = np.quantile(every, (0.000955, 1 - 0.000955))
    found = grouped_interval(values, groups, num_resamples=200_000)
    assert found == pytest.approx(expected, abs=0.02)
    plain = np.quantile(every, (0.025, 0.975))
    assert found[0] < plain[0] - 0.05
    assert found[1] > plain[1] + 0.05 or found[1] == 1.0


def test_the_same_arguments_give_the_same_ends_for_ever() -> None:
    values, groups = np.arange(7.0), tuple("aabcdef")
    assert grouped_interval(values, groups) == grouped_interval(values, groups) == (1.0, 16 / 3)
    assert grouped_interval(values, groups, num_resamples=501) != grouped_interval(
        values, groups, num_resamples=501, seed=1
    )


def test_blocks_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = np.arange(40.0), names(np.arange(40) // 2)
    whole = grouped_interval(values, groups, num_resamples=999)
    monkeypatch.setattr("eval.results.intervals._BLOCK_DRAWS", 20 * 7)
    assert grouped_interval(values, groups, num_resamples=999) == whole


def test_the_order_of_videos_and_the_names_of_groups_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    ((values, groups),) = clustered(rng, 20, 1)
    order = rng.permutation(len(values))
    assert grouped_interval(values[order], tuple(groups[i] for i in order)) == grouped_interval(values, groups)


@pytest.mark.parametrize("num_groups", [12, 32, 100])
def test_the_interval_holds_the_truth_as_often_as_it_says(num_groups: int) -> None:
    simulations = clustered(np.random.default_rng(num_groups), num_groups, 400)
    grouped = [grouped_interval(values, groups, num_resamples=600) for values, groups in simulations]
    assert 0.92 <= share_that_holds(0.5, grouped) <= 0.98


def test_a_single_group_or_equal_ones_have_no_interval() -> None:
    assert np.isnan(grouped_interval(np.array([0.0, 1.0]), ("a", "a"))).all()
    assert np.isnan(grouped_interval(np.ones(4), tuple("abcd"))).all()
    assert np.isnan(grouped_interval(np.full(6, 1 / 3), tuple("abcdef"))).all()
    assert np.isnan(grouped_interval(np.array([0.1, 0.2, 0.3, 0.2]), tuple("aabb"))).sum() == 0


def test_what_cannot_be_resampled_is_refused() -> None:
    for values, groups in ((np.ones(3), ("a", "b")), (np.empty(0), ())):
        with pytest.raises(ValueError, match="one of each a video"):
            grouped_interval(values, groups)
    with pytest.raises(ValueError, match=r"confidence is 95"):
        grouped_interval(np.ones(2), ("a", "b"), confidence=95)
    with pytest.raises(ValueError, match="no runs"):
        combined_interval([])


def test_every_metric_is_measured() -> None:
    scores = VideoScores(
        keys=("v_A_g01_c01", "v_A_g01_c02", "v_A_g02_c01"),
        groups=("v_A_g01", "v_A_g01", "v_A_g02"),
        labels=np.zeros(3, dtype=np.int64),
        predicted=None,
        values={"accuracy": np.array([1.0, 0.0, 1.0]), "mae": np.array([0.0, 3.0, 1.0])},
    )
    metrics = measure(scores)
    assert list(metrics) == ["accuracy", "mae"]
    assert (metrics["accuracy"].value, metrics["mae"].value) == (2 / 3, 4 / 3)
    assert (metrics["accuracy"].low, metrics["accuracy"].high) == (0.5, 1.0)  # the groups' own means
    assert (metrics["mae"].low, metrics["mae"].high) == (1.0, 1.5)


def test_the_mean_weighs_splits_equally_and_seeds_equally_inside_them() -> None:
    runs = [
        run_of([1.0, 1.0, 1.0, 0.0], "abcd"),  # 0.75
        run_of([0.0, 0.0, 1.0, 0.0], "abcd"),  # 0.25
        run_of([1.0, 0.0], "ef", "test2"),  # 0.5
        run_of([1.0, 1.0], "gh", "test3"),  # 1.0
    ]
    assert combined_mean(runs) == pytest.approx((0.5 + 0.5 + 1.0) / 3)
    low, high = combined_interval(runs)
    assert low < combined_mean(runs) < high


def test_one_run_is_the_plain_interval() -> None:
    ((values, groups),) = clustered(np.random.default_rng(1), 15, 1)
    run = ScoredRun(split="test1", values=values, groups=groups)
    assert combined_interval([run]) == grouped_interval(values, groups)
    assert combined_interval([run, run]) == grouped_interval(values, groups), "a seed that changes nothing adds nothing"


def test_seeds_are_evidence_of_their_own() -> None:
    """30 groups under 3 seeds: intervals over both hold the truth, those of the groups alone do not."""
    rng = np.random.default_rng(2)
    both, groups_alone = [], []
    groups = names(np.arange(90) // 3)
    for _ in range(300):
        of_group = np.repeat(rng.normal(0, 0.3, 30), 3)
        seeds = [0.1 * rng.normal() + of_group + rng.normal(0, 0.3, 90) for _ in range(3)]
        both.append(
            combined_interval([ScoredRun(split="1", values=v, groups=groups) for v in seeds], num_resamples=600)
        )
        groups_alone.append(grouped_interval(np.mean(seeds, axis=0), groups, num_resamples=600))
    assert 0.92 <= share_that_holds(0.0, both) <= 0.99
    assert share_that_holds(0.0, groups_alone) < 0.9


def test_videos_that_several_splits_share_are_drawn_once() -> None:
    """Three splits of 30 out of 45 groups: the shared ones are no further evidence."""
    rng = np.random.default_rng(3)
    shared, apart = [], []
    for _ in range(300):
        of_group = rng.normal(0, 1, 45)
        members = [rng.permutation(45)[:30] for _ in range(3)]
        values = [of_group[m] + rng.normal(0, 0.1, 30) for m in members]
        pairs = list(zip(values, members, strict=True))
        runs = [ScoredRun(split=str(i), values=v, groups=names(m)) for i, (v, m) in enumerate(pairs)]
        shared.append(combined_interval(runs, num_resamples=600))
        runs = [ScoredRun(split=str(i), values=v, groups=names(m + 100 * i)) for i, (v, m) in enumerate(pairs)]
        apart.append(combined_interval(runs, num_resamples=600))
    assert 0.92 <= share_that_holds(0.0, shared) <= 0.98
    assert share_that_holds(0.0, apart) < 0.85


@pytest.mark.parametrize("groups", [("aa", "bb"), ("ab", "ab")])
def test_no_more_groups_than_splits_are_no_evidence(groups: tuple[str, str]) -> None:
    runs = [run_of([1.0, 0.0], groups[0], "test1"), run_of([1.0, 0.5], groups[1], "test2")]
    assert np.isnan(combined_interval(runs)).all()
