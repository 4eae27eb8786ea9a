"""What the network tests share: one config of each network, small instances, clips and weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stream_train.networks import build_backbone
from stream_train.networks.base import Backbone
from stream_train.networks.config import C3DConfig, C3DLargeConfig, NetworkConfig, R2Plus1D18Config, R3D18Config

CONFIGS: dict[str, NetworkConfig] = {
    "c3d": C3DConfig(),
    "c3d_large": C3DLargeConfig(),
    "r3d18": R3D18Config(),
    "r3d18-official": R3D18Config(variant="official"),
    "r2plus1d18": R2Plus1D18Config(),
    "r2plus1d18-official": R2Plus1D18Config(variant="official"),
}
every_network = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
BatchNorms = (nn.BatchNorm1d, nn.BatchNorm3d)


def meta_backbone(config: NetworkConfig, **size: int) -> Backbone:
    """Shapes and counts without weights: full-size networks cost nothing on the meta device."""
    with torch.device("meta"):
        return build_backbone(config, **size)


def narrow(config: NetworkConfig, *, seed: int = 0, crop: int = 16, num_frames: int = 16) -> Backbone:
    torch.manual_seed(seed)
    return build_backbone(config.model_copy(update={"width": 0.125}), crop=crop, num_frames=num_frames)


def random_clips(num_clips: int = 2, crop: int = 16, num_frames: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand((num_clips, 3, num_frames, crop, crop), generator=generator) * 2 - 1


def randomise_norms(module: nn.Module) -> None:
    """Give BatchNorm layers constants and statistics that matter, as after training."""
    generator = torch.Generator().manual_seed(2)
    for layer in module.modules():
        if isinstance(layer, BatchNorms):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            for tensor, low in [(layer.weight, 0.5), (layer.bias, -0.5), (layer.running_mean, -0.2)]:
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + low)
            layer.running_var.copy_(torch.rand(layer.running_var.shape, generator=generator) + 0.5)
