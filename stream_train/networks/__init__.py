"""The networks of the paper: clips (N, 3, T, H, W) to one feature vector a clip, without the linear head.

To add a network: one file with its config and `build_...` function, one line in `NetworkConfig` and `build_backbone`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shardify.errors import UsageError
from stream_train.networks.base import Backbone
from stream_train.networks.c3d import C3DConfig, C3DLargeConfig, build_c3d
from stream_train.networks.r2plus1d import R2Plus1D18Config, build_r2plus1d18
from stream_train.networks.r3d import R3D18Config, build_r3d18

NetworkConfig = Annotated[C3DConfig | C3DLargeConfig | R3D18Config | R2Plus1D18Config, Field(discriminator="kind")]


def build_backbone(config: NetworkConfig, *, crop: int = 112, num_frames: int = 16) -> Backbone:
    """The network that a config describes, newly initialised from torch's global generator.

    Args:
        config: one of the network configs.
        crop: height and width of the clips, in pixels.
        num_frames: frames a clip.

    Raises:
        UsageError: if the clips are too small for the network's strides.
    """
    if crop < 1 or num_frames < 1:
        raise UsageError(f"clips of {num_frames} frames of {crop}x{crop} pixels hold nothing; both must be at least 1")
    backbone: Backbone
    if isinstance(config, (C3DConfig, C3DLargeConfig)):
        backbone = build_c3d(config, crop=crop, num_frames=num_frames)
    elif isinstance(config, R3D18Config):
        backbone = build_r3d18(config, crop=crop, num_frames=num_frames)
    else:
        backbone = build_r2plus1d18(config, crop=crop, num_frames=num_frames)
    backbone.input_statistics = config.input_statistics
    if min(backbone.conv_dim) < 1:
        raise UsageError(f"a crop of {crop} pixels is too small for {config.kind}: nothing is left behind its stem")
    return backbone
