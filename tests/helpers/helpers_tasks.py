"""Every pretext task, and small batches of its clips."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import simplejpeg
import torch
from helpers_datasets import numbered_jpeg
from pydantic import TypeAdapter

from shardify.arrays import ImageArray
from stream_train.data.batch import Batch, BatchBuilder
from stream_train.data.clips import decode_clips, draw_views, frames_needed
from stream_train.data.config import DataConfig
from stream_train.data.device_ops import prepare_clips
from stream_train.draws import SampleDraws
from stream_train.tasks import build_task
from stream_train.tasks.base import ClipTask
from stream_train.tasks.config import TaskConfig

KINDS: tuple[str, ...] = tuple(config.model_fields["kind"].default for config in get_args(get_args(TaskConfig)[0]))
STORED = (48, 64)
"""Height and width of the frames of `numbered_jpeg`."""


def task_of_kind(kind: str, **changes: Any) -> ClipTask:
    """The task with the defaults of its config but for the changes."""
    config: TaskConfig = TypeAdapter(TaskConfig).validate_python({"kind": kind} | changes)
    return build_task(config, ("cat", "dog"))


def batch_of_task(
    task: ClipTask,
    lengths: tuple[int, ...] = (130, 131),
    *,
    jpeg: Callable[[int, int], bytes] = numbered_jpeg,
    **data: Any,
) -> Batch:
    """The clips of videos of these lengths, as the loader makes them; `data` are keys of its config."""
    config = DataConfig.model_validate({"crop": 32} | data)
    builder = BatchBuilder(config.crop)
    for video, length in enumerate(lengths):
        draws = SampleDraws(3, 0, video)
        plans = task.draw_clips(length, draws)
        views = draw_views(plans, draws, 0, config, STORED)
        out = builder.add(plans, views, label=video % 2, sample=video, num_clips=len(plans) * len(lengths))
        jpegs = {frame: _encoded(jpeg, video, frame) for frame in frames_needed(plans)}
        decode_clips(jpegs, plans, views, out, stored=STORED, name=f"video {video}")
    return builder.batch()


@functools.cache
def _encoded(jpeg: Callable[[int, int], bytes], video: int, frame: int) -> bytes:
    return jpeg(video, frame)


def noise_jpeg(video: int, frame: int) -> bytes:
    """Smooth noise of another seed for each frame, so that no two pixels are alike."""
    noise = np.random.default_rng((video, frame)).integers(0, 256, (6, 8, 3))
    pixels = np.kron(noise, np.ones((8, 8, 1))).astype(np.uint8)
    return bytes(simplejpeg.encode_jpeg(pixels, quality=95, colorspace="RGB", colorsubsampling="444"))


def seen_pixels(batch: Batch) -> ImageArray:
    """What the network sees, as uint8 (N, T, H, W, 3)."""
    pixels = ((prepare_clips(batch) + 1) * 127.5).round().to(torch.uint8)
    seen: ImageArray = pixels.permute(0, 2, 3, 4, 1).numpy()
    return seen
