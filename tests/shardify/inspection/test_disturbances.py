"""Repeated frames and black bars: found where they are, and not elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from helpers_datasets import write_dataset

from shardify.arrays import ImageArray
from shardify.errors import WorkError
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
        (lambda i: i % 12 == 0, 12),  # the longest rhythm
        (lambda i: i % 14 == 0, 0),
        (lambda i: i in np.cumsum([5, 9, 5, 13, 5, 8, 5, 11, 5, 10]), 0),  # half of the distances are 5
    ],
)
def test_rhythms_of_repeated_frames(repeats: Callable[[int], bool], period: float) -> None:
    assert repeat_period(differences(repeats)) == pytest.approx(period, abs=0.1)


@pytest.mark.parametrize(("last", "period"), [(14, 0), (19, 5)])
def test_four_repeats_are_a_rhythm(last: int, period: float) -> None:
    assert repeat_period(differences(lambda i: i % 5 == 4 and i <= last, 20)) == period


@pytest.mark.parametrize(("share", "period"), [(0.2, 5), (0.3, 0)])
def test_a_frame_that_hardly_changes_repeats_the_one_before(share: float, period: float) -> None:
    """Stored frames are compressed, so repeated ones differ a little; the measure is the median, whatever jumps."""
    changes = np.where(np.arange(50) % 5 == 4, share, 1.0)
    changes[::10] = 40.0  # cuts
    assert repeat_period(changes) == period


def test_short_and_still_videos_have_no_rhythm() -> None:
    assert repeat_period(np.empty(0)) == repeat_period(np.array([1.0])) == repeat_period(np.zeros(50)) == 0


def test_black_bars_are_black_all_the_time() -> None:
    picture = np.full((100, 160, 3), 120, dtype=np.uint8)
    assert black_bars(picture) == (0, 0, 0, 0)
    picture[:12], picture[-10:], picture[:, :1] = 5, 16, 0
    assert black_bars(picture) == (12, 10, 0, 0)  # one column is an edge
    picture[:, :7], picture[:, -4:] = 3, 20
    assert black_bars(picture) == (12, 10, 7, 4)
    assert black_bars(np.zeros_like(picture)) == (0, 0, 0, 0)
    narrow = np.full((100, 200, 3), 120, dtype=np.uint8)
    narrow[:2], narrow[:, :3] = 0, 0  # 2 % of the rows, 1.5 % of the columns
    assert black_bars(narrow) == (2, 0, 0, 0)
    dark = np.full((3, 100, 160, 3), 120, dtype=np.uint8)
    dark[:, :, :30] = 0
    assert disturbances_of(dark).bars == (0, 0, 30, 0)
    dark[1, 40:60, :30] = 120  # bright once
    assert not disturbances_of(dark).has_bars


def test_what_is_dark_or_black_in_part_is_no_bar() -> None:
    picture = np.full((100, 160, 3), 120, dtype=np.uint8)
    picture[:12] = 30  # dark grey
    picture[-12:, :130] = 0  # most of these rows
    picture[:, -20:] = (0, 0, 40)  # dark blue
    assert black_bars(picture) == (0, 0, 0, 0)


@pytest.mark.parametrize("channel", range(3))
def test_each_colour_of_a_frame_counts(channel: int) -> None:
    frames = np.full((40, 8, 8, 3), 100, dtype=np.uint8)
    for time in range(40):
        frames[time, ..., channel] = 37 * time % 150
    frames[4::5] = frames[3::5]  # every fifth repeats
    assert disturbances_of(frames).period == 5


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
    spread = count_disturbances(store, read_manifest(store), 2)  # the first and the last
    assert spread == expected | {"num_samples": 2, "num_bars": 0}
    assert count_disturbances(store, read_manifest(store), 1) == expected | {"num_samples": 1, "num_bars": 0}
    assert "disturbances" not in summarise_dataset(store)
    text = "\n".join(summary_lines(summarise_dataset(store, pixels=3)))
    assert "1 repeat frames in a rhythm, so their speed is uneven (1 every 5.0 frames)" in text


def test_damaged_frames_are_not_counted(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", [[4]], jpeg=noisy)
    (tar,) = folder.glob("*.tar")
    damaged = bytearray(tar.read_bytes())
    place = damaged.index(noisy(0, 2)) + 700
    damaged[place] ^= 1
    tar.write_bytes(damaged)
    store = open_store(folder)
    with pytest.raises(WorkError, match="frame 2"):
        count_disturbances(store, read_manifest(store), 1)


def test_a_frame_that_is_no_picture_is_named(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", [[4]], jpeg=lambda _, frame: b"no JPEG" if frame == 2 else noisy(0, frame))
    store = open_store(folder)
    with pytest.raises(WorkError, match=r"/set/shard-000000\.tar: frame 2 of sample video0000 is not a sound JPEG"):
        count_disturbances(store, read_manifest(store), 1)
