"""Playback rate perception (PRP; Yao et al., CVPR 2020): a clip's stride, and the frames between those that are seen.

A plan holds 32 frames at half the stride; the network sees every second one. From its maps a decoder paints all 32
frames. Their squared error weighs more near the part of the clip with the most motion: a Gaussian around the window, a
quarter of the side wide, whose pixels change most. At stride 1 there is nothing between two frames, and their mean
stands for it. The authors' code has such a Gaussian for each 16 frames of the video, and always takes the centre crop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips
from stream_train.data.plans import ClipPlan
from stream_train.draws import Purpose, SampleDraws
from stream_train.tasks.base import HeadWidth, LossTerm, count_pairs, cross_entropy_term, length_guesses
from stream_train.tasks.config import PlaybackRateConfig
from stream_train.tasks.drawing import draw_start
from stream_train.tasks.heads import DecoderHead
from stream_train.tasks.question import Question
from stream_train.transformations.sequences import CLIP_LENGTH

STRIDES = (1, 2, 4, 8)
NUM_DECODED = 2 * CLIP_LENGTH


def half_steps(stride: int) -> np.ndarray:
    """int64 (32,): 0, stride / 2, stride, ..., rounded down."""
    return np.arange(NUM_DECODED, dtype=np.int64) * stride // 2


def num_rates(num_frames: int) -> int:
    """How many of STRIDES a video of this length allows."""
    return len([stride for stride in STRIDES if half_steps(stride)[-1] < num_frames])


@dataclass(frozen=True)
class PlaybackRate(Question):
    """See :class:`PlaybackRateConfig`; the stride is uniform over those that the video's length allows."""

    config: PlaybackRateConfig
    head = "rate"
    classes = tuple(f"stride {stride}" for stride in STRIDES)

    @property
    def min_frames(self) -> int:
        return CLIP_LENGTH

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        rate = draws.stream(Purpose.TASK_CHOICE).integer(0, num_rates(num_frames))
        frames = half_steps(STRIDES[rate])
        start = draw_start(num_frames, int(frames[-1]) + 1, draws)
        return (ClipPlan(indices=start + frames, targets={"rate": rate}),)

    def select_frames(self, clips: Tensor) -> Tensor:
        return clips[:, :, ::2].contiguous(memory_format=torch.channels_last_3d)

    def build_heads(self, width: HeadWidth) -> dict[str, nn.Module]:
        pixels = min(self.config.decoded_pixels, width.crop)
        decoder = DecoderHead(width, num_frames=NUM_DECODED, pixels=pixels)
        return super().build_heads(width) | {"frames": decoder}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        true = self._true_frames(batch)
        weights = motion_weights(true, *self.config.mask)
        errors = (weights * (outputs["frames"].float() - true).square()).mean(dim=(1, 2, 3, 4))
        frames = LossTerm(total=errors.sum(), count=torch.tensor(len(errors), device=errors.device))
        rate = cross_entropy_term(outputs["rate"], self.targets(batch), self.config.rate_weight)
        return {"rate": rate, "frames": frames}

    def count(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The confusion matrix; and, of painted frames, the squared errors, and those of each clip's mean colour."""
        counts = super().count(outputs, batch)
        if "frames" not in outputs:
            return counts
        true = self._true_frames(batch)
        means = true.mean(dim=(2, 3, 4), keepdim=True)
        errors = [(guess - true).square().mean(dim=(1, 2, 3, 4)).double().sum() for guess in (outputs["frames"], means)]
        return counts | {"frames": torch.stack(errors)}

    def count_baselines(self, batch: Batch, num_frames: Tensor) -> dict[str, Tensor]:
        fastest = torch.tensor([num_rates(n) - 1 for n in num_frames.tolist()], device=num_frames.device)
        return {"rate_by_length": count_pairs(fastest, self.targets(batch), len(STRIDES))}

    def compute_metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """`frames_explained` is 1 minus the error over that of a clip in its mean colour."""
        metrics = super().compute_metrics(counts)
        if "frames" in counts:
            error, variance = counts["frames"].tolist()
            metrics |= {"frames_explained": 1 - error / variance} if variance else {}
        if "rate_by_length" in counts:
            metrics |= length_guesses("rate", counts["rate_by_length"])
        return metrics

    def guesses(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The stride's from the video's length, as far as it was counted: short videos allow the short ones alone."""
        by_length = {"rate_accuracy": metrics["rate_best_from_length"]} if "rate_best_from_length" in metrics else {}
        return by_length | {"frames_explained": 0.0}

    def _true_frames(self, batch: Batch) -> Tensor:
        """float32 (N, 3, 32, pixels, pixels) in [0, 1], the range in which the authors weigh the two errors."""
        with torch.no_grad():
            clips = (prepare_clips(batch) + 1) / 2
            still = (batch.targets["rate"] == 0)[:, None, None, None, None]
            following = torch.cat((clips[:, :, 2::2], clips[:, :, -1:]), dim=2)
            between = torch.where(still, (clips[:, :, ::2] + following) / 2, clips[:, :, 1::2])
            clips = torch.stack((clips[:, :, ::2], between), dim=3).flatten(2, 3)
            pixels = min(self.config.decoded_pixels, clips.shape[-1])
            return F.adaptive_avg_pool3d(clips, (NUM_DECODED, pixels, pixels))


def motion_weights(frames: Tensor, lowest: float, highest: float) -> Tensor:
    """Weights (N, 1, 1, H, W) from lowest to highest, for frames (N, 3, T, H, W).

    Highest at the middle of the square window, a quarter of the side wide, whose pixels change most between four frames
    at even distances; a Gaussian falls off around it with a deviation of half the window.
    """
    side = frames.shape[-1]
    window = max(1, side // 4)
    chosen = frames[:, :, torch.linspace(0, frames.shape[2] - 1, 4).round().long()]
    changes = (chosen[:, :, 1:] - chosen[:, :, :-1]).square().mean(dim=(1, 2))
    means = F.avg_pool2d(changes[:, None], window, stride=max(1, window // 4))
    place = means.flatten(start_dim=1).argmax(dim=1)
    corners = torch.stack((place // means.shape[-1], place % means.shape[-1]), dim=1) * max(1, window // 4)
    centres = corners + (window - 1) / 2
    distances = torch.arange(side, device=frames.device) - centres[:, :, None]
    rows, columns = torch.exp(-0.5 * (distances / (window / 2)).square()).unbind(dim=1)
    bump = rows[:, :, None] * columns[:, None, :]
    low, high = bump.amin(dim=(1, 2), keepdim=True), bump.amax(dim=(1, 2), keepdim=True)
    shares = (bump - low) / (high - low).clamp(min=1e-12)
    return (lowest + (highest - lowest) * shares)[:, None, None]
