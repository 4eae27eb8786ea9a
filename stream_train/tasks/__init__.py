"""Pretext tasks: what a network learns from videos without labels.

A new task is one file beside `transformations.py`, its config in :data:`TaskConfig` and its line in :func:`build_task`.
"""

from __future__ import annotations

from stream_train.networks import NetworkConfig, build_backbone
from stream_train.tasks.base import ClipModel, ClipTask
from stream_train.tasks.transformations import Transformations, TransformationsConfig
from stream_train.transformations.sequences import CLIP_LENGTH

TaskConfig = TransformationsConfig
"""The config of any task; with a second one, a union told apart by `kind`."""


def build_task(config: TaskConfig) -> ClipTask:
    """The task that a config describes."""
    return Transformations(config)


def build_model(network: NetworkConfig, task: ClipTask, *, crop: int) -> ClipModel:
    """A newly initialised network with the task's heads, drawn from torch's global generator.

    Args:
        network: which backbone, and how its linear heads start.
        task: says which heads there are.
        crop: height and width of the clips, in pixels.
    """
    backbone = build_backbone(network, crop=crop, num_frames=CLIP_LENGTH)
    return ClipModel(backbone, task.head_sizes(), network.classifier_init)
