"""From the loader's bytes to the network's input: flips, colour and scaling, on the batch's device.

In: Batch with frames uint8 (N, T, H, W, C). Out: float32 (N, C, T, H, W) in [-1, 1], laid out channels_last_3d.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stream_train.data.batch import Batch

_GREY_WEIGHTS = (0.2989, 0.587, 0.114)


def prepare_clips(batch: Batch) -> Tensor:
    """Mirror, recolour and scale clips to float32 (N, C, T, H, W) in [-1, 1], contiguous in channels_last_3d."""
    frames = batch.frames
    if frames.device.type != "cpu" or bool(batch.flip.any()):  # `any` would wait for a GPU
        frames = torch.where(batch.flip[:, None, None, None, None], frames.flip(3), frames)
    clips = frames.permute(0, 4, 1, 2, 3).to(torch.float32)
    clips = clips / 127.5 - 1.0
    if batch.colour is not None:
        clips = _recolour((clips + 1.0) / 2.0, batch.colour) * 2.0 - 1.0
    return clips.contiguous(memory_format=torch.channels_last_3d)


def _recolour(clips: Tensor, colour: Tensor) -> Tensor:
    """Apply brightness and saturation in the drawn order, then grey, then clip (section 7, colour [C]).

    `clips` is float32 (N, 3, T, H, W) in [0, 1], `colour` float32 (N, T, 4), see COLOUR_FIELDS.
    """
    brightness, saturation, first, grey = colour[:, None, :, None, None, :].unbind(-1)
    saturated_first = _saturate(clips, saturation) + brightness
    brightened_first = _saturate(clips + brightness, saturation)
    clips = torch.where(first.bool(), saturated_first, brightened_first)
    weights = torch.tensor(_GREY_WEIGHTS, dtype=clips.dtype, device=clips.device).view(1, 3, 1, 1, 1)
    clips = torch.where(grey.bool(), (clips * weights).sum(dim=1, keepdim=True), clips)
    return clips.clamp(0.0, 1.0)


def _saturate(clips: Tensor, factor: Tensor) -> Tensor:
    """Scale HSV saturation at constant hue and value: c -> V - (V - c) * factor, with the saturation kept below 1."""
    value = clips.amax(dim=1, keepdim=True)
    spread = value - clips.amin(dim=1, keepdim=True)
    limit = torch.where(spread > 0, value.clamp(min=0) / spread.clamp(min=1e-12), factor)
    return value - (value - clips) * torch.minimum(factor.expand_as(limit), limit)
