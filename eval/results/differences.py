"""The difference of two networks on the same test videos, with a paired bootstrap interval.

In: two combined results of one evaluation. Out: the mean difference and its 95 % interval. Both networks answer the
same videos, so most of the chance that a video is hard or easy cancels out: two intervals may overlap although the
difference is certain, and the reverse.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from eval.results.combined import Combined, job_of, split_of
from eval.results.intervals import ScoredRun, combined_interval, combined_mean, mean_of_jobs
from eval.results.rows import Metric, VideoScores, read_scores


def paired_difference(one: Combined, other: Combined, metric: str) -> Metric | None:
    """`one` minus `other`: the mean over splits, seeds and videos of the difference on each video.

    Runs of a split are paired by equal seeds (in a study, of the study and of the run), or in the order of their seeds
    if they share none. Runs without a partner, and videos that only one of them has, are left out. The interval is that
    of :func:`~eval.results.intervals.combined_interval`: over source groups, and over seeds where several ran.
    None if the two share no video of a split.
    """
    runs = []
    theirs = _folders_by_split(other)
    for split, mine in _folders_by_split(one).items():
        for left, right in _pairs(mine, theirs.get(split, {})):
            run = _difference(split, job_of(left, one.study), read_scores(left), read_scores(right), metric)
            if run is not None:
                runs.append(run)
    if not runs:
        return None
    runs = mean_of_jobs(runs)
    low, high = combined_interval(runs)
    return Metric(value=combined_mean(runs), low=low, high=high)


def num_paired_seeds(one: Combined, other: Combined) -> int:
    """On how many seeds :func:`paired_difference` rests, in the split with most; in a study, seeds of the study."""
    theirs = _folders_by_split(other)
    pairs = [_pairs(mine, theirs.get(split, {})) for split, mine in _folders_by_split(one).items()]
    return max(len({job_of(left, one.study) or left for left, _ in of_split}) for of_split in pairs)


Folders = dict[tuple[str, int], list[Path]]
"""The study's job and the run's seed -> folders of results."""


def _folders_by_split(result: Combined) -> dict[str, Folders]:
    found: dict[str, Folders] = defaultdict(lambda: defaultdict(list))
    for folder, row in result.rows:
        found[split_of(row)][job_of(folder, result.study), row.seed].append(folder)
    return found


def _pairs(mine: Folders, theirs: Folders) -> list[tuple[Path, Path]]:
    shared = sorted(mine.keys() & theirs.keys())
    if shared:
        return [pair for seed in shared for pair in zip(mine[seed], theirs[seed], strict=False)]
    return list(zip(_in_order(mine), _in_order(theirs), strict=False))


def _in_order(folders: Folders) -> list[Path]:
    return [folder for seed in sorted(folders) for folder in folders[seed]]


def _difference(split: str, job: str, one: VideoScores, other: VideoScores, metric: str) -> ScoredRun | None:
    places = {key: i for i, key in enumerate(other.keys)}
    kept = [i for i, key in enumerate(one.keys) if key in places]
    if not kept:
        return None
    partners = [places[one.keys[i]] for i in kept]
    values = one.values[metric][kept] - other.values[metric][partners]
    return ScoredRun(split=split, values=values, groups=tuple(one.groups[i] for i in kept), job=job)
