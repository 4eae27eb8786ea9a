"""The plan: every video once, whole shards per split signature, even sizes, the same whatever the order."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardify.build.plan import PlannedShard, make_plan, plan_sha256
from shardify.catalogs.base import Catalog, Missing, Video
from shardify.errors import UsageError

SPLITS = ("train1", "test1", "train2", "test2")


def make_catalog(num_videos: int, splits_of: tuple[tuple[str, ...], ...] = ((),)) -> Catalog:
    videos = tuple(
        Video(key=f"v{i:04d}", path=f"c/v{i:04d}.avi", label=i % 3, splits=splits_of[i % len(splits_of)])
        for i in range(num_videos)
    )
    return Catalog(root="videos", videos=videos, classes=("a", "b", "c"), splits=SPLITS)


signatures = st.lists(st.sampled_from(SPLITS), unique=True).map(lambda names: tuple(s for s in SPLITS if s in names))


@given(st.lists(signatures, min_size=1, max_size=60), st.integers(1, 20), st.integers(0, 3), st.randoms())
def test_every_video_is_in_one_shard_of_its_signature(
    splits_of: list[tuple[str, ...]], videos_per_shard: int, seed: int, shuffler: random.Random
) -> None:
    catalog = make_catalog(len(splits_of), tuple(splits_of))
    plan = make_plan(catalog, videos_per_shard, seed)

    assert sorted(video for shard in plan for video in shard.videos) == sorted(catalog.videos)
    assert [shard.number for shard in plan] == list(range(len(plan)))
    assert all(video.splits == shard.splits for shard in plan for video in shard.videos)
    for signature in set(splits_of):
        sizes = [len(shard.videos) for shard in plan if shard.splits == signature]
        assert len(sizes) == -(-splits_of.count(signature) // videos_per_shard)
        assert max(sizes) <= videos_per_shard
        assert max(sizes) - min(sizes) <= 1

    shuffled = list(catalog.videos)
    shuffler.shuffle(shuffled)
    assert make_plan(replace(catalog, videos=tuple(shuffled)), videos_per_shard, seed) == plan


def test_order_inside_a_signature_is_that_of_the_hash_of_seed_and_key() -> None:
    plan = make_plan(make_catalog(10), videos_per_shard=4, seed=7)
    expected = sorted((f"v{i:04d}" for i in range(10)), key=lambda key: hashlib.sha256(f"7|{key}".encode()).digest())
    assert [video.key for shard in plan for video in shard.videos] == expected
    assert [len(shard.videos) for shard in plan] == [3, 3, 4]


def test_shards_follow_the_order_of_the_catalogs_splits() -> None:
    plan = make_plan(make_catalog(9, (("test1", "train2"), ("train1", "test2"), ())), videos_per_shard=10, seed=0)
    assert [shard.splits for shard in plan] == [(), ("train1", "test2"), ("test1", "train2")]


def test_seed_mixes_within_signatures_only() -> None:
    catalog = make_catalog(60, (("train1",), ("test1",)))
    plans = [make_plan(catalog, 10, seed) for seed in (0, 1)]
    assert plans[0] != plans[1]

    def members(plan: tuple[PlannedShard, ...]) -> set[str]:
        return {video.key for shard in plan if shard.splits == ("train1",) for video in shard.videos}

    assert members(plans[0]) == members(plans[1])


def test_digest_sees_keys_paths_labels_splits_and_places() -> None:
    catalog = make_catalog(20, (("train1",), ("test1",)))
    first, *rest = catalog.videos
    changes = [
        replace(first, key="other"),
        replace(first, path="other.avi"),
        replace(first, label=2),
        replace(first, splits=("test1",)),
    ]
    digests = {plan_sha256(make_plan(replace(catalog, videos=(video, *rest)), 2, 0)) for video in [first, *changes]}
    digests |= {plan_sha256(make_plan(catalog, 3, 0)), plan_sha256(make_plan(catalog, 2, 1))}
    assert len(digests) == 7


def test_no_videos_is_a_usage_error() -> None:
    catalog = replace(make_catalog(0), missing=(Missing(name="a.avi", splits=()),))
    with pytest.raises(UsageError, match=r"videos: no videos to pack \(1 listed ones are missing\)"):
        make_plan(catalog, 10, 0)


@pytest.mark.parametrize("key", ["", "a.b", "a b", "a/b", "ä", "k" * 81])
def test_keys_that_tar_or_webdataset_would_mangle_are_refused(key: str) -> None:
    catalog = make_catalog(3)
    with pytest.raises(ValueError, match="key "):
        make_plan(replace(catalog, videos=(*catalog.videos, replace(catalog.videos[0], key=key))), 10, 0)


def test_equal_keys_are_refused() -> None:
    catalog = make_catalog(3)
    with pytest.raises(ValueError, match="'v0000' names 2 videos"):
        make_plan(replace(catalog, videos=(*catalog.videos, catalog.videos[0])), 10, 0)
