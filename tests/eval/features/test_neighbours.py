"""Retrieval and the k-nearest-neighbour classifier, against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from eval.features.config import NeighboursConfig
from eval.features.neighbours import (
    Predictions,
    classify_by_neighbours,
    normalise,
    rank_neighbours,
    topk_chance,
    topk_hits,
)


def f32(*rows: list[float]) -> npt.NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


# Normalising


def test_dimensions_are_scaled_by_the_training_set_alone() -> None:
    """Means 2, 5, 4 and deviations 1, 0, 2 (of the population), whatever the others are."""
    train, queries = normalise(f32([1, 5, 2], [3, 5, 6]), f32([5, 9, 3], [2, 5, 4]))
    assert train.tolist() == [[-1, 0, -1], [1, 0, 1]]
    assert queries.tolist() == [[3, 0, -0.5], [0, 0, 0]]
    assert train.dtype == queries.dtype == np.float32


def test_dimensions_that_vary_by_rounding_alone_become_zero() -> None:
    """The mean of seven times 0.1 is not exactly 0.1, and 1000 beside its float32 neighbour is no signal either."""
    train = np.full((7, 3), 0.1, dtype=np.float32)
    train[:, 1] = 1000
    train[3, 1] = np.nextafter(np.float32(1000), np.float32(2000))
    train[:, 2] = [0, 1e-20, 0, 0, 0, 0, 0]  # small, but as large as it could be: this does vary
    (scaled,) = normalise(train)
    assert not scaled[:, :2].any()
    assert scaled[1, 2] == pytest.approx(math.sqrt(6))  # mean m/7, variance m^2 (1/7)(6/7), so (6/7) / sqrt(6/49)


def test_normalising_works_through_large_sets_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    train = np.random.default_rng(0).normal(5, 3, (50, 4)).astype(np.float32)
    expected = (train - train.mean(axis=0, dtype=np.float64)) / train.std(axis=0, dtype=np.float64)
    monkeypatch.setattr("eval.features.neighbours._ROWS", 7)
    scaled, again = normalise(train, train[:8])
    np.testing.assert_allclose(scaled, expected, rtol=0, atol=1e-6)
    assert np.array_equal(again, scaled[:8])


@pytest.mark.parametrize(
    ("train", "other"),
    [(np.empty((0, 2), np.float32), f32([1, 2])), (f32([1, 2], [3, 4]), f32([1, 2, 3]))],
    ids=["nothing to train on", "other dimensions"],
)
def test_what_cannot_be_normalised_is_refused(train: Any, other: Any) -> None:
    with pytest.raises(ValueError, match="cannot normalise"):
        normalise(train, other)


# Ranking

TARGETS = f32([3, 4], [1, 0], [-2, 0], [0, 0], [0, 5], [2, 0])


def test_targets_are_ranked_by_cosine_and_ties_by_position() -> None:
    """Cosines to (1, 0): 3/5, 1, -1, 0 (zero vector), 0, 1. By distance (2, 0) would not tie with (1, 0)."""
    indices, similarities = rank_neighbours(f32([1, 0], [0, 0], [0, -7]), TARGETS, 6)
    assert indices[0].tolist() == [1, 5, 0, 3, 4, 2]
    assert similarities[0].tolist() == pytest.approx([1, 1, 0.6, 0, 0, -1])
    # a zero query is equally unlike all; (0, -7) has -4/5, 0, 0, 0, -1, 0
    assert indices[1:].tolist() == [[0, 1, 2, 3, 4, 5], [1, 2, 3, 5, 0, 4]]
    assert similarities[2].tolist() == pytest.approx([0, 0, 0, 0, -0.8, -1])
    assert indices.dtype == np.int64
    assert similarities.dtype == np.float32


def test_a_cosine_that_rounds_to_minus_zero_is_zero() -> None:
    """-1e-50 is nothing in float32; but -0.0 has other bits than 0.0."""
    indices, similarities = rank_neighbours(f32([1, 0]), f32([-1e-30, 1e20], [0, 1]), 2)
    assert indices.tolist() == [[0, 1]]
    assert not np.signbit(similarities).any()


def test_lengths_do_not_matter_however_small() -> None:
    """(3, 4) at 1e-20 of its length, where squares leave float32's range, beside (1, 0): 0.96 and 0.8 to (4, 3)."""
    tiny = np.array([[3, 4], [1, 0]]) * 1e-20
    indices, similarities = rank_neighbours(f32([4e-25, 3e-25]), tiny.astype(np.float32), 2)
    assert indices.tolist() == [[0, 1]]
    assert similarities[0].tolist() == pytest.approx([0.96, 0.8])


