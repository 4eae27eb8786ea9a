"""Moving shapes: motion tells the class, a single frame does not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from shardify.arrays import FloatArray
from shardify.synthetic.scenes import LIGHT_RATES, MOTIONS, Appearance, Shape, draw_appearance, render

HEIGHT, WIDTH = 48, 64


def scene(class_name: str, number: int, times: npt.ArrayLike, height: int = HEIGHT, width: int = WIDTH) -> FloatArray:
    """Frames of one scene, float64 (F, H, W, 3); the same number has its own looks and start in every class."""
    rng = np.random.default_rng([number, list(MOTIONS).index(class_name)])
    return render(draw_appearance(height, width, rng), class_name, times, rng).astype(np.float64)


def shrink(frames: FloatArray) -> FloatArray:
    """Means over blocks of 8 x 8 pixels, (F, H / 8 * W / 8 * 3)."""
    num_frames, height, width, _ = frames.shape
    blocks = frames.reshape(num_frames, height // 8, 8, width // 8, 8, 3)
    means: FloatArray = blocks.mean(axis=(2, 4))
    return means.reshape(len(frames), -1)


def nearest_mean_accuracy(features: FloatArray, num_trained: int) -> float:
    """Classify by the nearest class mean; features (classes, scenes, D), the first scenes of each class train."""
    features = (features - features.mean(axis=(0, 1))) / features.std(axis=(0, 1))
    means = features[:, :num_trained].mean(axis=1)
    tested = features[:, num_trained:]
    distances = np.square(tested[:, :, None, :] - means).sum(axis=-1)  # (classes, scenes, classes)
    return float(np.mean(distances.argmin(axis=-1) == np.arange(len(features))[:, None]))


def test_motion_shows_the_class_and_a_single_frame_does_not() -> None:
    """Chance is 0.125; its standard error here is 0.023."""
    times = np.arange(40, 40 + 13, 2)
    scenes = [[scene(name, number, times, height=32, width=48) for number in range(50)] for name in MOTIONS]
    single = np.array([[shrink(frames[:1])[0] for frames in row] for row in scenes])
    assert nearest_mean_accuracy(single, 25) < 0.2
    statistics = np.array([[motion_statistics(frames) for frames in row] for row in scenes])
    assert nearest_mean_accuracy(statistics, 25) > 0.4


def motion_statistics(frames: FloatArray) -> FloatArray:
    """How much changes from frame to frame, how steadily, and how far back towards where it was."""
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    spans = [np.abs(frames[lag:] - frames[:-lag]).mean() for lag in (2, 3, 6)]
    statistics: FloatArray = np.log([steps.mean(), steps.std() + 0.01, steps.max(), *spans])
    return statistics


@pytest.mark.parametrize("class_name", MOTIONS)
def test_the_state_is_uniform_at_any_time(class_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Position, log radius and angle of 450 shapes, at three times, fill their ranges evenly, whatever the motion."""
    seen: list[tuple[float, ...]] = []

    def note(frames: Any, shape: Any, *, x: Any, y: Any, radius: Any, angle: Any) -> None:
        seen.extend(zip(x / 16, y / 8, np.log(radius / 8 / 0.1) / np.log(2.7), angle / (2 * np.pi) % 1, strict=True))

    monkeypatch.setattr("shardify.synthetic.scenes._paint", note)
    for number in range(150):
        scene(class_name, number, [3.0, 50.0, 111.0], height=8, width=16)
    states = np.array(seen).reshape(450, 3, 4)
    for time in range(3):
        for part in range(4):
            counts, _ = np.histogram(states[:, time, part], bins=6, range=(0, 1))
            assert counts.sum() == 450
            assert np.square(counts - 75).sum() / 75 < 25, (time, part)  # chi-square, 5 degrees: p = 0.0001


@pytest.mark.parametrize("class_name", MOTIONS)
def test_every_16_frames_move_visibly_and_evenly(class_name: str) -> None:
    """The least change over 16 frames stays well above the encoder's noise, anywhere in a long clip."""
    for number in range(2):
        frames = scene(class_name, number, np.arange(160))
        for start in range(0, 145, 8):
            window = frames[start : start + 16]
            moved = np.abs(window - window[0]).max(axis=-1).max(axis=0) > 40
            assert moved.sum() >= 20, (number, start)
        steps = np.abs(np.diff(frames, axis=0)).mean()
        assert 0.2 < steps < 8, number


def test_irreversible_motions_tell_the_arrow_of_time() -> None:
    """Played backwards, growing would be shrinking, bounces would rise, and speed drop slowly to leap up."""
    time = np.arange(0, 2000, 0.25)
    for seed in range(5):
        moved = {name: MOTIONS[name](time, np.random.default_rng(seed)) for name in MOTIONS}
        assert (np.diff(np.asarray(moved["Grow"].log_radius)) > 0).all()
        assert (np.diff(np.asarray(moved["Shrink"].log_radius)) < 0).all()
        height = -np.asarray(moved["Fall"].y)
        peaks = height[1:-1][(height[1:-1] > height[:-2]) & (height[1:-1] >= height[2:])]
        assert 0.7 < np.mean(np.diff(peaks) < 0) < 0.8  # three bounces lower, one throw higher
        assert height.min() >= 0
        speed = np.hypot(np.diff(np.asarray(moved["Accelerate"].x)), np.diff(np.asarray(moved["Accelerate"].y)))
        assert np.mean(np.diff(speed) > 0) > 0.95


