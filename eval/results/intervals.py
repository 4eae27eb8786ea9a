"""95 % intervals of a mean over test videos, by bootstrap over source groups and over seeds.

In: a number for every video, and its source group. Out: the two ends of the interval. The bootstrap resamples groups,
not videos, because clips that UCF101 cut from one video are not independent.

The ends are expanded percentiles (T. Hesterberg, "What Teachers Should Know About the Bootstrap", 2015): plain ones are
too narrow for few groups. An interval over one seed says nothing about other seeds. There is no interval, (NaN, NaN),
for a single group, or if all groups and seeds give the same value (for example, every answer is right).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, stdtrit

from eval.results.rows import Metric, VideoScores
from shardify.arrays import FloatArray, IntArray
from shardify.progress import counting

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
NO_INTERVAL = (math.nan, math.nan)

_GROUP_KEY, _SEED_KEY = 0, 1
"""Second half of the generator's key: groups and seeds use different streams."""
_BLOCK_DRAWS = 1 << 21
"""Groups drawn at a time. It limits memory and does not change results."""
_ALIKE = 1e-12


@dataclass(frozen=True, kw_only=True)
class ScoredRun:
    """One metric on the V test videos of one split under one seed."""

    split: str
    values: FloatArray
    """float64 (V,)."""
    groups: tuple[str, ...]
    """The source group of each video; equal names are the same group in all runs."""
    job: str = ""
    """The job of a study, see :func:`mean_of_jobs`."""

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or not len(self.values) or len(self.values) != len(self.groups):
            raise ValueError(f"{self.values.shape} values and {len(self.groups)} groups; one of each a video is needed")


def mean_of_jobs(runs: Iterable[ScoredRun]) -> list[ScoredRun]:
    """One run for each split and job: the mean of its runs, such as draws of labelled videos, on the same test videos.

    Draws for one pre-trained network are no further seeds of pre-training. Runs of no job stay as they are.
    """
    together: dict[tuple[str, str | int], list[ScoredRun]] = defaultdict(list)
    for number, run in enumerate(runs):
        together[run.split, run.job or number].append(run)
    return [replace(of[0], values=np.mean([run.values for run in of], axis=0)) for of in together.values()]


def measure(scores: VideoScores, *, seed: int = 0) -> dict[str, Metric]:
    """All metrics of an evaluation: the means over its videos, with intervals."""
    metrics = {}
    for name, values in scores.values.items():
        low, high = grouped_interval(values, scores.groups, seed=seed)
        metrics[name] = Metric(value=float(values.mean()), low=low, high=high)
    return metrics


def grouped_interval(
    values: FloatArray,
    groups: Sequence[str],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    num_resamples: int = NUM_RESAMPLES,
) -> tuple[float, float]:
    """:func:`combined_interval` of one run.

    `values` is float64 (V,); 0 <= `seed` < 2**63. `confidence`, in (0, 1), is the share of intervals that should hold
    the true mean. Each of `num_resamples` draws as many groups as there are. Equal arguments give equal ends.
    """
    run = ScoredRun(split="", values=values, groups=tuple(groups))
    return combined_interval([run], seed=seed, confidence=confidence, num_resamples=num_resamples)


def combined_mean(runs: Sequence[ScoredRun]) -> float:
    """The mean over splits of the mean over a split's runs (seeds) of the mean over videos."""
    return float(_shares(runs) @ np.array([run.values.mean() for run in runs]))


def combined_interval(
    runs: Sequence[ScoredRun],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    num_resamples: int = NUM_RESAMPLES,
) -> tuple[float, float]:
    """The interval of :func:`combined_mean`; the options are those of :func:`grouped_interval`.

    Groups are resampled, and also the runs of a split, which differ in their seed. One draw of groups holds for all
    runs, because runs of different seeds, or of HMDB51's splits, test the same groups.

    Returns:
        The ends; (NaN, NaN) if there are no more groups than splits, or all groups and seeds give the same value.

    Raises:
        ValueError: if there are no runs, or an option is out of its range.
    """
    if not 0 < confidence < 1 or num_resamples < 1:
        raise ValueError(f"confidence is {confidence} and num_resamples {num_resamples}; (0, 1) and >= 1 are allowed")
    sums, counts = _by_group(runs)
    tail = _tail_share(runs, sums, counts, confidence)
    if tail is None:
        return NO_INTERVAL
    blocks = [_means(weights, sums, counts) for weights in _group_weights(len(sums), seed, num_resamples)]
    estimates = (_run_weights(runs, seed, num_resamples) * np.concatenate(blocks)).sum(axis=1)
    low, high = np.quantile(estimates[np.isfinite(estimates)], (tail, 1 - tail))
    return float(low), float(high)


