"""Windows along videos: which frames they hold, and one vector for each.

In: a length and a hop in seconds, and the videos' frame rates. Out: the clips of all windows, and their mean rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from eval.features.config import FeatureConfig, WindowsConfig
from eval.judging.samples import Samples
from shardify.arrays import FloatArray, IntArray
from stream_train.data.plans import ClipPlan
from stream_train.data.reader import pick_from_indexes
from stream_train.draws import SampleDraws
from stream_train.transformations.subsequences import even_starts, plan_of, subsequence

USUAL_FPS = 25.0
"""For a video whose frame rate is unknown."""


@dataclass(frozen=True, kw_only=True)
class WindowClips:
    """The windows of all videos of a split; as a `DrawClips`, their clips, window by window."""

    windows: WindowsConfig
    features: FeatureConfig
    fps: tuple[float, ...]
    """Frame rate of each video, by position."""
    lengths: tuple[int, ...]
    """Frames of each video, by position."""

    @classmethod
    def of(cls, samples: Samples, windows: WindowsConfig, features: FeatureConfig) -> Self:
        """For the samples of a split."""
        rates = np.concatenate(pick_from_indexes(samples.shard_set, lambda index: index.fps)).tolist()
        fps = tuple(rate if rate > 0 else USUAL_FPS for rate in rates)
        return cls(windows=windows, features=features, fps=fps, lengths=tuple(samples.num_frames.tolist()))

    def __call__(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        return tuple(clip for window in self._ranges(draws.sample, num_frames) for clip in self._clips(*window))

    def ranges(self, position: int) -> list[tuple[int, int]]:
        """Half-open ranges of frames, at least one; the last one ends with the video."""
        return self._ranges(position, self.lengths[position])

    def _ranges(self, position: int, num_frames: int) -> list[tuple[int, int]]:
        fps = self.fps[position]
        length = min(num_frames, max(1, round(self.windows.seconds * fps)))
        hop = max(1, round((self.windows.hop_seconds or self.windows.seconds) * fps))
        starts = list(range(0, num_frames - length + 1, hop))
        if starts[-1] + length < num_frames:
            starts.append(num_frames - length)
        return [(start, start + length) for start in starts]

    def counts(self) -> IntArray:
        """Int64 (V,): windows of each video."""
        return np.array([len(self.ranges(position)) for position in range(len(self.lengths))], dtype=np.int64)

    def seconds(self) -> FloatArray:
        """float64 (W, 2): start and end of each window in its video."""
        return np.concatenate([np.array(self.ranges(p)) / fps for p, fps in enumerate(self.fps)])

    def means(self, position: int, rows: Tensor) -> Tensor:
        """The mean of each window's rows: (windows, D) of (clips, D)."""
        clips = [len(self._clips(*window)) for window in self.ranges(position)]
        return torch.stack([part.mean(dim=0) for part in torch.split(rows, clips)])

    def _clips(self, start: int, end: int) -> list[ClipPlan]:
        stride, length = self.features.stride, end - start
        firsts = even_starts(length, stride, self.features.clips_per_video)
        return [plan_of(start + subsequence(int(first), length, stride)) for first in firsts]
