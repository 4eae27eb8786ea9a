"""Windows along videos: which frames they hold, and one vector for each.

In: a length and a hop in seconds, and the videos' frame rates. Out: the clips of all windows; later their mean vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.features.config import FeatureConfig, WindowsConfig
from eval.features.vectors import Vectors
from eval.judging.samples import Samples
from shardify.arrays import FloatArray
from stream_train.data.plans import ClipPlan
from stream_train.data.reader import ShardSet, pick_from_indexes
from stream_train.draws import SampleDraws
from stream_train.transformations.subsequences import even_starts, plan_of, subsequence

USUAL_FPS = 25.0
"""For a video whose frame rate is unknown."""


@dataclass(frozen=True, kw_only=True)
class WindowClips:
    """The clips of all windows of a video, window by window; a `DrawClips`."""

    windows: WindowsConfig
    features: FeatureConfig
    fps: tuple[float, ...]
    """Frame rate of each sample, by position."""

    @classmethod
    def of(cls, shard_set: ShardSet, windows: WindowsConfig, features: FeatureConfig) -> WindowClips:
        """For the samples of a split."""
        rates = np.concatenate(pick_from_indexes(shard_set, lambda index: index.fps)).tolist()
        return cls(windows=windows, features=features, fps=tuple(rate if rate > 0 else USUAL_FPS for rate in rates))

    def __call__(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        return tuple(clip for window in self.ranges(draws.sample, num_frames) for clip in self._clips(*window))

    def ranges(self, position: int, num_frames: int) -> list[tuple[int, int]]:
        """Half-open ranges of frames, at least one; the last one ends with the video."""
        fps = self.fps[position]
        length = min(num_frames, max(1, round(self.windows.seconds * fps)))
        hop = max(1, round((self.windows.hop_seconds or self.windows.seconds) * fps))
        starts = list(range(0, num_frames - length + 1, hop))
        if starts[-1] + length < num_frames:
            starts.append(num_frames - length)
        return [(start, start + length) for start in starts]

    def num_clips(self, position: int, num_frames: int) -> list[int]:
        """Clips of each window."""
        return [len(self._clips(*window)) for window in self.ranges(position, num_frames)]

    def _clips(self, start: int, end: int) -> list[ClipPlan]:
        stride, length = self.features.stride, end - start
        firsts = even_starts(length, stride, self.features.clips_per_video)
        return [plan_of(start + subsequence(int(first), length, stride)) for first in firsts]


def window_vectors(
    rows: Sequence[FloatArray], samples: Samples, clips: WindowClips, metadata: dict[str, Any]
) -> Vectors:
    """The mean of each window's rows; `rows` holds, for each sample, float64 (clips, D)."""
    keys: list[str] = []
    labels: list[int] = []
    values: list[FloatArray] = []
    seconds: list[tuple[float, float]] = []
    for position, (key, label, num_frames) in enumerate(
        zip(samples.keys, samples.labels.tolist(), samples.num_frames.tolist(), strict=True)
    ):
        ends = np.cumsum(clips.num_clips(position, num_frames))
        for (start, end), part in zip(
            clips.ranges(position, num_frames), np.split(rows[position], ends[:-1]), strict=True
        ):
            keys.append(key)
            labels.append(label)
            values.append(part.mean(axis=0))
            seconds.append((start / clips.fps[position], end / clips.fps[position]))
    return Vectors(
        keys=tuple(keys),
        labels=np.array(labels, dtype=np.int64),
        values=np.stack(values).astype(np.float32),
        classes=samples.classes,
        metadata=metadata,
        seconds=np.array(seconds, dtype=np.float64),
    )
