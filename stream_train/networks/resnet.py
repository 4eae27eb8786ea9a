"""The 18-layer residual trunk that `r3d18` and `r2plus1d18` share, assembled from torchvision's blocks.

In: clips (N, 3, T, H, W). Out: features (N, 512), the global average of the last stage. Attributes have torchvision's
names (`stem`, `layer1` ... `layer4`), so the weights of the torchvision variants need no renaming.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock

from stream_train.networks.base import Backbone, halve, initialise_xavier, scale_channels, set_batch_norm

STAGE_CHANNELS = (64, 128, 256, 512)
BLOCKS_PER_STAGE = 2

OFFICIAL_EPS = 1e-5
OFFICIAL_MOMENTUM = 0.003  # TF decay 0.997
"""BatchNorm constants of the authors' ResNets; torchvision's variants keep torch's own (eps 1e-5, momentum 0.1)."""


class ConvBuilder(Protocol):
    """torchvision's interface of a block's convolution, e.g. `Conv3DSimple`."""

    def __call__(self, in_planes: int, out_planes: int, midplanes: int, stride: int = 1) -> nn.Module:
        """The convolution, of kernel 3 and padding 1."""
        ...

    @staticmethod
    def get_downsample_stride(stride: int) -> tuple[int, int, int]:
        """(T, H, W) stride of the shortcut that bridges the convolution."""
        ...


class ResNet18(Backbone):
    """Stem, four stages of two basic blocks, global average pool, and optionally a BatchNorm on the pooled features."""

    fully_connected: None

    def __init__(
        self,
        stem: nn.Module,
        conv_builders: Sequence[ConvBuilder],
        *,
        stem_size: int,
        official: bool,
        width: float,
        crop: int,
        num_frames: int,
        normalise_features: bool = False,
    ) -> None:
        """Assemble and initialise.

        Args:
            stem: first layers, (N, 3, T, H, W) -> (N, 64 * width, T, H', W').
            conv_builders: the blocks' convolution for each of the four stages.
            stem_size: the stem's output height H'.
            official: the authors' initialisation and BatchNorm constants, and a 1x1x1 convolution on every shortcut
                (their code compares the wrong axis). Else torchvision's, and one only if the shape changes.
            width: multiplies the channels of all stages.
            crop: height and width of the clips, in pixels.
            num_frames: frames per clip.
            normalise_features: put a BatchNorm between the global average pool and the head.
        """
        duration, size = num_frames, stem_size
        for builder in conv_builders[1:]:  # the first stage keeps the stem's size
            duration = halve(duration) if builder.get_downsample_stride(2)[0] == 2 else duration
            size = halve(size)
        channels = [scale_channels(unscaled, width) for unscaled in STAGE_CHANNELS]
        super().__init__(
            crop=crop, num_frames=num_frames, conv_dim=(channels[-1], duration, size, size), feature_dim=channels[-1]
        )
        self.fully_connected = None
        self.stem = stem
        self.layer1 = _stage(channels[0], channels[0], conv_builders[0], 1, official)
        self.layer2 = _stage(channels[0], channels[1], conv_builders[1], 2, official)
        self.layer3 = _stage(channels[1], channels[2], conv_builders[2], 2, official)
        self.layer4 = _stage(channels[2], channels[3], conv_builders[3], 2, official)
        self.feature_norm = nn.BatchNorm1d(channels[-1]) if normalise_features else None
        if official:
            set_batch_norm(self, eps=OFFICIAL_EPS, momentum=OFFICIAL_MOMENTUM)
            initialise_xavier(self)
        else:
            initialise_like_torchvision(self)

    def features_from_conv(self, conv: Tensor) -> Tensor:
        """Global average pool, then the extra BatchNorm, if there is one."""
        features = self.pooled(conv)
        if self.feature_norm is not None:
            features = self.feature_norm(features)
        return features

    def _convolve(self, clips: Tensor) -> Tensor:
        conv: Tensor = self.stem(clips)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            conv = stage(conv)
        return conv


def initialise_like_torchvision(module: nn.Module) -> None:
    """Convolutions from N(0, 2 / fan_out), as in torchvision's video ResNets; BatchNorm already starts at 1 and 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def _stage(
    in_channels: int, out_channels: int, conv_builder: ConvBuilder, stride: int, project_always: bool
) -> nn.Sequential:
    """Two basic blocks, the first of the given stride."""
    stage = nn.Sequential()
    for block_in, block_stride in [(in_channels, stride)] + [(out_channels, 1)] * (BLOCKS_PER_STAGE - 1):
        shortcut = None
        if project_always or block_stride != 1 or block_in != out_channels:
            shortcut_stride = conv_builder.get_downsample_stride(block_stride)
            shortcut = nn.Sequential(
                nn.Conv3d(block_in, out_channels, kernel_size=1, stride=shortcut_stride, bias=False),
                nn.BatchNorm3d(out_channels),
            )
        stage.append(BasicBlock(block_in, out_channels, conv_builder, block_stride, shortcut))
    return stage
