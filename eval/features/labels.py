"""Label budgets: which labelled videos a probe may learn from.

In: labels and keys of a training split, and a budget such as 10 % or 5 per class. Out: positions. With the same seed, a
larger budget contains the videos of every smaller one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from shardify.arrays import IntArray
from shardify.errors import UsageError
from shardify.shards.format import NO_LABEL
from stream_train.draws import Domain, Stream

_PERCENTAGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")


@dataclass(frozen=True, kw_only=True)
class LabelBudget:
    """How many videos of each class have a label: a number >= 1 or a percentage in (0, 100]; else raises ValueError."""

    videos_per_class: int | None = None
    percent: Decimal | None = None

    def __post_init__(self) -> None:
        if (self.videos_per_class is None) == (self.percent is None):
            raise ValueError("a label budget is either a number of videos per class or a percentage")
        if self.videos_per_class is not None and self.videos_per_class < 1:
            raise ValueError(f"{self.videos_per_class} videos per class are too few, the least is 1")
        if self.percent is not None and not 0 < self.percent <= 100:
            raise ValueError(f"{self.percent}% is out of range, a percentage is above 0% and at most 100%")

    @classmethod
    def parse(cls, value: Any) -> LabelBudget:
        """Read a config value: 5 videos per class, or "12.5%" of each class. Raises ValueError if it is neither."""
        if isinstance(value, LabelBudget):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return cls(videos_per_class=value)
        match = _PERCENTAGE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(
                "write a number of videos per class, such as 5, or a percentage of each class, such as 10%"
            )
        return cls(percent=Decimal(match[1]).normalize())

    @property
    def value(self) -> int | str:
        """As configs write it; :meth:`parse` reads it back."""
        return f"{self.percent:f}%" if self.percent is not None else int(self.videos_per_class or 0)

    @property
    def slug(self) -> str:
        """For folder names: "all" for 100 %, "10pct", "5"."""
        return "all" if self.percent == 100 else str(self.value).replace("%", "pct")

    def count_of(self, num_videos: int) -> int:
        """How many of a class's videos get a label, from 1 to all; a percentage is rounded, halves up."""
        if self.percent is None:
            return min(self.videos_per_class or 0, num_videos)
        rounded = int(num_videos * Fraction(self.percent) / 100 + Fraction(1, 2))
        return min(max(rounded, 1), num_videos)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(lambda budget: budget.value)
        )


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
