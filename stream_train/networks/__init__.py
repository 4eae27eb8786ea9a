"""The paper's networks without the linear head: clips (N, 3, T, H, W) -> one feature vector per clip.

To add a network: its config in `config.py`, one file with its `build_...` function, one line in :func:`build_backbone`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardify.errors import UsageError
from stream_train.networks.config import C3DConfig, C3DLargeConfig, NetworkConfig, R3D18Config

if TYPE_CHECKING:
    from stream_train.networks.base import Backbone


def build_backbone(config: NetworkConfig, *, crop: int = 112, num_frames: int = 16) -> Backbone:
    """The network of a config, newly initialised from torch's global generator, for crop x crop pixels.

    Raises UsageError if the clips are too small for the network's strides.
    """
    if crop < 1 or num_frames < 1:
        raise UsageError(f"clips of {num_frames} frames of {crop}x{crop} pixels hold nothing; both must be at least 1")
    backbone: Backbone
    if isinstance(config, (C3DConfig, C3DLargeConfig)):
        from stream_train.networks.c3d import build_c3d

        backbone = build_c3d(config, crop=crop, num_frames=num_frames)
    elif isinstance(config, R3D18Config):
        from stream_train.networks.r3d import build_r3d18

        backbone = build_r3d18(config, crop=crop, num_frames=num_frames)
    else:
        from stream_train.networks.r2plus1d import build_r2plus1d18

        backbone = build_r2plus1d18(config, crop=crop, num_frames=num_frames)
    backbone.input_statistics = config.input_statistics
    if min(backbone.conv_dim) < 1:
        raise UsageError(f"a crop of {crop} pixels is too small for {config.kind}: nothing is left behind its stem")
    return backbone