def _splits(runs: Sequence[ScoredRun]) -> list[IntArray]:
    """The positions of each split's runs."""
    names = [run.split for run in runs]
    return [np.array([i for i, name in enumerate(names) if name == split]) for split in dict.fromkeys(names)]


def _shares(runs: Sequence[ScoredRun]) -> FloatArray:
    """float64 (R,): the weight of each run's mean in the combined mean."""
    if not runs:
        raise ValueError("there are no runs")
    num_runs = Counter(run.split for run in runs)
    return np.array([1 / (num_runs[run.split] * len(num_runs)) for run in runs])


def _by_group(runs: Sequence[ScoredRun]) -> tuple[FloatArray, FloatArray]:
    """Two float64 (G, R): the sum of the values and the number of videos of each group in each run."""
    names = {name: i for i, name in enumerate(sorted({name for run in runs for name in run.groups}))}
    sums, counts = np.zeros((2, len(names), len(runs)))
    for i, run in enumerate(runs):
        positions = [names[name] for name in run.groups]
        np.add.at(sums[:, i], positions, run.values)
        np.add.at(counts[:, i], positions, 1)
    return sums, counts


def _tail_share(runs: Sequence[ScoredRun], sums: FloatArray, counts: FloatArray, confidence: float) -> float | None:
    """The share of resamples to cut off at each end; None if there is no interval.

    Resampling n things shows only (n - 1) / n of the true variance, and for small n a normal quantile is too small.
    Hesterberg's share for one sample corrects both: Phi(-sqrt(n / (n - 1)) * t[n - 1]). Here the variance has several
    parts: the groups, and the runs of each split. So the ratio uses the sums of the parts, and the degrees of freedom
    are Satterthwaite's. With one run this equals Hesterberg's share.
    """
    shares, splits = _shares(runs), _splits(runs)
    means = sums.sum(axis=0) / counts.sum(axis=0)
    deviations = ((sums - means * counts) / counts.sum(axis=0)) @ shares
    parts = [(float(deviations @ deviations), len(sums), len(splits))]
    for positions in splits:
        variance = float(means[positions].var()) / (len(positions) * len(splits) ** 2)
        parts.append((variance, len(positions), 1))
    if len(sums) <= len(splits) or sum(shown for shown, _, _ in parts) < (_ALIKE * max(1.0, abs(means).max())) ** 2:
        return None
    true = [(shown * n / (n - lost), n - lost) for shown, n, lost in parts if n > lost]
    total = sum(variance for variance, _ in true)
    freedom = total**2 / sum(variance**2 / degrees for variance, degrees in true)
    widening = math.sqrt(total / sum(shown for shown, _, _ in parts))
    return float(ndtr(-widening * stdtrit(freedom, (1 + confidence) / 2)))


def _means(weights: FloatArray, sums: FloatArray, counts: FloatArray) -> FloatArray:
    """float64 (B, R): the means over the drawn groups; NaN where a run has none of them."""
    drawn = weights @ counts
    return np.divide(weights @ sums, drawn, out=np.full_like(drawn, np.nan), where=drawn > 0)


def _group_weights(num_groups: int, seed: int, num_resamples: int) -> Iterator[FloatArray]:
    """float64 (B, G) blocks: how often each group is drawn; `num_resamples` rows in all."""
    generator = np.random.Philox(key=[seed, _GROUP_KEY])
    block = max(1, _BLOCK_DRAWS // num_groups)
    for start in counting(range(0, num_resamples, block), unit="block", doing="drawing"):
        rows = min(block, num_resamples - start)
        yield _count_draws(generator, rows, num_groups)


def _run_weights(runs: Sequence[ScoredRun], seed: int, num_resamples: int) -> FloatArray:
    """float64 (num_resamples, R): the weight of each run's mean, with resampled runs in each split."""
    generator = np.random.Philox(key=[seed, _SEED_KEY])
    weights = np.tile(_shares(runs), (num_resamples, 1))
    for positions in _splits(runs):
        if len(positions) > 1:
            weights[:, positions] *= _count_draws(generator, num_resamples, len(positions))
    return weights


def _count_draws(generator: np.random.Philox, rows: int, num_things: int) -> FloatArray:
    """float64 (rows, N): how often each of N things occurs in N draws, computed from the generator's raw words."""
    words = generator.random_raw(rows * num_things) >> np.uint64(32)
    drawn = (words * np.uint64(num_things) >> np.uint64(32)).astype(np.int64).reshape(rows, num_things)
    drawn += np.arange(rows)[:, None] * num_things
    return np.bincount(drawn.ravel(), minlength=rows * num_things).reshape(rows, num_things).astype(np.float64)
