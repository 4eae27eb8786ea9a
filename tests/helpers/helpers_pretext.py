"""Pretext tasks and batches with labels but hardly any pixels."""

from __future__ import annotations

from dataclasses import replace

import torch

from shardify.config import validate_config
from stream_train.data.batch import Batch
from stream_train.data.plans import IGNORED
from stream_train.tasks.config import TransformationsConfig
from stream_train.tasks.transformations import Transformations


def task_of(motions: tuple[str, ...] = ("random", "periodic", "warp"), **changes: object) -> Transformations:
    values = {"sampling": {"motions": motions}} | changes
    return Transformations(validate_config(TransformationsConfig, values, "task"))


def batch_of(motion: list[int], speed: list[int], mask: list[bool] | None = None) -> Batch:
    """A batch of clips that have labels but hardly any pixels."""
    count = len(motion)
    return Batch(
        frames=torch.zeros(count, 16, 2, 2, 3, dtype=torch.uint8),
        flip=torch.zeros(count, dtype=torch.bool),
        label=torch.zeros(count, dtype=torch.int64),
        sample=torch.arange(count),
        indices=torch.zeros(count, 16, dtype=torch.int32),
        targets={
            "motion": torch.tensor(motion).where(torch.tensor(mask or [True] * count), IGNORED),
            "speed": torch.tensor(speed),
        },
    )


def full_batch(videos: int = 7) -> Batch:
    """All four clips of each video, speeds 0..3 in turn, the last video's warp masked out."""
    kappas = [video % 4 for video in range(videos)]
    mask = [True] * (4 * videos - 1) + [False]
    return batch_of([0, 1, 2, 3] * videos, [v for k in kappas for v in (k, -1, k, -1)], mask)


def slice_of(batch: Batch, start: int, stop: int) -> Batch:
    parts = {name: getattr(batch, name)[start:stop] for name in ("frames", "flip", "label", "sample", "indices")}
    return replace(batch, targets={name: value[start:stop] for name, value in batch.targets.items()}, **parts)
