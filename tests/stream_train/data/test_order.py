"""The order of samples: every one once an epoch, the same for any ranks, lanes that stay in few shards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardify.errors import UsageError
from stream_train.data.order import SampleOrder, Slot, slots_of_rank

GOLDEN = {
    "unequal shards": ([4, 3, 5], 2, 2, 1, [7, 2, 8, 4, 11, 1, 10, 0, 9, 3, 6, 5]),
    "equal shards": ([3] * 6, 2, 1, 0, [15, 2, 17, 1, 16, 0, 6, 12, 8, 13, 7, 14, 9, 4, 11, 5, 10, 3]),
    "equal shards, next epoch": ([3] * 6, 2, 1, 1, [12, 5, 13, 4, 14, 3, 10, 1, 11, 0, 9, 2, 8, 16, 6, 17, 7, 15]),
    "shared shards": ([4, 3], 3, 1, 0, [5, 3, 4, 1, 2, 6, 0]),
    "a long tail": ([9, 2], 2, 1, 0, [6, 10, 0, 9, 2, 3, 4, 5, 1, 7, 8]),
}


def make(sizes: list[int], lanes: int = 7, window: int = 4, seed: int = 3) -> SampleOrder:
    return SampleOrder(sizes, seed=seed, num_lanes=lanes, window_shards=window)


@pytest.mark.parametrize(("sizes", "lanes", "window", "epoch", "expected"), GOLDEN.values(), ids=GOLDEN)
def test_golden_order(sizes: list[int], lanes: int, window: int, epoch: int, expected: list[int]) -> None:
    """Frozen: a change here changes every past run's order. The seed breaks ties among shards of equal size."""
    assert make(sizes, lanes, window).epoch(epoch).tolist() == expected


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=30).filter(sum),
    lanes=st.integers(1, 12),
    window=st.integers(1, 5),
    epoch=st.integers(0, 5),
)
@settings(max_examples=150, deadline=None)
def test_an_epoch_holds_every_sample_once(sizes: list[int], lanes: int, window: int, epoch: int) -> None:
    assert sorted(make(sizes, lanes, window).epoch(epoch).tolist()) == list(range(sum(sizes)))


def test_epochs_and_seeds_differ() -> None:
    orders = [make([20] * 14).epoch(0), make([20] * 14).epoch(1), make([20] * 14, seed=4).epoch(0)]
    assert len({tuple(order.tolist()) for order in orders}) == 3


def test_a_lane_reads_its_own_shards_window_by_window() -> None:
    """28 equal shards, 7 lanes: four shards a lane, so the epoch has no tail and each lane two windows of two."""
    shards = make([10] * 28, window=2).epoch(0).reshape(-1, 7) // 10
    seen: list[set[int]] = []
    for lane in range(7):
        first, second = set(shards[:20, lane].tolist()), set(shards[20:, lane].tolist())
        assert len(first) == len(second) == 2
        seen += [first, second]
    assert sorted(shard for window in seen for shard in window) == list(range(28))


def test_windows_are_mixed() -> None:
    order = make([50] * 7, lanes=1, window=7).epoch(0) // 50
    assert all(len(set(order[start : start + 50].tolist())) == 7 for start in range(0, 350, 50))


def test_uneven_shards_leave_a_short_shuffled_tail() -> None:
    sizes = [100, 90, 80, 70, 60, 50, 40, 95, 85, 75, 65, 55, 45, 35]
    order = make(sizes, window=1).epoch(0)
    shard_of = np.searchsorted(np.cumsum([0, *sizes]), order, side="right") - 1
    assert all(len(set(shard_of[lane:840:7].tolist())) == 2 for lane in range(7))
    assert not (np.diff(order[-105:]) > 0).all()


def test_the_stream_runs_on_across_epochs() -> None:
    order = make([5, 6])
    places = list(order.slots(0, 33))
    assert [slot.epoch for slot in places] == [0] * 11 + [1] * 11 + [2] * 11
    for epoch in range(3):
        assert sorted(s.position for s in places if s.epoch == epoch) == list(range(11))
    assert list(order.slots(9, 13)) == places[9:13]
    assert places[0] == Slot(epoch=0, position=int(order.epoch(0)[0]))


@given(slots=st.integers(1, 40), ranks=st.integers(1, 40))
def test_ranks_share_the_slots_as_equally_as_possible(slots: int, ranks: int) -> None:
    if ranks > slots:
        with pytest.raises(UsageError, match="videos_per_batch"):
            slots_of_rank(slots, 0, ranks)
        return
    parts = [slots_of_rank(slots, rank, ranks) for rank in range(ranks)]
    assert [slot for part in parts for slot in part] == list(range(slots))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("sizes", "lanes", "window"), [([], 1, 1), ([0, 0], 1, 1), ([3], 0, 1), ([3], 1, 0)])
def test_nothing_to_order_is_refused(sizes: list[int], lanes: int, window: int) -> None:
    with pytest.raises(ValueError, match=r"samples|positive"):
        make(sizes, lanes, window)


def test_a_million_videos_are_ordered_in_memory_of_their_own_size() -> None:
    epoch = make([167] * 6000, lanes=28).epoch(0)
    assert epoch.nbytes == 8 * 167 * 6000
    assert np.array_equal(np.bincount(epoch), np.ones(167 * 6000))
