"""The interface of every network: clips -> output of the last convolution -> one feature vector per clip.

Axes: N clips, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from stream_train.networks.config import ClassifierInit, InputStatistics

ConvDim = tuple[int, int, int, int]

NUM_COLOURS = 3
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm3d, nn.SyncBatchNorm)

BEHIND_CONVOLUTIONS = ("fully_connected", "feature_norm")
"""Attributes of backbones that `features_from_conv` uses, not `conv_features`."""

_KINETICS400 = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
"""Mean and deviation of red, green and blue in [0, 1] that torchvision's video weights expect."""

NORMAL_CLASSIFIER_DEVIATION = 1e-3
"""Standard deviation of the authors' classifier weights (their ResNet code)."""


class Backbone(nn.Module, ABC):
    """A 3D convolutional network without its linear head.

    `forward` is `features_from_conv(conv_features(clips))`; probes and transfer learning use the two halves separately.
    """

    crop: int
    """Height and width of the clips, in pixels."""
    num_frames: int
    """Frames per clip."""
    conv_dim: ConvDim
    """(C, T, H, W) of `conv_features`."""
    feature_dim: int
    """Length of the vector that a linear head reads."""
    fully_connected: nn.Module | None
    """The hidden fully connected layers between `conv_features` and the head; None if the network has none."""
    input_statistics: InputStatistics = "none"
    """See `NetworkOptions.input_statistics`."""

    def __init__(self, *, crop: int, num_frames: int, conv_dim: ConvDim, feature_dim: int) -> None:
        super().__init__()
        self.crop = crop
        self.num_frames = num_frames
        self.conv_dim = conv_dim
        self.feature_dim = feature_dim
        self.metadata: Mapping[str, Any] = {}
        """The metadata of the file that the weights come from; empty for random weights."""

    @property
    def num_features(self) -> int:
        """`feature_dim`, under the name that it has in timm."""
        return self.feature_dim

    def forward_features(self, clips: Tensor) -> Tensor:
        """`conv_features`, under the name that it has in timm: maps (N, *conv_dim)."""
        return self.conv_features(clips)

    def forward(self, clips: Tensor) -> Tensor:
        """Clips float (N, 3, num_frames, crop, crop) in [-1, 1] -> features float (N, feature_dim).

        Raises ValueError if the clips have another shape.
        """
        return self.features_from_conv(self.conv_features(clips))

    def conv_features(self, clips: Tensor) -> Tensor:
        """Clips -> output of the last convolution (and its pooling layer, if any), float (N, *conv_dim)."""
        expected = (NUM_COLOURS, self.num_frames, self.crop, self.crop)
        if tuple(clips.shape[1:]) != expected:
            raise ValueError(f"clips have shape {tuple(clips.shape)}, but this network was built for (N, *{expected})")
        if self.input_statistics == "kinetics400":
            mean, deviation = (clips.new_tensor(values).view(1, 3, 1, 1, 1) for values in _KINETICS400)
            clips = (clips * 0.5 + 0.5 - mean) / deviation
        return self._convolve(clips)

    def convolutional_parts(self) -> list[nn.Module]:
        """The modules of `conv_features`, which a probe freezes."""
        return [module for name, module in self.named_children() if name not in BEHIND_CONVOLUTIONS]

    def pooled(self, conv: Tensor) -> Tensor:
        """Mean over frames, rows and columns: (N, C, T, H, W) -> (N, C)."""
        return conv.mean(dim=(2, 3, 4))

    @abstractmethod
    def features_from_conv(self, conv: Tensor) -> Tensor:
        """The part of `forward` after the convolutions: (N, *conv_dim) -> (N, feature_dim)."""

    def reset_fully_connected(self) -> None:
        """Initialise the fully connected layers again, if there are any (for the probes of Tables 1 and 3)."""
        if self.fully_connected is not None:
            initialise_xavier(self.fully_connected)

    @abstractmethod
    def _convolve(self, clips: Tensor) -> Tensor:
        """`conv_features` after the shape check."""


def build_fully_connected(in_units: int, units: int) -> nn.Sequential:
    """Two hidden fully connected layers with BatchNorm and ReLU, no dropout; for C3D and the probes."""
    return nn.Sequential(OrderedDict(fc1=_dense(in_units, units), fc2=_dense(units, units)))


def build_head(feature_dim: int, num_classes: int, classifier_init: ClassifierInit = "torch") -> nn.Linear:
    """A linear classifier: features (N, feature_dim) -> logits (N, num_classes)."""
    head = nn.Linear(feature_dim, num_classes)
    if classifier_init == "normal":
        nn.init.normal_(head.weight, std=NORMAL_CLASSIFIER_DEVIATION)
        nn.init.zeros_(head.bias)
    elif classifier_init == "glorot":
        initialise_xavier(head)
    return head


def scale_channels(channels: int, width: float) -> int:
    """The width multiplier: `channels * width`, rounded, at least 1."""
    return max(1, round(channels * width))


def halve(size: int) -> int:
    """Output size of a padded or ceil-mode layer of stride 2: ceil(size / 2)."""
    return -(-size // 2)


def initialise_xavier(module: nn.Module) -> None:
    """Glorot-uniform weights, zero biases, fresh BatchNorm: the defaults of the authors' framework (TF slim)."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv3d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, BATCH_NORMS):
            layer.reset_parameters()


def set_batch_norm(module: nn.Module, *, eps: float, momentum: float) -> None:
    """Set the constants of every BatchNorm layer in `module`; torch's momentum is 1 - TF's decay."""
    for layer in module.modules():
        if isinstance(layer, BATCH_NORMS):
            layer.eps = eps
            layer.momentum = momentum


def _dense(in_units: int, out_units: int) -> nn.Sequential:
    linear = nn.Linear(in_units, out_units, bias=False)
    return nn.Sequential(OrderedDict(linear=linear, norm=nn.BatchNorm1d(out_units), relu=nn.ReLU(inplace=True)))
