"""What the loader hands to the trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

COLOUR_FIELDS = ("brightness", "saturation", "saturation_first", "grey")
"""Columns of Batch.colour."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips of some videos, video-major: all clips of the first video, then all of the second ...

    N clips of T frames, H x W pixels, C = 3 colours. Scaling to [-1, 1], flips and colour happen on the device, see
    `stream_train.data.device_ops.prepare_clips`.
    """

    frames: Tensor
    """uint8 (N, T, H, W, C) RGB; permuted to (N, C, T, H, W) it is channels_last_3d without a copy."""
    motion: Tensor
    """int64 (N,) tau: 0 speed, 1 random, 2 periodic, 3 warp."""
    speed: Tensor
    """int64 (N,) kappa, -1 where the clip has none."""
    motion_mask: Tensor
    """bool (N,) False where the motion loss must leave the clip out."""
    flip: Tensor
    """bool (N,) True where the clip is to be mirrored left to right."""
    label: Tensor
    """int64 (N,) class of the video, -1 where there is none."""
    sample: Tensor
    """int64 (N,) position of the video in the split."""
    target: Tensor
    """int64 (N,) the right answer where the task drew one with the clip, else -1."""
    indices: Tensor
    """int32 (N, T) which frames of the video."""
    colour: Tensor | None = None
    """float32 (N, T, 4) as COLOUR_FIELDS, or None for unchanged colours."""

    def __post_init__(self) -> None:
        clips, frames = self.indices.shape
        if self.frames.shape[:2] != (clips, frames) or self.frames.dtype != torch.uint8 or self.frames.dim() != 5:
            raise ValueError(
                f"frames must be uint8 ({clips}, {frames}, H, W, C), not {self.frames.dtype} {tuple(self.frames.shape)}"
            )
        for name in ("motion", "speed", "motion_mask", "flip", "label", "sample", "target"):
            if (shape := getattr(self, name).shape) != (clips,):
                raise ValueError(f"{name} must have shape ({clips},), not {tuple(shape)}")
        if self.colour is not None and self.colour.shape != (clips, frames, len(COLOUR_FIELDS)):
            raise ValueError(f"colour must have shape ({clips}, {frames}, 4), not {tuple(self.colour.shape)}")

    def __len__(self) -> int:
        return len(self.motion)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device; asynchronous if it is pinned."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Called by the DataLoader."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(value) for name, value in values.items() if value is not None})
