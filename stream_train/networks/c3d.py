"""C3D, the paper's default: 3x3x3 convolutions and max pools, then two fully connected layers.

In: clips (N, 3, T, H, W). Out: features (N, 2048), (N, 4096) for `c3d_large`. C x T x H x W of 16 x 112 x 112 clips:

    clip   3 x 16 x 112 x 112
    pool1 64 x 16 x  56 x  56
    pool2 128 x 8 x  28 x  28
    pool3 256 x 4 x  14 x  14
    pool4 256 x 2 x   7 x   7     (512 channels in `c3d_large`)
    pool5 256 x 1 x   4 x   4     (512 channels in `c3d_large`)
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from stream_train.networks.base import (
    NUM_COLOURS,
    Backbone,
    build_fully_connected,
    halve,
    initialise_xavier,
    scale_channels,
    set_batch_norm,
)
from stream_train.networks.config import C3DConfig, C3DLargeConfig

Stages = tuple[tuple[int, ...], ...]

SMALL_STAGES: Stages = ((64,), (128,), (256,), (256,), (256,))
LARGE_STAGES: Stages = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Output channels of the convolutions before each of the five max pools."""

BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.025  # TF decay 0.975


class C3D(Backbone):
    """Convolutions and fully connected layers with BatchNorm and ReLU after each, ceil-mode max pools, no dropout."""

    fully_connected: nn.Sequential

    def __init__(self, stages: Stages, hidden_units: int, *, width: float, crop: int, num_frames: int) -> None:
        """Build with Glorot-uniform weights.

        `stages` holds the output channels of the convolutions before each max pool, `hidden_units` the units of each
        fully connected layer; `width` multiplies both.
        """
        channels, duration, size = NUM_COLOURS, num_frames, crop
        convolutions = nn.Sequential()
        for stage, stage_channels in enumerate(stages, start=1):
            for number, unscaled in enumerate(stage_channels, start=1):
                name = f"conv{stage}" if len(stage_channels) == 1 else f"conv{stage}_{number}"
                scaled = scale_channels(unscaled, width)
                convolutions.add_module(name, _convolution(channels, scaled))
                channels = scaled
            kernel = (1, 2, 2) if stage == 1 else (2, 2, 2)  # the first pool keeps every frame
            convolutions.add_module(f"pool{stage}", nn.MaxPool3d(kernel, ceil_mode=True))
            duration, size = duration if stage == 1 else halve(duration), halve(size)
        units = scale_channels(hidden_units, width)
        super().__init__(crop=crop, num_frames=num_frames, conv_dim=(channels, duration, size, size), feature_dim=units)
        self.convolutions = convolutions
        self.fully_connected = build_fully_connected(channels * duration * size * size, units)
        set_batch_norm(self, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)
        initialise_xavier(self)

    def features_from_conv(self, conv: Tensor) -> Tensor:
        """Flatten in (C, T, H, W) order, for any memory format, then apply the fully connected layers."""
        features: Tensor = self.fully_connected(conv.flatten(start_dim=1))
        return features

    def _convolve(self, clips: Tensor) -> Tensor:
        conv: Tensor = self.convolutions(clips)
        return conv


def build_c3d(config: C3DConfig | C3DLargeConfig, *, crop: int, num_frames: int) -> C3D:
    """The smaller or the larger C3D, newly initialised."""
    if config.kind == "c3d_large":
        return C3D(LARGE_STAGES, 4096, width=config.width, crop=crop, num_frames=num_frames)
    return C3D(SMALL_STAGES, 2048, width=config.width, crop=crop, num_frames=num_frames)


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm3d(out_channels), relu=nn.ReLU(inplace=True)))
