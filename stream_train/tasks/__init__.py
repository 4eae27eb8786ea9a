"""Pretext tasks: what a network can learn from videos without labels.

To add a task: its config in `config.py`, one file beside `transformations.py`, one line in :func:`build_task`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_train.networks import build_backbone
from stream_train.networks.config import NetworkConfig
from stream_train.tasks.config import TaskConfig

if TYPE_CHECKING:
    from stream_train.tasks.base import ClipModel, ClipTask


def build_task(config: TaskConfig) -> ClipTask:
    """The task that a config describes."""
    from stream_train.tasks.transformations import Transformations

    return Transformations(config)


def build_model(network: NetworkConfig, task: ClipTask, *, crop: int) -> ClipModel:
    """A network with the task's heads for crop x crop pixels, newly initialised from torch's global generator."""
    from stream_train.tasks.base import ClipModel
    from stream_train.transformations.sequences import CLIP_LENGTH

    backbone = build_backbone(network, crop=crop, num_frames=CLIP_LENGTH)
    return ClipModel(backbone, task.head_sizes(), network.classifier_init)
