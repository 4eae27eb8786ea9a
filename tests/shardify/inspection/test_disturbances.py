"""Repeated frames and black bars: found where they are, and not elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from helpers_datasets import write_dataset

from shardify.arrays import ImageArray
from shardify.inspection.disturbances import black_bars, count_disturbances, disturbances_of, repeat_period
from shardify.inspection.summary import summarise_dataset, summary_lines
from shardify.shards.manifest import read_manifest
from shardify.storage import open_store


def differences(repeats: Callable[[int], bool], count: int = 100) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.array([0.02 if repeats(i) else 3 + random.random() for i in range(count)])


@pytest.mark.parametrize(
    ("repeats", "period"),
    [
        (lambda i: i % 5 == 4, 5),
        (lambda i: i % 5 in (1, 3), 2.5),  # 10 frames a second, shown as 25
        (lambda i: i % 6 == 0 and i != 30, 6),  # one is missing
        (lambda _: False, 0),
        (lambda i: i in (3, 17, 21, 60, 61, 88), 0),
        (lambda i: i % 25 == 0, 0),  # an encoder's key frames
        (lambda i: i < 20 and i % 5 == 0, 0),  # only a fifth of the video
        (lambda i: i > 60, 0),  # the end stands still
    ],
)
def test_rhythms_of_repeated_frames(repeats: Callable[[int], bool], period: float) -> None:
    assert repeat_period(differences(repeats)) == pytest.approx(period, abs=0.1)


def test_short_and_still_videos_have_no_rhythm() -> None:
    assert repeat_period(np.empty(0)) == repeat_period(np.array([1.0])) == repeat_period(np.zeros(50)) == 0


def test_black_bars_are_black_all_the_time() -> None:
    picture = np.full((100, 160, 3), 120, dtype=np.uint8)
    assert black_bars(picture) == (0, 0, 0, 0)
    picture[:12], picture[-10:], picture[:, :1] = 5, 16, 0
    assert black_bars(picture) == (12, 10, 0, 0)  # one column is an edge
    assert black_bars(np.zeros_like(picture)) == (0, 0, 0, 0)
    dark = np.zeros((3, 100, 160, 3), dtype=np.uint8)
    dark[1] = 120  # bright once
    assert not disturbances_of(dark).has_bars


def noisy(video: int, frame: int) -> bytes:
    """Video 0 repeats every fifth frame, video 1 has bars, video 2 has neither."""
    shown = frame - (frame % 5 == 4 and video == 0)
    picture: ImageArray = np.random.default_rng((video, shown)).integers(40, 255, (48, 64, 3)).astype(np.uint8)
    if video == 1:
        picture[:8] = 0
    jpeg: bytes = simplejpeg.encode_jpeg(picture, quality=95)
    return jpeg


@pytest.mark.parametrize("packing", ["mjpg", "frames"])
def test_a_data_set_is_counted_through_its_shards(tmp_path: Path, packing: str) -> None:
    folder = write_dataset(tmp_path / "set", [[40, 30], [35]], jpeg=noisy, packing=packing)  # type: ignore[arg-type]
    store = open_store(folder)
    expected = {"num_samples": 3, "num_rhythms": 1, "num_bars": 1, "periods": {"5.0": 1}}
    assert count_disturbances(store, read_manifest(store), 200) == expected
    assert count_disturbances(store, read_manifest(store), 1) == expected | {"num_samples": 1, "num_bars": 0}
    assert "disturbances" not in summarise_dataset(store)
    text = "\n".join(summary_lines(summarise_dataset(store, pixels=3)))
    assert "1 repeat frames in a rhythm, so their speed is uneven (1 every 5.0 frames)" in text
