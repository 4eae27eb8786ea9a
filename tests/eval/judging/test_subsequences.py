"""Where the evaluations' clips lie in a video, against a slow reference and numbers worked out by hand."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from eval.judging.subsequences import (
    EvenClips,
    TestClips,
    subsequence_starts,
)
from stream_train.draws import SampleDraws
from stream_train.transformations.subsequences import (
    draw_subsequence,
    even_starts,
    num_starts,
    plan_of,
    stride_that_fits,
    subsequence,
)

LENGTHS = (*range(1, 161), 255, 256, 257, 400)
STRIDES = (1, 2, 3, 4, 7)
DRAWS = SampleDraws(0, 0, 0)


def reference_clips(num_frames: int, stride: int) -> list[list[int]]:
    """The frames of every clip that lies in the video, at the largest step that leaves any; looped below 16 frames."""
    if num_frames < 16:
        return [[place % num_frames for place in range(16)]]
    for step in range(stride, 0, -1):
        clips = [list(range(start, num_frames, step))[:16] for start in range(num_frames)]
        if whole := [clip for clip in clips if len(clip) == 16]:
            return whole
    raise AssertionError("16 frames hold a clip of step 1")


@pytest.mark.parametrize("stride", STRIDES)
def test_clips_are_those_of_the_slow_reference(stride: int) -> None:
    """Section 6: every max(1, floor(M / 32)) of the M clips, so min(M, 32 to 63)."""
    for num_frames in LENGTHS:
        every = reference_clips(num_frames, stride)
        chosen = every[:: max(1, len(every) // 32)]
        assert min(len(every), 32) <= len(chosen) <= min(len(every), 63)
        for all_starts, expected in ((False, chosen), (True, every)):
            plans = TestClips(stride=stride, all_starts=all_starts)(num_frames, DRAWS)
            assert [plan.indices.tolist() for plan in plans] == expected, num_frames
            starts = subsequence_starts(num_frames, stride, all_starts=all_starts)
            assert starts.dtype == np.int64
            assert starts.tolist() == [clip[0] for clip in expected]
        assert num_starts(num_frames, stride) == len(every)


@pytest.mark.parametrize(
    ("num_frames", "stride", "starts"),
    [
        (1, 1, [0]),
        (15, 1, [0]),
        (16, 1, [0]),
        (30, 1, list(range(15))),
        (31, 2, [0]),
        (60, 3, list(range(15))),
        (61, 4, [0]),
        (92, 4, list(range(32))),
        (123, 4, list(range(63))),
        (124, 4, list(range(0, 64, 2))),
        (155, 4, list(range(0, 95, 2))),
        (156, 4, list(range(0, 96, 3))),
        (380, 4, list(range(0, 320, 10))),
    ],
)
def test_starts_by_hand(num_frames: int, stride: int, starts: list[int]) -> None:
    """Stride 4 needs 61 frames, 3 needs 46, 2 needs 31; M = n - 15 * stride."""
    assert stride_that_fits(num_frames, 4) == stride
    assert subsequence_starts(num_frames, 4).tolist() == starts


def test_videos_below_16_frames_loop() -> None:
    assert subsequence(0, 5, 4).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0]
    assert subsequence(0, 1, 1).tolist() == [0] * 16
    (plan,) = TestClips()(15, DRAWS)
    assert plan.indices.tolist() == [*range(15), 0]


@pytest.mark.parametrize(("num_frames", "stride"), [(0, 4), (-1, 4), (16, 0)])
def test_nonsense_is_refused(num_frames: int, stride: int) -> None:
    with pytest.raises(ValueError, match=f"num_frames = {num_frames} and stride = {stride} must both be positive"):
        stride_that_fits(num_frames, stride)


def test_a_few_clips_evenly_over_a_video() -> None:
    """All starts where there are at most ten; else ten from the first to the last, with equal gaps but for rounding."""
    for num_frames in LENGTHS:
        starts = even_starts(num_frames, 4, 10)
        every = len(reference_clips(num_frames, 4))
        assert len(starts) == min(every, 10)
        assert (starts[0], starts[-1]) == (0, every - 1)
        if every <= 10:
            assert starts.tolist() == list(range(every))
        else:
            gaps = np.diff(starts)
            assert gaps.min() >= 1
            assert gaps.max() - gaps.min() <= 1
            np.testing.assert_allclose(starts, np.arange(10) * (every - 1) / 9, atol=0.5)
    assert even_starts(80, 4, 10).tolist() == [0, 2, 4, 6, 8, 11, 13, 15, 17, 19]  # 20 starts, 19/9 apart
    plans = EvenClips(stride=4, count=3)(81, DRAWS)
    assert [plan.indices.tolist() for plan in plans] == [list(range(start, start + 61, 4)) for start in (0, 10, 20)]


def test_training_clips_are_uniform_over_all_starts() -> None:
    """84 frames have 24 starts at stride 4; many more than the test's would be drawn from 124."""
    counts: Counter[int] = Counter()
    for sample in range(2400):
        plan = draw_subsequence(84, SampleDraws(0, sample % 3, sample), 4)
        counts[int(plan.indices[0])] += 1
        assert np.diff(plan.indices).tolist() == [4] * 15
    assert sorted(counts) == list(range(24))
    assert chisquare(list(counts.values())).pvalue > 0.001
    odd = {int(draw_subsequence(160, SampleDraws(0, 0, sample), 4).indices[0]) for sample in range(2000)}
    assert odd == set(range(100))


def test_still_clips_repeat_the_middle_frame_of_the_moving_ones() -> None:
    for moving, still in zip(TestClips()(90, DRAWS), TestClips(still=True)(90, DRAWS), strict=True):
        assert still.indices.tolist() == [moving.indices[8]] * 16
        assert len(set(moving.indices.tolist())) == 16
    drawn = [draw_subsequence(90, DRAWS, 4, still=still).indices for still in (False, True)]
    assert drawn[1].tolist() == [drawn[0][8]] * 16


def test_plans_carry_no_pretext_question_and_travel_to_workers() -> None:
    assert plan_of(np.arange(16)).targets == {}
    for clips in (TestClips(stride=2, all_starts=True, still=True), EvenClips(count=4)):
        assert pickle.loads(pickle.dumps(clips)) == clips


@pytest.mark.parametrize(
    ("num_frames", "exact", "full_steps"),
    [
        (16, 1, 1),
        (30, 1, 1),
        (31, 2, 1),
        (32, 2, 2),
        (46, 3, 2),
        (48, 3, 3),
        (61, 4, 3),
        (63, 4, 3),
        (64, 4, 4),
        (9, 1, 1),
    ],
)
def test_the_released_code_s_rule_wants_sixteen_full_steps(num_frames: int, exact: int, full_steps: int) -> None:
    """min(4, floor(n / 16)) against min(4, floor((n - 1) / 15)); training and test clips follow it."""
    assert stride_that_fits(num_frames, 4) == exact
    assert stride_that_fits(num_frames, 4, "full_steps") == full_steps
    for plan in (
        *TestClips(rule="full_steps", all_starts=True)(num_frames, SampleDraws(0, 0, 0)),
        draw_subsequence(num_frames, SampleDraws(0, 0, 0), 4, rule="full_steps"),
    ):
        assert set(np.diff(plan.indices) % num_frames) == {full_steps % num_frames}
