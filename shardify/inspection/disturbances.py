"""What disturbs temporal tasks in stored videos: frames that repeat in a rhythm, and black bars.

In: a video's frames. Out: the rhythm's period and the bars' heights and widths; for a data set, how often they occur.
A video that was converted from another frame rate repeats, for example, every fifth frame: then two frames of a clip
are the same, and its real speed changes within the clip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardify.arrays import FloatArray, ImageArray
from shardify.progress import counting
from shardify.shards.manifest import Manifest
from shardify.shards.reading import Shards
from shardify.storage.store import Store

REPEATED = 0.25
"""A frame repeats the one before if they differ by less than this share of the video's median difference."""
MIN_REPEATS = 4
MAX_PERIOD = 12
"""Longer rhythms are the key frames of an encoder."""
MIN_REGULAR = 0.6
"""A rhythm: at least so many of the distances between repeated frames are p or p + 1, for one p."""
MIN_COVERED = 0.3
"""A rhythm covers at least this share of the video."""
BLACK = 24
"""Grey level below which a row or column counts as black, at its brightest place and time."""
MIN_BAR = 0.02
"""Bars narrower than this share of the side are edges of the picture, not bars."""


@dataclass(frozen=True, kw_only=True)
class Disturbances:
    """What disturbs one video."""

    period: float
    """Mean number of frames from a repeated frame to the next, such as 2.5 (10 frames a second shown as 25) or 5; 0: no
    rhythm."""
    bars: tuple[int, int, int, int]
    """Rows at the top and bottom, columns on the left and right, that are always black."""

    @property
    def has_bars(self) -> bool:
        return any(self.bars)


def disturbances_of(frames: Iterable[ImageArray]) -> Disturbances:
    """Those of a video's frames in order, uint8 (H, W, 3) each; only one is kept at a time."""
    differences: list[float] = []
    brightest: ImageArray | None = None
    before: FloatArray | None = None
    for frame in frames:
        brightest = frame if brightest is None else np.maximum(brightest, frame)
        grey = frame.mean(axis=2, dtype=np.float32)
        if before is not None:
            differences.append(float(np.abs(grey - before).mean()))
        before = grey
    assert brightest is not None, "a video has frames"
    return Disturbances(period=repeat_period(np.array(differences)), bars=black_bars(brightest))


def repeat_period(differences: FloatArray) -> float:
    """The period of repeated frames, from the mean difference of each frame to the one before, float (F - 1,); or 0."""
    if not len(differences):
        return 0.0
    repeats = np.flatnonzero(differences < REPEATED * np.median(differences))
    if len(repeats) < MIN_REPEATS:
        return 0.0
    gaps = np.diff(repeats)
    counts = np.bincount(gaps, minlength=MAX_PERIOD + 2)
    pairs = counts[2 : MAX_PERIOD + 1] + counts[3 : MAX_PERIOD + 2]
    shortest = 2 + int(pairs.argmax())
    regular = gaps[(gaps == shortest) | (gaps == shortest + 1)]
    if len(regular) < MIN_REGULAR * len(gaps) or regular.sum() < MIN_COVERED * len(differences):
        return 0.0
    return float(regular.mean())


def black_bars(brightest: ImageArray) -> tuple[int, int, int, int]:
    """Black rows at the top and bottom, black columns left and right, of the maximum over all frames."""
    is_black = brightest.max(axis=2) < BLACK
    rows, columns = is_black.mean(axis=1) > 0.98, is_black.mean(axis=0) > 0.98
    if rows.all():
        return (0, 0, 0, 0)
    bars = (int(rows.argmin()), int(rows[::-1].argmin()), int(columns.argmin()), int(columns[::-1].argmin()))
    least = [MIN_BAR * side for side in (len(rows), len(rows), len(columns), len(columns))]
    top, bottom, left, right = (bar if bar >= limit else 0 for bar, limit in zip(bars, least, strict=True))
    return top, bottom, left, right


def count_disturbances(store: Store, manifest: Manifest, num_samples: int) -> dict[str, Any]:
    """How often they occur in `num_samples` samples (or all), spread evenly over the data set.

    Returns num_samples, num_rhythms, num_bars, and the rounded periods with their counts.
    Raises WorkError if a shard is cut short or a frame is no JPEG.
    """
    samples = Shards(store=store, manifest=manifest, records=manifest.shards)
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(num_samples, len(samples))).round().astype(np.int64))
    numbers = counting(chosen.tolist(), unit="sample", doing="decoding")
    found = [disturbances_of(samples[number].pictures()) for number in numbers]
    periods = Counter(f"{one.period:.1f}" for one in found if one.period)
    return {
        "num_samples": len(found),
        "num_rhythms": sum(periods.values()),
        "num_bars": sum(one.has_bars for one in found),
        "periods": dict(sorted(periods.items(), key=lambda item: float(item[0]))),
    }