def test_k_takes_the_best_and_at_most_all() -> None:
    assert rank_neighbours(f32([1, 0]), TARGETS, 2)[0].tolist() == [[1, 5]]
    assert rank_neighbours(f32([1, 0]), TARGETS, 50)[0].tolist() == [[1, 5, 0, 3, 4, 2]]
    assert rank_neighbours(np.empty((0, 2), np.float32), TARGETS, 3)[0].shape == (0, 3)


@pytest.mark.parametrize(("queries", "rows"), [(512, 16_384), (3, 4), (1, 1), (100, 7)])
def test_pieces_change_nothing_and_multiples_tie(monkeypatch: pytest.MonkeyPatch, queries: int, rows: int) -> None:
    """Forty targets are five directions at eight lengths: equal cosines, which come in order of position."""
    generator = np.random.default_rng(1)
    directions = generator.integers(-9, 10, (5, 33)).astype(np.float32)
    which = generator.integers(0, 5, 40)
    targets = directions[which] * generator.integers(1, 9, (40, 1)).astype(np.float32)  # small numbers: exact
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    cosines = (np.concatenate((unit, -unit)) @ unit.T)[:, which]  # each column is computed once
    expected = np.argsort(-cosines, axis=1, kind="stable")[:, :23]
    monkeypatch.setattr("eval.features.neighbours._QUERIES", queries)
    monkeypatch.setattr("eval.features.neighbours._ROWS", rows)
    indices, similarities = rank_neighbours(np.concatenate((directions, -directions)), targets, 23)
    assert indices.tolist() == expected.tolist()
    np.testing.assert_allclose(similarities, np.take_along_axis(cosines, expected, axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("queries", "targets", "k", "message"),
    [
        (f32([1, 0]), TARGETS, 0, "cannot find 0 neighbours"),
        (f32([1, 0]), TARGETS[:0], 1, "among"),
        (f32([1, 0, 0]), TARGETS, 1, "among"),
        (f32([1, math.nan]), TARGETS, 1, "finite"),
        (f32([1, 0]), f32([math.inf, 0]), 1, "finite"),
    ],
)
def test_what_cannot_be_ranked_is_refused(queries: Any, targets: Any, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_neighbours(queries, targets, k)


# Hits and chance


def test_a_hit_is_any_of_the_top_k() -> None:
    """Found first; found third; never found; and an unlabelled target is nobody's class."""
    ranked = np.array([[4, 0, 0, 0], [0, 2, 1, 1], [0, 0, 0, 0], [-1, -1, 3, 4]])
    hits = topk_hits(ranked, np.array([4, 1, 7, 4]), (1, 2, 3, 4, 9), num_targets=4)
    assert {name: hit.tolist() for name, hit in hits.items()} == {
        "top1": [True, False, False, False],
        "top2": [True, False, False, False],
        "top3": [True, True, False, False],
        "top4": [True, True, False, True],
        "top9": [True, True, False, True],  # more than there are: all four
    }


@pytest.mark.parametrize(
    ("labels", "ks", "num_targets", "message"),
    [
        ([0, -1], (1,), 9, "every query needs a label"),
        ([0, 1], (1, 5), 9, "top .* of 9 targets need"),
        ([0, 1], (0, 1), 9, "top .* of 9"),
        ([0, 1, 2], (1,), 9, r"\(3, 1\) ranked labels"),
    ],
    ids=["a query without class", "too few ranked", "top 0", "another number of queries"],
)
def test_hits_that_would_be_wrong_are_refused(labels: list[int], ks: Any, num_targets: int, message: str) -> None:
    ranked = np.zeros((2, 3), dtype=np.int64)
    with pytest.raises(ValueError, match=message):
        topk_hits(ranked, np.array(labels), ks, num_targets=num_targets)


def test_chance_by_hand() -> None:
    """Targets 0, 0, 1 and one unlabelled; queries 0, 1, 2.

    k = 1: 2/4, 1/4, 0. k = 2: 1 - C(2,2)/C(4,2) = 5/6, 1 - C(3,2)/C(4,2) = 1/2, 0. k = 9: all four, so 1, 1, 0.
    """
    chance = topk_chance(np.array([0, 0, 1, -1]), np.array([0, 1, 2]), (1, 2, 9))
    assert chance == pytest.approx({"top1": 3 / 12, "top2": (5 / 6 + 1 / 2) / 3, "top9": 2 / 3})


# The classifier

CORNERS = f32([1, 1], [1, -1], [-1, 1], [-1, -1])
"""Mean 0 and deviation 1 in both dimensions: normalising changes nothing."""
HALVING = 1 / math.log(2)
"""At this temperature a vote halves when the cosine falls by 1."""


def vote(labels: list[int], query: list[float], *, temperature: float = HALVING, k: int = 20) -> Predictions:
    config = NeighboursConfig(num_neighbours=k, temperature=temperature)
    return classify_by_neighbours(CORNERS, np.array(labels), f32(query), config, num_classes=4)


def test_votes_by_hand() -> None:
    """Cosines of (1, 1) to the corners: 1, 0, 0, -1, so votes 2, 1, 1, 1/2 of 4.5; k = 20 takes all four."""
    result = vote([0, 1, 1, 3], [1, 1])
    assert result.scores[0].tolist() == pytest.approx([4 / 9, 4 / 9, 0, 1 / 9])
    assert result.warning is None
    result = vote([0, 1, 1, 3], [1, 1], temperature=HALVING / 2)  # votes 4, 1, 1, 1/4
    assert result.scores[0].tolist() == pytest.approx([16 / 25, 8 / 25, 0, 1 / 25])
    assert result.predicted.tolist() == [0]
    result = vote([2, 1, 1, 1], [1, 1], temperature=2 * HALVING)  # votes with root 2: 2, root 2 twice, 1: three win
    assert result.predicted.tolist() == [1]
    assert result.predicted.dtype == np.int64


def test_only_k_vote() -> None:
    """The nearest is of class 3, the next two of class 0, the farthest of 2."""
    assert vote([3, 0, 0, 2], [1, 1], k=1).scores.tolist() == [[0, 0, 0, 1]]
    assert vote([3, 0, 0, 2], [1, 1], k=2).scores[0].tolist() == pytest.approx([1 / 3, 0, 0, 2 / 3])
    assert vote([3, 0, 0, 2], [1, 1], k=3).scores[0].tolist() == pytest.approx([1 / 2, 0, 0, 1 / 2])


def test_ties_go_to_the_smallest_class() -> None:
    """(2, 0) lies halfway between the first two corners: equal votes, the earlier of them for class 3."""
    result = vote([3, 1, 0, 0], [2, 0], k=2)
    assert result.scores.tolist() == [[0, 0.5, 0, 0.5]]
    assert result.predicted.tolist() == [1]


def test_features_are_normalised_before_they_are_compared() -> None:
    """Scaled and shifted, the corners keep their votes; by plain cosine all lie in one direction."""
    config = NeighboursConfig(num_neighbours=20, temperature=HALVING)
    moved = (CORNERS * f32([100, 1])) + f32([5000, 5000])
    result = classify_by_neighbours(moved, np.array([0, 1, 1, 3]), f32([5100, 5001]), config, num_classes=4)
    assert result.scores[0].tolist() == pytest.approx([4 / 9, 4 / 9, 0, 1 / 9])


def test_a_cold_temperature_leaves_the_nearest_alone() -> None:
    result = vote([2, 0, 0, 0], [1, 1], temperature=1e-4)  # exp(10,000) would overflow
    assert result.scores.tolist() == [[0, 0, 1, 0]]


def test_separate_clusters_are_told_apart_and_one_video_suffices() -> None:
    generator = np.random.default_rng(4)
    centres = generator.normal(size=(5, 16)) * 10
    labels = np.arange(100) % 5
    train, queries = ((centres[labels] + generator.normal(size=(100, 16))).astype(np.float32) for _ in range(2))
    result = classify_by_neighbours(train, labels, queries, NeighboursConfig(), num_classes=5)
    assert np.array_equal(result.predicted, labels)
    alone = classify_by_neighbours(train[:1], labels[:1] + 2, queries, NeighboursConfig(), num_classes=5)
    assert set(alone.predicted.tolist()) == {2}  # normalised, all that can be said is zero


@pytest.mark.parametrize("labels", [[0, 1, 2, -1], [0, 1, 2, 4], [0, 1, 2]], ids=["none", "beyond", "too few"])
def test_training_labels_must_fit(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="labels"):
        vote(labels, [1, 1])
