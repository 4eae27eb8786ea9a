"""Which clips the tasks draw, and whether the answers say what the clips show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from helpers_tasks import KINDS, task_of_kind
from scipy.stats import chisquare

from stream_train.data.plans import ClipPlan
from stream_train.draws import SampleDraws
from stream_train.tasks.base import ClipTask
from stream_train.tasks.drawing import draw_shuffle, draw_start
from stream_train.tasks.order_prediction import ORDERS
from stream_train.tasks.question import Question
from stream_train.tasks.space_time_puzzle import QUARTERS, SpaceTimePuzzle

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((kind, {}) for kind in KINDS),
    ("shuffle_learn", {"variant": "triplet"}),
    ("shuffle_learn", {"variant": "triplet", "stride": 2, "spacing": 3}),
    ("rotation", {"stride": 3}),
    ("odd_one_out", {"num_clips": 3, "stride": 2}),
    ("order_prediction", {"gap": 0, "one_channel": True, "jitter": 5}),
    ("clip_order", {"num_clips": 4, "gap": 0}),
    ("clip_order", {"num_clips": 2, "stride": 3, "gap": 5}),
    ("speednet", {"normal": (1, 1), "fast": (2, 2)}),
    ("space_time_puzzle", {"layout": "space"}),
    ("space_time_puzzle", {"layout": "time"}),
    ("dense_prediction", {"num_blocks": 3, "num_predicted": 1, "stride": 2}),
]
every_variant = pytest.mark.parametrize(
    ("kind", "changes"), VARIANTS, ids=["-".join([kind, *map(str, changes.values())]) for kind, changes in VARIANTS]
)


def many(task: ClipTask, num_frames: int, count: int) -> Iterator[tuple[ClipPlan, ...]]:
    """The clips of a video in many epochs."""
    return (task.draw_clips(num_frames, SampleDraws(7, epoch, 5)) for epoch in range(count))


def answer_of(plans: Sequence[ClipPlan], name: str) -> int:
    """The one answer that all clips of a video share."""
    answers = {int(plan.targets[name]) for plan in plans}
    assert len(answers) == 1
    return answers.pop()


def assert_uniform(answers: Sequence[int], size: int) -> None:
    counts = np.bincount(answers, minlength=size)
    assert len(counts) == size
    assert chisquare(counts).pvalue > 1e-3, counts


@every_variant
def test_frames_lie_in_the_video_and_any_part_of_it_is_used(kind: str, changes: dict[str, Any]) -> None:
    task = task_of_kind(kind, **changes)
    shortest = max(task.min_frames, 16)
    num_clips, num_frames = None, None
    for length in (shortest, shortest + 1, shortest + 7, 300):
        used = []
        for plans in many(task, length, 150 if length == shortest + 1 else 30):
            assert {len(plans), num_clips} <= {len(plans), None}
            num_clips = len(plans)
            for plan in plans:
                assert {len(plan.indices), num_frames} <= {len(plan.indices), None}
                num_frames = len(plan.indices)
                assert plan.indices.dtype == np.int64
                used.append(plan.indices)
        first, last = np.min(used), np.max(used)
        assert first >= 0
        assert last < length
        if length <= shortest + 1:
            assert first == 0
            slack = 1 if kind == "speednet" else 0  # the largest speed-up is hardly ever drawn
            assert last >= length - 1 - slack
    assert num_clips is not None
    assert num_clips % task.clips_per_answer == 0
    assert num_frames == (32 if kind == "playback_rate" else 16)


@every_variant
def test_a_video_with_a_frame_less_is_too_short(kind: str, changes: dict[str, Any]) -> None:
    task = task_of_kind(kind, **changes)
    if task.min_frames == 1:
        assert kind in ("transformations", "ranking", "pace", "action_labels")  # their frames loop
        return
    with pytest.raises(ValueError, match="empty range"):
        for _ in many(task, task.min_frames - 1, 20):
            pass


def test_min_frames_are_those_of_the_definitions() -> None:
    found = {kind: task_of_kind(kind).min_frames for kind in KINDS}
    assert found == {
        "transformations": 1, "ranking": 1, "pace": 1, "action_labels": 1, "shuffle_learn": 16, "rotation": 31,
        "arrow_of_time": 16, "odd_one_out": 16, "order_prediction": 28, "clip_order": 64, "playback_rate": 16,
        "speednet": 34, "space_time_puzzle": 64, "dense_prediction": 80, "flow_statistics": 16,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "size"),
    [("odd_one_out", 6), ("order_prediction", 12), ("clip_order", 6), ("playback_rate", 4), ("space_time_puzzle", 24)],
)
def test_drawn_answers_are_uniform(kind: str, size: int) -> None:
    task = task_of_kind(kind)
    assert isinstance(task, Question)
    assert len(task.classes) == len(set(task.classes)) == size
    if kind != "playback_rate":  # there the length decides
        assert task.guesses({})[f"{task.head}_accuracy"] == 1 / size
    assert_uniform([answer_of(plans, task.head) for plans in many(task, 130, 60 * size)], size)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("shuffle_learn", {}),
        ("shuffle_learn", {"variant": "triplet"}),
        ("arrow_of_time", {}),
        ("speednet", {}),
        ("rotation", {}),
    ],
)
def test_a_video_gives_each_class_once(kind: str, changes: dict[str, Any]) -> None:
    task = task_of_kind(kind, **changes)
    assert isinstance(task, Question)
    for plans in many(task, 90, 5):
        answers = [int(plan.targets[task.head]) for plan in plans]
        each = task.clips_per_answer
        assert answers == [k for k in range(len(task.classes)) for _ in range(each)]


def test_starts_and_shuffles() -> None:
    draws = [SampleDraws(1, epoch, 2) for epoch in range(700)]
    assert_uniform([draw_start(22, 16, one) for one in draws], 7)
    items = np.array([[draw_start(22, 16, one, item) for item in range(2)] for one in draws])
    assert_uniform((items[:, 0] * 7 + items[:, 1]).tolist(), 49)
    shuffles = Counter(tuple(draw_shuffle(one, 3).tolist()) for one in draws)
    assert set(shuffles) == {(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1)}
    assert_uniform([sorted(shuffles).index(tuple(draw_shuffle(one, 3).tolist())) for one in draws], 4)


def test_a_shuffled_clip_is_neither_in_order_nor_reversed() -> None:
    for ordered, shuffled in many(task_of_kind("shuffle_learn", stride=2), 40, 200):
        assert set(np.diff(ordered.indices)) == {2}
        assert sorted(shuffled.indices) == ordered.indices.tolist()
        assert len(set(np.diff(shuffled.indices))) > 1
        assert (ordered.view, shuffled.view) == (None, None)


def test_a_wrong_triplet_has_a_middle_clip_from_outside() -> None:
    outside = []
    for plans in many(task_of_kind("shuffle_learn", variant="triplet", spacing=4), 60, 200):
        assert all(set(np.diff(plan.indices)) == {1} for plan in plans)
        b, c, d, *wrong = (int(plan.indices[0]) for plan in plans)
        assert (c - b, d - c) == (4, 4)
        assert (wrong[0], wrong[2]) == (b, d)
        assert wrong[1] in (b - 4, d + 4)
        outside.append(int(wrong[1] > d))
    assert_uniform(outside, 2)


def test_rotations_and_both_directions_show_the_same_pixels() -> None:
    for plans in many(task_of_kind("rotation"), 90, 5):
        assert [plan.quarter_turns for plan in plans] == [0, 1, 2, 3]
        assert {plan.view for plan in plans} == {0}
        assert all(plan.indices.tolist() == plans[0].indices.tolist() for plan in plans)
        assert set(np.diff(plans[0].indices)) == {2}
    assert task_of_kind("rotation").class_names() == {"rotation": ("0", "90", "180", "270")}
    for forwards, backwards in many(task_of_kind("arrow_of_time", stride=3), 90, 5):
        assert set(np.diff(forwards.indices)) == {3}
        assert backwards.indices.tolist() == forwards.indices.tolist()[::-1]
        assert forwards.view == backwards.view == 0


def test_only_the_odd_clip_is_shuffled() -> None:
    for plans in many(task_of_kind("odd_one_out", stride=2), 200, 60):
        odd = answer_of(plans, "odd")
        for number, plan in enumerate(plans):
            steps = set(np.diff(plan.indices).tolist())
            assert (steps == {2}) == (number != odd)
            assert set(np.diff(np.sort(plan.indices))) == {2}
        assert {plan.view for plan in plans} == {None}
        assert len({int(plan.indices.min()) for plan in plans}) > 1


def test_an_order_of_pieces_and_its_reversal_have_one_name() -> None:
    task = task_of_kind("order_prediction", gap=3)
    names = task.class_names()["order"]
    seen = {}
    for (plan,) in many(task, 60, 400):
        pieces = plan.indices.reshape(4, 4)
        assert (np.diff(pieces, axis=1) == 1).all()
        places, remainder = np.divmod(pieces[:, 0] - pieces.min(), 4 + 3)
        assert not remainder.any()
        shown = "-".join(str(place + 1) for place in places)
        name = names[int(plan.targets["order"])]
        assert name in (shown, shown[::-1])
        seen[shown] = name
        assert (plan.jitter, plan.channels) == (None, None)
    assert len(seen) == 24
    assert set(Counter(seen.values()).values()) == {2}
    assert all(order[::-1] not in ORDERS for order in ORDERS)


def test_each_frame_of_pieces_has_its_own_jitter_and_channel() -> None:
    plans = [plan for (plan,) in many(task_of_kind("order_prediction", jitter=5, one_channel=True), 60, 100)]
    jitter = np.stack([plan.jitter for plan in plans if plan.jitter is not None])
    channels = np.stack([plan.channels for plan in plans if plan.channels is not None])
    assert jitter.shape == (100, 16, 2)
    assert_uniform((jitter.ravel() + 5).tolist(), 11)
    assert_uniform(channels.ravel().tolist(), 3)
    assert (np.ptp(jitter, axis=1) > 0).all()
    assert (np.ptp(channels, axis=1) > 0).all()


@pytest.mark.parametrize("num_clips", [2, 3, 4])
def test_the_order_of_clips_is_the_one_that_the_answer_names(num_clips: int) -> None:
    task = task_of_kind("clip_order", num_clips=num_clips)
    for plans in many(task, 120, 100):
        starts = np.array([plan.indices[0] for plan in plans])
        assert all((np.diff(plan.indices) == 1).all() for plan in plans)
        assert set(np.diff(np.sort(starts))) == {16 + 8}
        places = (starts - starts.min()) // 24
        assert task.class_names()["order"][answer_of(plans, "order")] == "-".join(str(place + 1) for place in places)
        assert {plan.view for plan in plans} == {None}


def test_playback_rates_are_those_that_the_length_allows() -> None:
    """The network sees every second of 32 frames; at stride 1 each is there twice."""
    task = task_of_kind("playback_rate")
    rates = {16: {0}, 31: {0}, 32: {0, 1}, 62: {0, 1}, 63: {0, 1, 2}, 124: {0, 1, 2}, 125: {0, 1, 2, 3}}
    for length, expected in rates.items():
        found = set()
        for (plan,) in many(task, length, 60):
            rate = int(plan.targets["rate"])
            found.add(rate)
            assert set(np.diff(plan.indices[::2])) == {2**rate}
            between = plan.indices[1::2] - plan.indices[::2]
            assert set(between) == {2**rate // 2}
        assert found == expected
    assert task.class_names() == {"rate": ("stride 1", "stride 2", "stride 4", "stride 8")}


def test_the_fast_segment_is_about_twice_as_fast() -> None:
    last: dict[int, set[int]] = {0: set(), 1: set()}
    for plans in many(task_of_kind("speednet"), 100, 300):
        assert plans[0].indices[0] == plans[1].indices[0]
        for plan in plans:
            assert (np.diff(plan.indices) > 0).all()
            last[int(plan.targets["speed"])].add(int(plan.indices[15] - plan.indices[0]))
    assert last == {0: set(range(15, 18)), 1: set(range(25, 33))}


@pytest.mark.parametrize("layout", ["space", "time", "both"])
def test_pieces_of_a_puzzle_lie_in_their_quarter_and_in_the_named_order(layout: str) -> None:
    task = task_of_kind("space_time_puzzle", layout=layout)
    names = task.class_names()["order"]
    in_space, channels, corners = [], [], []
    for plans in many(task, 80, 300):
        order = [int(word) - 1 for word in names[answer_of(plans, "order")].split("-")]
        restored = [plans[clip] for clip in np.argsort(order)]
        starts = [int(plan.indices[0]) for plan in restored]
        assert all((np.diff(plan.indices) == 1).all() for plan in plans)
        windows = [plan.window for plan in restored if plan.window is not None]
        quarters = [2 * int(window.top >= 0.5) + int(window.left >= 0.5) for window in windows]  # row by row
        for window, quarter in zip(windows, quarters, strict=True):
            down, right = window.top - QUARTERS[quarter][0], window.left - QUARTERS[quarter][1]
            assert window.side == pytest.approx(40 / 112)
            assert 0 <= down <= 0.5 - window.side + 1e-12
            assert 0 <= right <= 0.5 - window.side + 1e-12
            corners.append((down, right))
        in_space.append(len(set(starts)) == 1)
        if in_space[-1]:
            assert quarters == [0, 1, 2, 3]
        else:
            assert starts == [starts[0] + 16 * block for block in range(4)]
            assert len(set(quarters)) == 1
        assert {plan.view for plan in plans} == {0}
        for plan in plans:
            assert plan.channels is not None
            assert len(set(plan.channels.tolist())) == 1
        channels += [int(plan.channels[0]) for plan in plans if plan.channels is not None]
    assert set(in_space) == {"space": {True}, "time": {False}, "both": {True, False}}[layout]
    if layout == "both":
        assert_uniform([int(one) for one in in_space], 2)
    assert_uniform(channels, 3)
    edges = np.linspace(0, 0.5 - 40 / 112, 6)
    assert_uniform((np.digitize(np.array(corners)[:, 0], edges) - 1).tolist(), 5)
    assert_uniform((np.digitize(np.array(corners)[:, 1], edges) - 1).tolist(), 5)


def test_quarters_of_a_puzzle_in_time_are_uniform_and_colours_may_stay() -> None:
    task = task_of_kind("space_time_puzzle", layout="time", piece=1.0, one_channel=False)
    assert isinstance(task, SpaceTimePuzzle)
    quarters = []
    for plans in many(task, 64, 200):
        assert {plan.channels for plan in plans} == {None}
        window = plans[0].window
        assert window is not None
        assert window.side == 0.5
        quarters.append(QUARTERS.index((window.top, window.left)))
    assert_uniform(quarters, 4)


def test_blocks_follow_each_other_without_a_gap() -> None:
    for plans in many(task_of_kind("dense_prediction", num_blocks=4, stride=3), 300, 5):
        frames = np.concatenate([plan.indices for plan in plans])
        assert len(plans) == 4
        assert set(np.diff(frames)) == {3}
        assert {plan.view for plan in plans} == {0}


def test_pace_is_the_speed_alone() -> None:
    task = task_of_kind("pace")
    speeds = set()
    for (plan,) in many(task, 130, 40):
        speeds.add(int(plan.targets["speed"]))
        assert set(np.diff(plan.indices)) == {2 ** int(plan.targets["speed"])}
    assert speeds == {0, 1, 2, 3}
    assert set(task.class_names()) == {"speed"}
