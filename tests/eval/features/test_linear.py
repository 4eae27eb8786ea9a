"""The linear probe, against optima worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from eval.features.config import LinearConfig
from eval.features.linear import classify_linearly
from shardify.arrays import IntArray

Float32 = npt.NDArray[np.float32]


def f32(*rows: list[float]) -> Float32:
    return np.array(rows, dtype=np.float32)


def fixed_point(function: Callable[[float], float]) -> float:
    """Where a falling function crosses the diagonal in [0, 10]."""
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > middle else (low, middle)
    return low


def clusters(num_videos: int, *, seed: int, num_classes: int = 5) -> tuple[Float32, IntArray]:
    """Classes far apart, and of very different scale from dimension to dimension."""
    centres = np.random.default_rng(0).normal(size=(num_classes, 16)) * 20
    labels = np.arange(num_videos) % num_classes
    noise = np.random.default_rng(seed).normal(size=(num_videos, 16))
    return ((centres[labels] + noise) * np.logspace(-3, 3, 16)).astype(np.float32), labels


@pytest.mark.parametrize("inverse_penalty", [1.0, 2.0, 0.25])
def test_two_videos_of_two_classes_by_hand(inverse_penalty: float) -> None:
    """10 and 14 are standardised to -1 and 1; by symmetry the intercept is 0.

    The weight w minimises 2 C log(1 + exp(-w)) + w^2 / 2, so w = 2 C / (1 + exp(w)): 0.675 at C = 1.
    """
    weight = fixed_point(lambda w: 2 * inverse_penalty / (1 + math.exp(w)))
    assert inverse_penalty != 1 or weight == pytest.approx(0.675, abs=5e-4)
    config = LinearConfig(inverse_penalty=inverse_penalty)
    result = classify_linearly(f32([10], [14]), np.array([0, 1]), f32([12], [14], [6]), config, num_classes=2)
    expected = [1 / (1 + math.exp(-weight * x)) for x in (0, 1, -3)]
    assert result.scores[:, 1].tolist() == pytest.approx(expected, abs=1e-4)
    assert result.scores.sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    assert result.predicted[1:].tolist() == [1, 0]
    assert result.warning is None


def test_three_videos_of_three_classes_by_hand() -> None:
    """The regression is multinomial: three corners of a cube, standardised to root 2 and twice -1 / root 2.

    Their products are 3 with themselves and -3/2 with each other; by symmetry the weights of a class are `a` times its
    corner, and a minimises 3 C log(1 + 2 exp(-4.5 a)) + 4.5 a^2, so a = 3 C / (exp(4.5 a) + 2): 0.388 at C = 1.
    """
    a = fixed_point(lambda a: 3 / (math.exp(4.5 * a) + 2))
    assert a == pytest.approx(0.388, abs=5e-4)
    corners = f32([1, 0, 0], [0, 1, 0], [0, 0, 1])
    result = classify_linearly(corners, np.arange(3), corners, LinearConfig(), num_classes=3)
    right = math.exp(4.5 * a) / (math.exp(4.5 * a) + 2)
    assert right == pytest.approx(0.741, abs=5e-4)
    expected = np.full((3, 3), (1 - right) / 2) + np.eye(3) * (right - (1 - right) / 2)
    np.testing.assert_allclose(result.scores, expected, atol=1e-4)


def test_features_that_say_nothing_leave_the_share_of_each_class() -> None:
    """The intercept is not penalised: 3 of 4 videos are of class 1."""
    constant = np.full((4, 3), 7, dtype=np.float32)
    result = classify_linearly(constant, np.array([1, 1, 0, 1]), constant[:1] * 3, LinearConfig(), num_classes=2)
    assert result.scores[0].tolist() == pytest.approx([0.25, 0.75], abs=1e-4)
    assert result.predicted.tolist() == [1]


def test_separable_features_are_learned() -> None:
    train, labels = clusters(60, seed=1)
    queries, wanted = clusters(200, seed=2)
    result = classify_linearly(train, labels, queries, LinearConfig(), num_classes=5)
    assert result.predicted.tolist() == wanted.tolist()
    assert result.predicted.dtype == np.int64
    assert result.scores.shape == (200, 5)
    np.testing.assert_allclose(result.scores.sum(axis=1), 1, rtol=1e-12)  # float64 throughout
    assert result.warning is None


def test_classes_without_training_videos_keep_their_columns() -> None:
    """Of five classes only 1 and 3 and 4 were seen; the others are never predicted."""
    train, labels = clusters(60, seed=1)
    seen = np.isin(labels, [1, 3, 4])
    queries, wanted = clusters(100, seed=2)
    result = classify_linearly(train[seen], labels[seen], queries, LinearConfig(), num_classes=5)
    assert not result.scores[:, [0, 2]].any()
    np.testing.assert_allclose(result.scores.sum(axis=1), 1)
    known = np.isin(wanted, [1, 3, 4])
    assert result.predicted[known].tolist() == wanted[known].tolist()
    assert set(result.predicted.tolist()) <= {1, 3, 4}


def test_one_class_is_predicted_everywhere() -> None:
    train, labels = clusters(10, seed=1)
    result = classify_linearly(train, np.full_like(labels, 2), train, LinearConfig(), num_classes=4)
    assert result.scores.tolist() == [[0, 0, 1, 0]] * 10
    assert set(result.predicted.tolist()) == {2}
    assert result.warning is None


def test_no_queries_are_no_predictions() -> None:
    train, labels = clusters(10, seed=1)
    result = classify_linearly(train, labels, train[:0], LinearConfig(), num_classes=5)
    assert (result.predicted.shape, result.scores.shape) == ((0,), (0, 5))


def test_a_fit_that_did_not_converge_says_so_in_one_line() -> None:
    """As a value: pytest turns any Python warning that leaks into a failure."""
    train, labels = clusters(60, seed=1)
    config = LinearConfig(max_iterations=1, inverse_penalty=1e4)
    warning = classify_linearly(train, labels, train, config, num_classes=5).warning
    assert warning is not None
    assert warning.startswith("the linear probe did not converge (1 of at most 1 iterations; scikit-learn: ")
    assert warning.endswith("raise max_iterations, or lower inverse_penalty from 10000")
    assert "\n" not in warning


def test_fits_repeat_exactly() -> None:
    generator = np.random.default_rng(6)
    train, queries = (generator.normal(size=(n, 40)).astype(np.float32) for n in (90, 30))
    first, second = (
        classify_linearly(train, np.arange(90) % 3, queries, LinearConfig(), num_classes=3) for _ in range(2)
    )
    assert first.scores.tobytes() == second.scores.tobytes()
