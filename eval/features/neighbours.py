"""Nearest training videos: retrieval (Table 4) and the k-nearest-neighbour classifier.

In: one feature vector per video. Out: ranked positions, hits, and classes. Nothing is random. Among equals, the lower
position or class wins, so equal features give equal results on every machine.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eval.features.config import NeighboursConfig
from eval.features.vectors import VectorArray
from shardify.arrays import FloatArray, IntArray
from shardify.progress import counting

TOP_KS = (1, 5, 10, 20, 50)
"""The columns of Table 4."""

BoolArray = npt.NDArray[np.bool_]

_ROWS = 16_384
"""Target vectors processed at a time."""
_QUERIES = 512
"""Queries processed at a time."""
_POSITIONS = 1 << 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """The predictions of a classifier: V videos, K classes."""

    predicted: IntArray
    """int64 (V,): the class of the highest score; of equal ones, the smallest."""
    scores: FloatArray
    """float64 (V, K) in [0, 1]; each row sums to 1."""
    warning: str | None = None
    """One line, if the numbers may be wrong."""


def normalise(train: VectorArray, *others: VectorArray) -> tuple[VectorArray, ...]:
    """Shift and scale each dimension to mean 0 and deviation 1 over the training set (section 6, Table 4).

    `train` is float32 (V, D), V >= 1, the others float32 (Q, D). A dimension that is constant in the training set,
    within float32 rounding, becomes 0. Raises ValueError if there are no training vectors, or dimensions differ.
    """
    if not len(train) or any(other.shape[1:] != train.shape[1:] for other in others):
        raise ValueError(f"cannot normalise {[other.shape for other in others]} by training vectors {train.shape}")
    mean = train.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(
        sum(np.square(train[rows] - mean).sum(axis=0) for rows in _slices(len(train), _ROWS)) / len(train)
    )
    magnitude = np.maximum(train.max(axis=0), -train.min(axis=0))
    varies = deviation > np.finfo(np.float32).eps * magnitude
    scale = np.divide(1.0, deviation, out=np.zeros_like(mean), where=varies)

    def scaled(values: VectorArray) -> VectorArray:
        result = np.empty(values.shape, dtype=np.float32)
        for rows in _slices(len(values), _ROWS):
            result[rows] = (values[rows] - mean) * scale
        return result

    return tuple(scaled(values) for values in (train, *others))


def rank_neighbours(
    queries: VectorArray, targets: VectorArray, k: int, *, device: torch.device | str = "cpu"
) -> tuple[IntArray, VectorArray]:
    """The k targets with the highest cosine similarity to each query, best first.

    Similarities are computed in float64 and rounded to float32, so multiples of one vector are equal; of equal targets
    the lower position comes first. A zero vector has similarity 0. Memory does not grow with queries * targets.

    Args:
        queries: float32 (Q, D).
        targets: float32 (N, D).
        k: number of neighbours; at most N are returned.
        device: must support float64.

    Returns:
        int64 (Q, min(k, N)) positions of targets, and float32 (Q, min(k, N)) similarities in [-1, 1].

    Raises:
        ValueError: if k < 1, there are no targets, dimensions differ, or a value is not finite.
    """
    if k < 1 or not len(targets) or queries.shape[1:] != targets.shape[1:]:
        raise ValueError(f"cannot find {k} neighbours of {queries.shape} vectors among {targets.shape}")
    if not np.isfinite(queries).all() or not np.isfinite(targets).all():
        raise ValueError("vectors to compare must be finite")
    k = min(k, len(targets))
    best = torch.empty((len(queries), k), dtype=torch.int64)
    for block in counting(list(_slices(len(queries), _QUERIES)), unit="block", doing="nearest neighbours"):
        units = _unit_vectors(queries[block], device)
        ranks = torch.empty((len(units), 0), dtype=torch.int64, device=units.device)
        for rows in _slices(len(targets), _ROWS):
            fresh = _ranks(units @ _unit_vectors(targets[rows], device).T, rows.start)
            fresh = fresh.topk(min(k, fresh.shape[1])).values
            merged = torch.cat((ranks, fresh), dim=1)
            ranks = merged.topk(min(k, merged.shape[1])).values
        best[block] = ranks.cpu()
    indices = _POSITIONS - 1 - (best & (_POSITIONS - 1))
    similarities = _flip_negatives((best >> 32).to(torch.int32)).view(torch.float32)
    return indices.numpy(), similarities.numpy()


def topk_hits(
    ranked_labels: IntArray, query_labels: IntArray, ks: Sequence[int] = TOP_KS, *, num_targets: int
) -> dict[str, BoolArray]:
    """Whether any of the k nearest targets has the query's class (Table 4).

    Args:
        ranked_labels: int64 (Q, R) classes of each query's nearest targets, best first; -1 matches nothing.
        query_labels: int64 (Q,), all >= 0.
        ks: the values of k.
        num_targets: number of all targets; R must be at least min(max(ks), num_targets).

    Returns:
        "top1", "top5" ... -> bool (Q,).

    Raises:
        ValueError: if a query has no label, a k is below 1, or R is too small.
    """
    if len(query_labels) and query_labels.min() < 0:
        raise ValueError("every query needs a label")
    needed = min(max(ks), num_targets)
    if min(ks) < 1 or ranked_labels.shape[0] != len(query_labels) or ranked_labels.shape[1] < needed:
        raise ValueError(f"top {ks} of {num_targets} targets need ({len(query_labels)}, {needed}) ranked labels")
    matches = ranked_labels == query_labels[:, None]
    return {f"top{k}": matches[:, :k].any(axis=1) for k in ks}


def topk_chance(target_labels: IntArray, query_labels: IntArray, ks: Sequence[int] = TOP_KS) -> dict[str, float]:
    """The mean of :func:`topk_hits` for random neighbours.

    If n of N targets have the query's class, the probability of no hit among k is C(N - n, k) / C(N, k).
    `target_labels` is int64 (N,), -1 where there is none; `query_labels` is int64 (Q,), Q >= 1.
    """
    num_targets, in_class = len(target_labels), Counter(target_labels.tolist())
    chances = {}
    for k in ks:
        drawn = min(k, num_targets)
        none = {n: math.comb(num_targets - n, drawn) / math.comb(num_targets, drawn) for n in {0, *in_class.values()}}
        chances[f"top{k}"] = float(np.mean([1 - none[in_class[label]] for label in query_labels.tolist()]))
    return chances


def classify_by_neighbours(
    train: VectorArray,
    train_labels: IntArray,
    queries: VectorArray,
    config: NeighboursConfig,
    *,
    num_classes: int,
    device: torch.device | str = "cpu",
) -> Predictions:
    """Let the nearest training videos vote on the class of each query.

    Features are normalised by the training set, then compared by cosine. Each of the k nearest votes for its class with
    weight exp(similarity / temperature); the score of a class is its share of all weights.

    Args:
        train: float32 (V, D), V >= 1, not normalised.
        train_labels: int64 (V,) in [0, num_classes).
        queries: float32 (Q, D), not normalised.
        config: k and the temperature.
        num_classes: K, also of classes without training videos.
        device: must support float64.

    Raises:
        ValueError: if a label lies outside the classes, or shapes do not fit.
    """
    require_labels(train, train_labels, num_classes)
    targets, normalised = normalise(train, queries)
    indices, similarities = rank_neighbours(normalised, targets, config.num_neighbours, device=device)
    # Relative to the nearest one: the shares stay the same, and exp cannot overflow.
    weights = np.exp((similarities.astype(np.float64) - similarities[:, :1]) / config.temperature)
    votes = train_labels[indices]
    scores = np.zeros((len(queries), num_classes))
    for rank in range(indices.shape[1]):  # by rank, so that equal weights give exactly equal sums
        scores[np.arange(len(queries)), votes[:, rank]] += weights[:, rank]
    predicted = scores.argmax(axis=1).astype(np.int64, copy=False)
    return Predictions(predicted=predicted, scores=scores / scores.sum(axis=1, keepdims=True))


def require_labels(train: VectorArray, train_labels: IntArray, num_classes: int) -> None:
    """Raise ValueError if there are no training vectors, or one has no class in [0, num_classes)."""
    if not len(train) or train_labels.shape != (len(train),):
        raise ValueError(f"training vectors {train.shape} do not fit labels {train_labels.shape}")
    if train_labels.min() < 0 or train_labels.max() >= num_classes:
        raise ValueError(f"training labels must lie in [0, {num_classes})")


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _unit_vectors(vectors: VectorArray, device: torch.device | str) -> Tensor:
    """float64 vectors of length 1; zero vectors stay zero."""
    values = torch.from_numpy(np.ascontiguousarray(vectors)).to(device).double()
    lengths = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    return values / torch.where(lengths > 0, lengths, 1)


def _ranks(similarities: Tensor, first: int) -> Tensor:
    """Distinct int64 numbers, larger for a higher similarity, then for a lower position; `topk` does not order equals.

    The upper 32 bits are the float32 similarity as an integer of the same order, the lower 32 the negated position.
    """
    bits = (similarities.float() + 0.0).view(torch.int32)  # + 0.0 makes -0.0 equal to 0.0
    positions = torch.arange(first, first + similarities.shape[1], device=similarities.device)
    return _flip_negatives(bits).long() * _POSITIONS + (_POSITIONS - 1 - positions)


def _flip_negatives(bits: Tensor) -> Tensor:
    """Convert float32 bits to integers of the same order, or back."""
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
