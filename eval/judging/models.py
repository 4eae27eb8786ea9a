"""Networks with new classifiers: which parts are loaded, new or frozen."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from eval.judging.config import FrozenNorm
from stream_train.networks.base import (
    BEHIND_CONVOLUTIONS,
    Backbone,
    build_fully_connected,
    initialise_xavier,
    set_batch_norm,
)
from stream_train.networks.c3d import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM
from stream_train.networks.config import NetworkConfig
from stream_train.tasks.base import ClipModel, ClipTask, HeadWidth

UNITS_PER_FEATURE = 4
"""Width of new fully connected layers in networks without any: a ResNet with 512 features gets 2048, like C3D."""


class JudgedModel(ClipModel):
    """A backbone with the new heads of a task; optionally new fully connected layers, frozen convolutions.

    `new_fully_connected` draws new hidden layers between the last convolution and the head (section 4, "Ablation");
    networks without such layers get two. `frozen` trains neither the weights nor the BatchNorm of convolutions; with
    `frozen_norm="training"`, as in the authors' code, this BatchNorm uses the batch and updates its statistics.
    """

    def __init__(
        self,
        backbone: Backbone,
        config: NetworkConfig,
        task: ClipTask,
        *,
        new_fully_connected: bool,
        frozen: bool,
        frozen_norm: FrozenNorm = "evaluation",
    ) -> None:
        added = new_fully_connected and backbone.fully_connected is None
        units = UNITS_PER_FEATURE * backbone.feature_dim
        head_width = HeadWidth.of(backbone, config.classifier_init, features=units if added else None)
        super().__init__(backbone, task.build_heads(head_width), task.select_frames, task.merge_maps)
        self.added: nn.Sequential | None = None
        if added:
            channels, duration, height, width = backbone.conv_dim
            self.added = build_fully_connected(channels * duration * height * width, units)
            set_batch_norm(self.added, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)
            initialise_xavier(self.added)
            for name, part in backbone.named_children():
                if name in BEHIND_CONVOLUTIONS:  # unused: DistributedDataParallel would wait for its gradient
                    part.requires_grad_(requires_grad=False)
        elif new_fully_connected:
            backbone.reset_fully_connected()
        self.frozen = frozen
        self.frozen_norm = frozen_norm
        if frozen:
            for part in backbone.convolutional_parts():
                part.requires_grad_(requires_grad=False)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen convolutions stay in evaluation mode."""
        super().train(mode)
        if self.frozen and self.frozen_norm == "evaluation":
            for part in self.backbone.convolutional_parts():
                part.eval()
        return self

    def conv_features(self, clips: Tensor) -> Tensor:
        """The last convolution's output, float (N, *conv_dim); without a gradient if frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.backbone.conv_features(clips)

    def features_from_conv(self, conv: Tensor) -> Tensor:
        """The input of the heads: (N, *conv_dim) -> (N, units)."""
        if self.added is None:
            return self.backbone.features_from_conv(conv)
        features: Tensor = self.added(conv.flatten(start_dim=1))
        return features
