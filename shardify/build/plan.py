"""The plan: assigns videos to shards before any video is opened.

In: a catalog. Out: numbered shards with their videos in tar order. The plan depends only on the catalog, the shard size
and the seed, so every engine, worker count and rerun writes the same bytes.

All videos of a shard belong to the same splits (their split signature). So a split is a list of whole shards, and
several splits need only one copy. Inside a signature the order of the videos is random.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from shardify.catalogs.base import Catalog, Video
from shardify.catalogs.keys import MAX_KEY_LENGTH
from shardify.errors import UsageError
from shardify.shards.record import dump_json


@dataclass(frozen=True, kw_only=True)
class PlannedShard:
    """One shard to write."""

    number: int
    splits: tuple[str, ...]
    """The splits of every video of the shard."""
    videos: tuple[Video, ...]
    """In tar order."""


def make_plan(catalog: Catalog, videos_per_shard: int, seed: int) -> tuple[PlannedShard, ...]:
    """Put each video of a catalog into one of the shards 0, 1, 2, ...; the order of the catalog does not matter.

    Videos with equal split signature are sorted by sha256(seed, key) and cut into the fewest shards of at most
    `videos_per_shard`; the sizes of these shards differ by at most one. Signatures are sorted by the order of the
    catalog's splits, so shard numbers are stable.

    Raises:
        UsageError: if the catalog holds no video.
        ValueError: if two videos share a key, or WebDataset could not read a key back from a tar.
    """
    if not catalog.videos:
        raise UsageError(
            f"{catalog.root}: no videos to pack ({len(catalog.missing)} listed ones are missing); "
            "check the config's source.videos"
        )
    _check_keys(catalog)
    by_signature: dict[tuple[int, ...], list[Video]] = defaultdict(list)
    for video in catalog.videos:
        by_signature[tuple(catalog.splits.index(split) for split in video.splits)].append(video)

    shards: list[PlannedShard] = []
    for signature, videos in sorted(by_signature.items()):
        splits = tuple(catalog.splits[i] for i in signature)
        mixed = sorted(videos, key=lambda video: (_mixing_rank(seed, video.key), video.key))
        num_shards = -(-len(mixed) // videos_per_shard)
        bounds = [len(mixed) * i // num_shards for i in range(num_shards + 1)]
        for start, stop in pairwise(bounds):
            shards.append(PlannedShard(number=len(shards), splits=splits, videos=tuple(mixed[start:stop])))
    return tuple(shards)


def plan_sha256(plan: tuple[PlannedShard, ...]) -> str:
    """Identity of a plan; any change of a key, path, label, split or position changes it."""
    digest = hashlib.sha256()
    for shard in plan:
        videos = [[video.key, video.path, video.label, *video.copies] for video in shard.videos]
        digest.update(dump_json([shard.number, shard.splits, videos]))
    return digest.hexdigest()


def _mixing_rank(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}|{key}".encode()).digest()


def _check_keys(catalog: Catalog) -> None:
    key, count = Counter(video.key for video in catalog.videos).most_common(1)[0]
    if count > 1:
        raise ValueError(f"key {key!r} names {count} videos; catalogs must give each its own")
    for video in catalog.videos:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", video.key) or len(video.key) > MAX_KEY_LENGTH:
            raise ValueError(f"key {video.key!r} of {video.path}: use 1 to {MAX_KEY_LENGTH} of A-Z, a-z, 0-9, _ and -")


Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Part i of n: every n-th of the planned tasks, from the i-th on; i counts from 1."""

    number: int
    count: int

    def of(self, planned: Sequence[Item]) -> Sequence[Item]:
        """This part's share; every task is in exactly one part."""
        return planned[self.number - 1 :: self.count]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_part(text: str) -> Part:
    """`3/16` -> the third of sixteen parts. Raises UsageError unless it is i/n with 1 <= i <= n."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
    if match and 1 <= int(match[1]) <= int(match[2]):
        return Part(number=int(match[1]), count=int(match[2]))
    raise UsageError(f"part {text!r}: write it as i/n with i from 1 to n, for example 3/16 for the third of 16 parts")
