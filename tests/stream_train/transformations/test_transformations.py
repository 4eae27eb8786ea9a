"""The index sequences of section 3.1 and how they are drawn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from shardify.config import validate_config
from stream_train.data.plans import IGNORED, ClipPlan
from stream_train.draws import SampleDraws
from stream_train.transformations.config import Motion, SamplingConfig
from stream_train.transformations.sampling import draw_clips, largest_speed
from stream_train.transformations.sequences import (
    frames_for_speed,
    periodic_indices,
    periodic_prose_indices,
    periodic_window_indices,
    random_indices,
    speed_indices,
    warp_indices,
)

DEFAULT = SamplingConfig()

GOLDEN = [
    [144, 146, 148, 150, 152, 154, 156, 158, 160, 162, 164, 166, 168, 170, 172, 174],
    [23, 13, 14, 18, 21, 15, 22, 20, 19, 24, 17, 12, 16, 25, 11, 26],
    [180, 182, 184, 186, 188, 190, 192, 190, 188, 186, 184, 182, 180, 178, 176, 174],
    [16, 24, 27, 32, 37, 43, 46, 47, 52, 59, 62, 68, 76, 81, 87, 91],
]


def draw_many(num_frames: int, config: SamplingConfig = DEFAULT, count: int = 400) -> list[tuple[ClipPlan, ...]]:
    return [draw_clips(num_frames, SampleDraws(7, 0, sample), config) for sample in range(count)]


def test_speed_takes_every_qth_frame() -> None:
    assert speed_indices(0, 3).tolist() == list(range(3, 19))
    assert speed_indices(kappa=3, offset=1).tolist() == list(range(1, 122, 8))
    assert speed_indices(2).dtype == np.int64


def test_random_shifts_a_permutation() -> None:
    assert random_indices(list(reversed(range(16))), 5).tolist() == list(range(20, 4, -1))


@pytest.mark.parametrize(
    ("kappa", "turn", "expected"),
    [
        (0, 7, [1, 2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (0, 12, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 11, 10, 9]),
        (1, 5, [21, 23, 25, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0]),
        (3, 103, [0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 95, 87, 79]),
    ],
)
def test_periodic_equals_the_sequences_worked_out_by_hand(kappa: int, turn: int, expected: list[int]) -> None:
    assert periodic_indices(kappa, turn).tolist() == expected
    assert periodic_indices(kappa=kappa, turn=turn, offset=4).tolist() == [index + 4 for index in expected]


def test_warp_is_the_cumulative_sum_of_its_steps() -> None:
    steps = [1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 1, 1, 1, 1, 1]
    assert warp_indices(steps, 2).tolist() == [2, 3, 5, 8, 12, 17, 23, 30, 38, 39, 40, 41, 42, 43, 44, 45]
    assert warp_indices(steps=[8] * 15).max() == 120


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: speed_indices(4), "kappa = 4"),
        (lambda: speed_indices(0, -1), "offset = -1"),
        (lambda: random_indices([0] * 16), "permutation"),
        (lambda: random_indices(range(15)), "permutation"),
        (lambda: periodic_indices(1, 4), "turn = 4"),
        (lambda: periodic_indices(1, 26), "turn = 26"),
        (lambda: warp_indices([1] * 14), "15 steps"),
        (lambda: warp_indices([9] * 15), "0..8"),
        (lambda: periodic_window_indices(1, 0, 0), "overshoot = 0"),
        (lambda: periodic_window_indices(0, 13, 0), "window = 13"),
        (lambda: draw_clips(0, SampleDraws(0, 0, 0), DEFAULT), "num_frames = 0"),
    ],
)
def test_values_out_of_range_are_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


ALL_TURNS = [(kappa, turn) for kappa in range(4) for turn in range(2 * 2**kappa + 1, 13 * 2**kappa)]


def test_periodic_runs_forward_then_back_and_needs_at_most_13q() -> None:
    for kappa, turn in ALL_TURNS:
        q = 2**kappa
        indices = periodic_indices(kappa, turn)
        peak = turn // q
        assert indices.min() >= 0
        assert indices.max() + 1 <= 13 * q
        assert (np.diff(indices[: peak + 1]) == q).all()
        assert (np.diff(indices[peak + 1 :]) == -q).all()
        assert indices[peak + 1] - indices[peak] == turn % q - q


def test_the_prose_of_periodic_subsamples_the_full_sequence() -> None:
    for kappa, turn in ALL_TURNS:
        q = 2**kappa
        full = [*range(turn + 1), *range(turn - 1, 2 * turn - 15 * q - 1, -1)][::q][:16]
        indices = periodic_prose_indices(kappa, turn)
        assert (indices - indices[0]).tolist() == [index - full[0] for index in full]
        assert indices.min() >= 0


def test_the_released_codes_periodic_is_a_window_of_there_and_back() -> None:
    assert periodic_window_indices(0, 12, 0).tolist() == [12, 13, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert periodic_window_indices(2, 0, 3).tolist() == [*range(0, 56, 4), 55, 51]


def test_a_speed_needs_15q_plus_1_frames_and_16q_in_the_released_code() -> None:
    bounds = [1, 16, 30, 31, 32, 60, 61, 63, 64, 120, 121, 127, 128]
    assert [largest_speed(n) for n in bounds] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]
    assert [largest_speed(n, "full_steps") for n in bounds] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    starts: dict[tuple[str, int], set[int]] = {}
    for rule in ("exact", "full_steps"):
        config = validate_config(SamplingConfig, {"frames_for_speed": rule, "motions": []}, "sampling")
        for sample in range(6000):
            (clip,) = draw_clips(140, SampleDraws(0, 0, sample), config)
            starts.setdefault((rule, int(clip.targets["speed"])), set()).add(int(clip.indices[0]))
    for kappa, q in enumerate((1, 2, 4, 8)):
        assert starts["exact", kappa] == set(range(140 - 15 * q))
        assert starts["full_steps", kappa] == set(range(140 - 16 * q + 1))


@pytest.mark.parametrize("num_frames", [1, 5, 16, 17, 30, 31, 60, 61, 120, 121, 300])
@pytest.mark.parametrize(
    "config",
    [
        DEFAULT,
        SamplingConfig(periodic="window", warp="literal", periodic_shift="none"),
        SamplingConfig(periodic="prose", frames_for_speed="full_steps"),
    ],
)
def test_every_drawn_index_lies_in_the_video(num_frames: int, config: SamplingConfig) -> None:
    for clips in draw_many(num_frames, config, 60):
        warp = Motion.WARP if num_frames > 16 else IGNORED
        assert [clip.targets["motion"] for clip in clips] == [Motion.SPEED, Motion.RANDOM, Motion.PERIODIC, warp]
        for clip in clips:
            assert clip.indices.shape == (16,)
            assert clip.indices.min() >= 0
            assert clip.indices.max() < num_frames


def test_speed_is_uniform_and_shared_with_the_periodic_clip() -> None:
    drawn = draw_many(200, count=800)
    speeds = Counter(clips[0].targets["speed"] for clips in drawn)
    assert set(speeds) == {0, 1, 2, 3}
    assert min(speeds.values()) > 150  # 200 expected, sd 12
    for speed, random, periodic, warp in drawn:
        assert (np.diff(speed.indices) == 2 ** speed.targets["speed"]).all()
        assert periodic.targets["speed"] == speed.targets["speed"]
        assert abs(int(periodic.indices[1] - periodic.indices[0])) == 2 ** speed.targets["speed"]
        assert (random.targets["speed"], warp.targets["speed"]) == (IGNORED, IGNORED)


def test_offsets_are_drawn_for_each_clip_and_reach_both_ends() -> None:
    drawn = draw_many(130, count=1200)
    for number in range(4):
        assert min(clips[number].indices.min() for clips in drawn) == 0
        assert max(clips[number].indices.max() for clips in drawn) == 129
    same = sum(clips[0].indices[0] == clips[3].indices[0] for clips in drawn)
    assert same < 120


def test_turns_cover_their_whole_range() -> None:
    peaks = Counter(int(np.argmax(clips[2].indices)) for clips in draw_many(16, count=800))
    assert set(peaks) == set(range(3, 13))
    assert min(peaks.values()) > 50  # 80 expected, sd 8.5


@pytest.mark.parametrize(
    ("num_frames", "warp", "steps"),
    [(61, "skips", range(1, 5)), (120, "skips", range(1, 5)), (121, "skips", range(1, 9)), (200, "literal", range(8))],
)
def test_warp_steps_follow_the_length(num_frames: int, warp: str, steps: range) -> None:
    """The displayed formula read literally repeats frames."""
    drawn = draw_many(num_frames, SamplingConfig.model_validate({"warp": warp}))
    seen = Counter(int(step) for clips in drawn for step in np.diff(clips[3].indices))
    assert set(seen) == set(steps)
    assert max(seen.values()) < 1.25 * min(seen.values())


def test_warp_of_a_short_video_is_a_sorted_subset_and_never_contiguous() -> None:
    missing = set()
    for *_, warp in draw_many(17, count=400):
        assert (np.diff(warp.indices) >= 1).all()
        assert (np.diff(warp.indices) > 1).any()
        assert warp.targets["motion"] == Motion.WARP
        missing |= set(range(17)) - set(warp.indices.tolist())
    assert missing == set(range(1, 16))


def test_warp_of_sixteen_frames_is_masked_out() -> None:
    for clips in draw_many(16, count=20):
        assert clips[3].indices.tolist() == list(range(16))
        assert [clip.targets["motion"] for clip in clips] == [0, 1, 2, IGNORED]


def test_random_is_never_the_identity_and_uses_consecutive_frames() -> None:
    for clips in draw_many(40, count=200):
        order = clips[1].indices
        assert order.max() - order.min() == 15
        assert (np.diff(order) != 1).any()


def test_videos_shorter_than_a_clip_are_looped() -> None:
    for clips in draw_many(5, count=50):
        assert clips[0].indices.tolist() == [i % 5 for i in range(16)]
        assert clips[0].targets["speed"] == 0


def test_subsets_of_motions_keep_tau_order_and_do_not_change_the_others() -> None:
    config = SamplingConfig(motions=("warp", "random"))
    assert config.motions == ("random", "warp")
    full, part = draw_many(150, count=50), draw_many(150, config, 50)
    for all_clips, some in zip(full, part, strict=True):
        assert [clip.targets["motion"] for clip in some] == [0, 1, 3]
        for clip in some:
            assert np.array_equal(clip.indices, all_clips[clip.targets["motion"]].indices)
    assert [len(clips) for clips in draw_many(150, SamplingConfig(motions=()), 2)] == [1, 1]


def test_golden_draws() -> None:
    """Frozen: a change here changes every past run's clips."""
    clips = draw_clips(200, SampleDraws(1, 2, 3), DEFAULT)
    assert [clip.indices.tolist() for clip in clips] == GOLDEN
    assert frames_for_speed(int(clips[0].targets["speed"])) <= 200
