"""The batch that the loader gives to the trainer, and its builder."""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from shardify.arrays import FloatArray, ImageArray
from shardify.errors import ADVICE, WorkError
from stream_train.data.clips import ClipView, shown_frames
from stream_train.data.plans import ClipPlan

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
    flip: Tensor
    """bool (N,) True where the device must mirror the clip left to right."""
    label: Tensor
    """int64 (N,) class of the video, -1 without a label."""
    sample: Tensor
    """int64 (N,) position of the video in the split."""
    indices: Tensor
    """int32 (N, T) frame numbers in the video."""
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    """The task's right answers by name: int64 (N,) classes, IGNORED where there is none, or float32 (N, K) vectors."""
    colour: Tensor | None = None
    """float32 (N, T, 4), columns as COLOUR_FIELDS; None leaves colours unchanged."""

    def __post_init__(self) -> None:
        clips, frames = self.indices.shape
        if self.frames.shape[:2] != (clips, frames) or self.frames.dtype != torch.uint8 or self.frames.dim() != 5:
            raise ValueError(
                f"frames must be uint8 ({clips}, {frames}, H, W, C), not {self.frames.dtype} {tuple(self.frames.shape)}"
            )
        for name in ("flip", "label", "sample"):
            if (shape := getattr(self, name).shape) != (clips,):
                raise ValueError(f"{name} must have shape ({clips},), not {tuple(shape)}")
        for name, target in self.targets.items():
            if target.shape[:1] != (clips,) or target.ndim != 1 + target.is_floating_point():
                raise ValueError(
                    f"target {name} must be classes ({clips},) or vectors ({clips}, K), not {target.dtype} "
                    f"{tuple(target.shape)}"
                )
        if self.colour is not None and self.colour.shape != (clips, frames, len(COLOUR_FIELDS)):
            raise ValueError(f"colour must have shape ({clips}, {frames}, 4), not {tuple(self.colour.shape)}")

    def __len__(self) -> int:
        return len(self.sample)

    def __repr__(self) -> str:
        """Shapes and types, never the numbers."""
        shapes = (
            f"{name}={str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}" for name, tensor in self.tensors()
        )
        return f"Batch({', '.join(shapes)}, device={self.frames.device})"

    def to(self, device: torch.device | str) -> Batch:
        """Copy to a device; asynchronous from pinned memory."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Called by the DataLoader."""
        return self._map(lambda tensor: tensor.pin_memory())

    def part(self, start: int, stop: int) -> Batch:
        """The clips from `start` up to `stop`."""
        return self._map(lambda tensor: tensor[start:stop])

    def tensors(self) -> list[tuple[str, Tensor]]:
        """All tensors by name, the targets last."""
        values = [(entry.name, getattr(self, entry.name)) for entry in fields(self) if entry.name != "targets"]
        return [(name, value) for name, value in values if value is not None] + list(self.targets.items())

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        changed = {name: function(tensor) for name, tensor in self.tensors()}
        targets = {name: changed.pop(name) for name in self.targets}
        return replace(self, targets=targets, **changed)


@contextmanager
def shared_memory_reported() -> Iterator[None]:
    """Turn torch's error for memory that cannot be shared into a WorkError."""
    try:
        yield
    except RuntimeError as error:
        match = re.search(r"shared memory.*: (.*) \((\d+)\)$", str(error))
        if match is None:
            raise
        advice = ADVICE.get(int(match[2]), "")
        if int(match[2]) == errno.ENOSPC:
            advice = (
                "enlarge /dev/shm (Docker: --shm-size=8g; Kubernetes: an emptyDir of medium Memory), or lower "
                "data.num_workers (0 needs none) or data.prefetch_batches"
            )
        raise WorkError(f"a loader process cannot share its batches in /dev/shm: {match[1]}; {advice}") from None


class BatchBuilder:
    """Collects the clips of videos into one Batch; all frames share one array."""

    def __init__(self, crop: int, allocate: Callable[[tuple[int, ...]], Tensor] | None = None) -> None:
        self._crop = crop
        self._allocate = allocate or new_frames
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
            self._frames = self._allocate((num_clips, len(plans[0].indices), self._crop, self._crop, 3))
        first = len(self._plans)
        self._plans += plans
        self._views += views
        self._labels += [label] * len(plans)
        self._samples += [sample] * len(plans)
        out: ImageArray = self._frames.numpy()[first : len(self._plans)]
        return out

    def batch(self) -> Batch:
        """The batch, when all clips are decoded; measures the targets that depend on pixels."""
        assert self._frames is not None
        colours = [view.colour for view in self._views if view.colour is not None]
        return Batch(
            frames=self._frames,
            flip=torch.tensor([view.flip for view in self._views]),
            label=torch.tensor(self._labels),
            sample=torch.tensor(self._samples),
            targets=_stack([self._targets(clip) for clip in range(len(self._plans))]),
            indices=torch.from_numpy(np.stack([plan.indices for plan in self._plans]).astype(np.int32)),
            colour=torch.from_numpy(np.stack(colours)) if colours else None,
        )

    def _targets(self, clip: int) -> Mapping[str, int | FloatArray]:
        plan = self._plans[clip]
        if plan.measure is None:
            return plan.targets
        assert self._frames is not None
        return {**plan.targets, **plan.measure(shown_frames(self._frames[clip].numpy(), self._views[clip]))}


def _stack(targets: Sequence[Mapping[str, int | FloatArray]]) -> dict[str, Tensor]:
    """Each name's classes as int64 (N,), or its vectors as float32 (N, K)."""
    stacked = {}
    for name, first in targets[0].items():
        values = [one[name] for one in targets]
        dtype = np.float32 if np.ndim(first) else np.int64
        stacked[name] = torch.from_numpy(np.stack(values).astype(dtype))
    return stacked


def new_frames(shape: tuple[int, ...]) -> Tensor:
    """Uint8 memory for frames. A worker allocates shared memory, as torch's own collate does, to save a copy."""
    if get_worker_info() is None:
        return torch.from_numpy(np.empty(shape, dtype=np.uint8))  # numpy asks for huge pages
    with shared_memory_reported():
        storage = torch.UntypedStorage._new_shared(math.prod(shape))  # type: ignore[no-untyped-call]  # noqa: SLF001
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
