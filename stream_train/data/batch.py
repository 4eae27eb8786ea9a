"""The batch that the loader gives to the trainer, and its builder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from shardify.arrays import ImageArray
from stream_train.data.clips import ClipView
from stream_train.transformations.sampling import ClipPlan

COLOUR_FIELDS = ("brightness", "saturation", "saturation_first", "grey")
"""Columns of Batch.colour."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Batch:
    """Clips of several videos: all clips of the first video, then all clips of the second, and so on.

    N clips of T frames, H x W pixels, C = 3 colours. `stream_train.data.device_ops.prepare_clips` scales, flips and
    recolours them on the device.
    """

    frames: Tensor
    """uint8 (N, T, H, W, C) RGB; permuting it to (N, C, T, H, W) gives channels_last_3d without a copy."""
    motion: Tensor
    """int64 (N,) tau: 0 speed, 1 random, 2 periodic, 3 warp."""
    speed: Tensor
    """int64 (N,) kappa, -1 where the clip has none."""
    motion_mask: Tensor
    """bool (N,) False where the motion loss must ignore the clip."""
    flip: Tensor
    """bool (N,) True where the device must mirror the clip left to right."""
    label: Tensor
    """int64 (N,) class of the video, -1 without a label."""
    sample: Tensor
    """int64 (N,) position of the video in the split."""
    target: Tensor
    """int64 (N,) the right answer if the task drew it with the clip, else -1."""
    indices: Tensor
    """int32 (N, T) frame numbers in the video."""
    colour: Tensor | None = None
    """float32 (N, T, 4), columns as COLOUR_FIELDS; None leaves colours unchanged."""

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

    def __repr__(self) -> str:
        """Shapes and types, never the numbers."""
        shapes = (
            f"{name}={str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}" for name, tensor in self._tensors()
        )
        return f"Batch({', '.join(shapes)}, device={self.frames.device})"

    def to(self, device: torch.device | str) -> Batch:
        """Copy to a device; asynchronous from pinned memory."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Called by the DataLoader."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _tensors(self) -> list[tuple[str, Tensor]]:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return [(name, value) for name, value in values if value is not None]

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return replace(self, **{name: function(tensor) for name, tensor in self._tensors()})


class BatchBuilder:
    """Collects the clips of videos into one Batch; all frames share one array."""

    def __init__(self, crop: int) -> None:
        self._crop = crop
        self._frames: Tensor | None = None
        self._plans: list[ClipPlan] = []
        self._views: list[ClipView] = []
        self._labels: list[int] = []
        self._samples: list[int] = []

    def add(
        self, plans: Sequence[ClipPlan], views: Sequence[ClipView], *, label: int, sample: int, num_clips: int
    ) -> ImageArray:
        """Append a video's clips; returns the uint8 (clips, T, crop, crop, 3) array to decode them into.

        All plans have one length. `num_clips` counts the clips of the whole batch, the same at each call.
        """
        if self._frames is None:
            self._frames = _empty_frames((num_clips, len(plans[0].indices), self._crop, self._crop, 3))
        first = len(self._plans)
        self._plans += plans
        self._views += views
        self._labels += [label] * len(plans)
        self._samples += [sample] * len(plans)
        out: ImageArray = self._frames.numpy()[first : len(self._plans)]
        return out

    def batch(self) -> Batch:
        assert self._frames is not None
        colours = [view.colour for view in self._views if view.colour is not None]
        return Batch(
            frames=self._frames,
            motion=torch.tensor([int(plan.motion) for plan in self._plans]),
            speed=torch.tensor([plan.speed for plan in self._plans]),
            motion_mask=torch.tensor([plan.motion_mask for plan in self._plans]),
            flip=torch.tensor([view.flip for view in self._views]),
            label=torch.tensor(self._labels),
            sample=torch.tensor(self._samples),
            target=torch.tensor([plan.target for plan in self._plans]),
            indices=torch.from_numpy(np.stack([plan.indices for plan in self._plans]).astype(np.int32)),
            colour=torch.from_numpy(np.stack(colours)) if colours else None,
        )


def _empty_frames(shape: tuple[int, ...]) -> Tensor:
    """Uint8 memory for frames. A worker allocates shared memory, as torch's own collate does, to save a copy."""
    if get_worker_info() is None:
        return torch.from_numpy(np.empty(shape, dtype=np.uint8))  # numpy asks for huge pages
    storage = torch.UntypedStorage._new_shared(math.prod(shape))  # type: ignore[no-untyped-call]  # noqa: SLF001
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
