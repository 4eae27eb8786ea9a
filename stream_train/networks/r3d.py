"""3D-ResNet-18, torchvision's or the authors'.

In: clips (N, 3, T, H, W). Out: features (N, 512). C x T x H x W of a 16 x 112 x 112 clip, at width 1:

         torchvision           official
stem      64 x 16 x 56 x 56     64 x 16 x 27 x 27   (1x7x7 and an unpadded max pool)
layer1    64 x 16 x 56 x 56     64 x 16 x 27 x 27
layer2   128 x  8 x 28 x 28    128 x 16 x 14 x 14   (two-dimensional kernels up to here)
layer3   256 x  4 x 14 x 14    256 x  8 x  7 x  7
layer4   512 x  2 x  7 x  7    512 x  4 x  4 x  4
"""

from __future__ import annotations

from torch import nn
from torchvision.models.video.resnet import Conv3DNoTemporal, Conv3DSimple

from stream_train.networks.base import NUM_COLOURS, halve, scale_channels
from stream_train.networks.config import R3D18Config
from stream_train.networks.resnet import STAGE_CHANNELS, ResNet18


def build_r3d18(config: R3D18Config, *, crop: int, num_frames: int) -> ResNet18:
    """3D-ResNet-18, newly initialised."""
    channels = scale_channels(STAGE_CHANNELS[0], config.width)
    official = config.variant == "official"
    taps = 1 if official else 3  # in time
    stem = nn.Sequential(
        nn.Conv3d(NUM_COLOURS, channels, (taps, 7, 7), stride=(1, 2, 2), padding=(taps // 2, 3, 3), bias=False),
        nn.BatchNorm3d(channels),
        nn.ReLU(inplace=True),
    )
    stem_size = halve(crop)
    if official:
        stem.append(nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)))  # unpadded, slim's default: 56 -> 27
        stem_size = (stem_size - 3) // 2 + 1
    return ResNet18(
        stem,
        [Conv3DNoTemporal, Conv3DNoTemporal, Conv3DSimple, Conv3DSimple] if official else [Conv3DSimple] * 4,
        stem_size=stem_size,
        official=official,
        width=config.width,
        crop=crop,
        num_frames=num_frames,
    )
