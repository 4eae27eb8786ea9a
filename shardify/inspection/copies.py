"""Videos that are equal frame by frame under different names: in training and test, or with two labels, they mislead.

In: the shards and indexes of a data set. Out: :class:`Copies`. The frames' checksums are compared, not their pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from shardify.errors import counted
from shardify.shards.index import ShardIndex
from shardify.shards.record import ShardRecord


@dataclass(frozen=True, kw_only=True)
class Copies:
    """The samples that are equal to an earlier one."""

    num_samples: int = 0
    num_other_splits: int = 0
    """Those that are in other splits than the earlier one, such as in test instead of train."""
    num_other_class: int = 0
    example: tuple[str, ...] = ()
    """The keys of a copy and of the earlier sample, of the worst kind; empty if there is none."""

    def lines(self) -> list[str]:
        """For people; no line if there are no copies."""
        if not self.num_samples:
            return []
        words = f"{counted(self.num_samples, 'video')} equal to another frame by frame"
        kinds = f"{self.num_other_splits} in other splits, {self.num_other_class} of another class"
        return [f"{words} ({kinds}): {self.example[0]} is {self.example[1]}"]


def find_copies(shards: Iterable[tuple[ShardRecord, ShardIndex]]) -> Copies:
    """Compare all samples of a data set."""
    earlier: dict[bytes, tuple[str, tuple[str, ...], int]] = {}
    found: list[tuple[bool, bool, str, str]] = []
    for shard, index in shards:
        for entry in index:
            digest = hashlib.sha256(entry.frame_crc32.tobytes()).digest()
            key, splits, label = earlier.setdefault(digest, (entry.key, shard.splits, entry.label))
            if key != entry.key:
                found.append((splits != shard.splits, label != entry.label, entry.key, key))
    worst = max(found, default=None)
    return Copies(
        num_samples=len(found),
        num_other_splits=sum(other_splits for other_splits, *_ in found),
        num_other_class=sum(other_class for _, other_class, *_ in found),
        example=worst[2:] if worst else (),
    )
