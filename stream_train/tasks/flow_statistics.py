"""Motion and appearance statistics (Wang et al., CVPR 2019): where a clip moves most, and which colours it has.

27 numbers of each clip, measured in the loader's workers from the pixels that the network sees: crops and flips move
them along. Motion (14): the derivatives of the optical flow (its boundaries), summed over time; for each flow component
u, v and each of three patterns of blocks, the number of the block with the largest mean and its main direction among
eight; and for u and v the pair of frames with the largest sum. Appearance (13): for each pattern, the blocks whose
colours vary most and least over time, and their main colours; and the main colour of the clip. Numbers count from 1.

Optical flow is OpenCV's DIS (the original: TV-L1), as good as its speed allows: half a millisecond a pair. The authors
number the triangles in another order, and directions from the left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from shardify.arrays import FloatArray, ImageArray, IntArray
from stream_train.data.batch import Batch
from stream_train.data.plans import ClipPlan
from stream_train.draws import SampleDraws
from stream_train.tasks.base import ClipTask, HeadWidth, LossTerm
from stream_train.tasks.config import FlowStatisticsConfig
from stream_train.tasks.drawing import draw_start, frames_from, span

NUM_DIRECTIONS = 8
COLOURS_PER_CHANNEL = 2
"""Bins of each of red, green and blue: 8 colours."""
NUM_COLOURS = COLOURS_PER_CHANNEL**3
SIZES = {"motion": 14, "appearance": 13}


@dataclass(frozen=True)
class FlowStatistics(ClipTask):
    """See :class:`FlowStatisticsConfig`."""

    config: FlowStatisticsConfig
    names = tuple(SIZES)

    @property
    def min_frames(self) -> int:
        return span(self.config.stride)

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        frames = frames_from(draw_start(num_frames, self.min_frames, draws), self.config.stride)
        return (ClipPlan(indices=frames, measure=measure_statistics),)

    def build_heads(self, width: HeadWidth) -> dict[str, nn.Module]:
        return {name: width.linear(size) for name, size in SIZES.items()}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        """Squared errors, the mean over the numbers of each kind."""
        weights = {"motion": self.config.motion_weight, "appearance": self.config.appearance_weight}
        terms = {}
        for name, weight in weights.items():
            errors = (outputs[name].float() - batch.targets[name]).square().mean(dim=1)
            count = torch.tensor(len(errors), device=errors.device)
            terms[name] = LossTerm(total=errors.sum(), count=count, weight=weight)
        return terms

    def count(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """For each number, float64 (4, size): clips, squared errors, sum and sum of squares of the true values."""
        counts = {}
        for name in self.names:
            true = batch.targets[name].double()
            errors = (outputs[name].double() - true).square()
            counts[name] = torch.stack(
                (torch.ones_like(true).sum(dim=0), errors.sum(dim=0), true.sum(dim=0), true.square().sum(dim=0))
            )
        return counts

    def compute_metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """`..._explained`: 1 minus the squared error over the variance, the mean over the numbers that vary."""
        metrics = {}
        for name in self.names:
            clips, errors, sums, squares = counts[name]
            spread = squares - sums.square() / clips.clamp(min=1)
            varying = spread > 0
            if varying.any():
                metrics[f"{name}_explained"] = float((1 - errors[varying] / spread[varying]).mean())
        return metrics

    def guesses(self, _: Mapping[str, float]) -> dict[str, float]:
        return {f"{name}_explained": 0.0 for name in self.names}


def measure_statistics(frames: ImageArray) -> dict[str, FloatArray]:
    """The targets of uint8 (T, side, side, 3) frames: float64 (14,) "motion" and (13,) "appearance"."""
    return {"motion": motion_statistics(optical_flow(frames)), "appearance": appearance_statistics(frames)}


def optical_flow(frames: ImageArray) -> FloatArray:
    """float32 (T - 1, side, side, 2): pixels right and down from each frame to the next."""
    import cv2

    cv2.setNumThreads(1)  # each worker has one core
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    flow: FloatArray = np.stack(
        [method.calc(one, other, np.zeros((*one.shape, 2), np.float32)) for one, other in pairwise(grey)]
    )
    return flow


def motion_statistics(flow: FloatArray) -> FloatArray:
    """float64 (14,) of a flow (T, side, side, 2): block and direction of u and v for each pattern, then the frames."""
    numbers: list[list[int]] = []
    frames = []
    for component in (flow[..., 0], flow[..., 1]):
        down, right = np.gradient(component.astype(np.float64), axis=(1, 2))
        frames.append(int(np.hypot(right, down).sum(axis=(1, 2)).argmax()) + 1)
        right, down = right.sum(axis=0), down.sum(axis=0)
        size, angle = np.hypot(right, down), np.arctan2(down, right)
        numbers.append([number for blocks in patterns(len(size)) for number in _largest(size, angle, blocks)])
    by_pattern = [
        number
        for pattern in range(len(patterns(flow.shape[1])))
        for one in numbers
        for number in one[2 * pattern : 2 * pattern + 2]
    ]
    return np.array(by_pattern + frames, dtype=np.float64)


def _largest(size: FloatArray, angle: FloatArray, blocks: IntArray) -> tuple[int, int]:
    """The block with the largest mean size, and its main direction: right (1), right and down (2), down (3) ...

    A pixel counts for the two directions next to its angle, for the nearer one more.
    """
    means = np.bincount(blocks.ravel(), weights=size.ravel()) / np.bincount(blocks.ravel())
    block = int(means.argmax())
    inside = blocks == block
    eighths = angle[inside] / (2 * np.pi) * NUM_DIRECTIONS
    below = np.floor(eighths).astype(np.int64)
    shares = eighths - below
    sums: FloatArray = np.zeros(NUM_DIRECTIONS)
    for direction, share in ((below, 1 - shares), (below + 1, shares)):
        sums += np.bincount(direction % NUM_DIRECTIONS, weights=share * size[inside], minlength=NUM_DIRECTIONS)
    return block + 1, int(sums.argmax()) + 1


def appearance_statistics(frames: ImageArray) -> FloatArray:
    """Float64 (13,): for each pattern the block whose colours vary most, its main colour, and the same for least.

    The last number is the main colour of all. A block varies by 1 minus the intersection over union of its frames'
    histograms; of equals, such as blocks that do not change at all, the first counts.
    """
    bins = frames.astype(np.int64) * COLOURS_PER_CHANNEL // 256
    colours = (bins[..., 0] * COLOURS_PER_CHANNEL + bins[..., 1]) * COLOURS_PER_CHANNEL + bins[..., 2]
    numbers = []
    for blocks in patterns(frames.shape[1]):
        num_blocks = int(blocks.max()) + 1
        cells = (np.arange(len(frames))[:, None, None] * num_blocks + blocks) * NUM_COLOURS + colours
        counts = np.bincount(cells.ravel(), minlength=len(frames) * num_blocks * NUM_COLOURS)
        histograms = counts.reshape(len(frames), num_blocks, NUM_COLOURS) / np.bincount(blocks.ravel())[:, None]
        variation = 1 - histograms.min(axis=0).sum(axis=1) / histograms.max(axis=0).sum(axis=1)
        main = histograms.sum(axis=0).argmax(axis=1)
        most, least = int(variation.argmax()), int(variation.argmin())
        numbers += [most + 1, int(main[most]) + 1, least + 1, int(main[least]) + 1]
    numbers.append(int(np.bincount(colours.ravel(), minlength=NUM_COLOURS).argmax()) + 1)
    return np.array(numbers, dtype=np.float64)


@cache
def patterns(side: int) -> tuple[IntArray, IntArray, IntArray]:
    """The block of each pixel, int64 (side, side), in three patterns.

    4 x 4 squares; four rings, the innermost first; eight triangles between the lines through the middle and the
    diagonals, clockwise from the right.
    """
    place = np.arange(side)
    quarter = np.minimum(place * 4 // side, 3)
    squares = quarter[:, None] * 4 + quarter[None, :]
    centred = 2 * place - (side - 1)  # twice the distance from the middle, odd or even for all
    rings = np.minimum(np.maximum(abs(centred)[:, None], abs(centred)[None, :]) * 4 // side, 3)
    angles = np.arctan2(centred[:, None].astype(np.float64), centred[None, :])
    triangles = np.floor(angles / (np.pi / 4) + 1e-9).astype(np.int64) % 8
    return squares, rings, triangles
