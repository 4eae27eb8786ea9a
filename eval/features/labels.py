"""Label budgets: which labelled videos a probe may learn from.

In: labels and keys of a training split, and a budget such as 10 % or 5 per class. Out: positions. With the same seed, a
larger budget contains the videos of every smaller one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from eval.features.config import LabelBudget
from shardify.arrays import IntArray
from shardify.errors import UsageError
from shardify.shards.format import NO_LABEL
from stream_train.draws import Domain, Stream


def choose_labelled(labels: IntArray, keys: Sequence[str], budget: LabelBudget, seed: int) -> IntArray:
    """Choose the videos whose labels may be used, separately for each class.

    The videos of a class are sorted by key, then shuffled with (seed, class); the first ones are chosen. So the choice
    does not depend on the order of the split or on other classes.

    `labels` is int64 (V,), -1 where there is none; 0 <= `seed` < 2**64.

    Returns:
        int64 positions, increasing.

    Raises:
        UsageError: if no video has a label.
        ValueError: if the numbers of keys and labels differ, or keys repeat.
    """
    if len(keys) != len(labels) or len(set(keys)) != len(keys):
        raise ValueError(f"{len(labels)} labels need as many unique keys, not {len(set(keys))} of {len(keys)}")
    by_class: defaultdict[int, list[int]] = defaultdict(list)
    for position in sorted(range(len(keys)), key=keys.__getitem__):
        by_class[int(labels[position])].append(position)
    by_class.pop(NO_LABEL, None)
    if not by_class:
        raise UsageError(
            f"none of the {len(keys)} training videos has a label, but a probe learns from labels; give a split of a "
            "data set with classes (`video-eval features` needs none)"
        )
    chosen: list[int] = []
    for label, positions in by_class.items():
        order = Stream(seed, Domain.LABELS, (label, 0, 0)).permutation(len(positions))
        chosen += [positions[i] for i in order[: budget.count_of(len(positions))]]
    return np.array(sorted(chosen), dtype=np.int64)