def test_light_comes_from_above_and_sinks_at_a_rate_of_each_video() -> None:
    """No shapes and a grey background: the light alone. Rates fill their range, whatever the class."""
    grey = Appearance(background=np.full((HEIGHT, 2, 3), 128.0), shapes=())
    rates = []
    for number in range(200):
        name = tuple(MOTIONS)[number % len(MOTIONS)]
        frames = render(grey, name, [0.0, 50.0], np.random.default_rng(number)).astype(np.float64)
        first, later = frames[:, :, 0, 0]
        assert (np.diff(first) <= 0).all()
        assert first[0] > 128 > first[-1]
        assert (later >= first).all()
        rates.append((later - first).sum() / 80 / 50 / HEIGHT)  # the lit part is 80 grey levels lighter
    slowest, fastest = LIGHT_RATES
    assert slowest * 0.9 < min(rates) < slowest * 1.2
    assert fastest * 0.8 < max(rates) < fastest * 1.1


@pytest.mark.parametrize("class_name", MOTIONS)
def test_motions_never_leap(class_name: str) -> None:
    """In half a frame: less than a twenty-fourth of the height, a twentieth of a turn, 2 % in size."""
    for seed in range(20):
        moved = MOTIONS[class_name](np.arange(0.0, 300.0, 0.5), np.random.default_rng(seed))
        for value, limit in (
            (moved.x, 1 / 24),
            (moved.y, 1 / 24),
            (moved.log_radius, 0.02),
            (moved.angle, math.pi / 10),
        ):
            assert np.abs(np.diff(np.asarray(value) + np.zeros(600))).max() <= limit


def test_a_mirrored_video_stays_in_its_class() -> None:
    """Motions to the left and to the right, with the clock and against it, are equally likely."""
    for name in MOTIONS:
        moved = [MOTIONS[name](np.array([0.0, 8.0]), np.random.default_rng(seed)) for seed in range(400)]
        for changes in ([m.x for m in moved], [m.angle for m in moved]):
            signs = np.sign([np.diff(np.asarray(change))[0] if np.ndim(change) else 0 for change in changes])
            assert abs(signs.mean()) < 0.2  # four standard errors


def test_orbits_go_round_with_the_clock_and_against_it() -> None:
    senses = []
    for seed in range(400):
        moved = MOTIONS["Orbit"](np.array([0.0, 8.0, 16.0]), np.random.default_rng(seed))
        (x, later_x), (y, later_y) = np.diff(np.asarray(moved.x)), np.diff(np.asarray(moved.y))
        senses.append(np.sign(x * later_y - y * later_x))
    assert abs(np.mean(senses)) < 0.2  # four standard errors


def test_speeds_are_in_frame_heights_in_every_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a wide frame, too: 0.02 heights a frame, up to 10 % faster or slower."""
    steps: list[tuple[float, float]] = []

    def note(frames: Any, shape: Any, *, x: Any, y: Any, radius: Any, angle: Any) -> None:
        steps.append((np.diff(x)[0], np.diff(y)[0]))

    monkeypatch.setattr("shardify.synthetic.scenes._paint", note)
    for number in range(50):
        scene("Slide", number, [0.0, 1.0], height=8, width=16)
    sides = np.array([16, 8])
    moved = (np.array(steps) + sides / 2) % sides - sides / 2  # around the edges
    speeds = np.hypot(*moved.T) / 8
    assert 0.018 <= speeds.min() < speeds.max() <= 0.022


def test_only_the_motion_of_a_class_moves() -> None:
    parts = {
        name: tuple(
            part
            for part in ("x", "y", "log_radius", "angle")
            if np.ptp(np.asarray(getattr(MOTIONS[name](np.arange(50.0), np.random.default_rng(1)), part))) > 0
        )
        for name in MOTIONS
    }
    assert parts == {
        "Accelerate": ("x", "y"),
        "Fall": ("y",),
        "Grow": ("log_radius",),
        "Orbit": ("x", "y"),
        "Shrink": ("log_radius",),
        "Slide": ("x", "y"),
        "Spin": ("angle",),
        "Swing": ("x", "y"),
    }


def test_rendering_is_exact_where_it_can_be_checked_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A square of radius 10 at the frame's corner: its four quarters lie in the four corners."""
    square = Shape(outline=2, colours=(np.array([250.0, 0, 0]), np.array([0, 0, 250.0])))
    looks = Appearance(background=np.full((HEIGHT, WIDTH, 3), 100.0), shapes=(square,), light=0.0)

    class Drawn(np.random.Generator):
        def random(self, size: Any = None) -> Any:  # type: ignore[override]
            """Rate 1, corner, smallest radius, upright; then whatever the motion wants."""
            return np.zeros(size) if size else 0.5

    monkeypatch.setattr("shardify.synthetic.scenes.SMALLEST_RADIUS", 10 / HEIGHT)
    (frame,) = render(looks, "Grow", [0.0], Drawn(np.random.PCG64(0)))
    corner = np.zeros((HEIGHT, WIDTH), dtype=bool)
    corner[np.ix_(*(np.r_[0:7, length - 7 : length] for length in (HEIGHT, WIDTH)))] = True
    assert (frame[~corner] == 100).all()
    right, left = corner.copy(), corner.copy()
    right[:, WIDTH // 2 :] = left[:, : WIDTH // 2] = False
    right[:, 0] = left[:, -1] = False  # the line between the colours is soft
    assert (frame[right] == [250, 0, 0]).all()
    assert (frame[left] == [0, 0, 250]).all()
