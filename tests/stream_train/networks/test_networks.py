"""The networks of method section 4: shapes, counts, constants, configs, heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers_networks import CONFIGS, BatchNorms, every_network, meta_backbone, narrow, random_clips
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from shardify.config import StrictModel, validate_config
from shardify.errors import UsageError
from stream_train.networks import build_backbone
from stream_train.networks.base import Backbone, build_head
from stream_train.networks.config import C3DConfig, NetworkConfig, R3D18Config


class Holder(StrictModel):
    """A config with a network inside, as training has it."""

    network: NetworkConfig


def shapes_of(backbone: Backbone, *names: str) -> dict[str, tuple[int, ...]]:
    """Output shape, without the batch axis, of the named modules for one clip on the meta device."""
    shapes: dict[str, tuple[int, ...]] = {}

    def record(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, output: shapes.update({name: tuple(output.shape[1:])})

    for name in names:
        backbone.get_submodule(name).register_forward_hook(record(name))
    backbone(torch.empty((2, 3, backbone.num_frames, backbone.crop, backbone.crop), device="meta"))
    return shapes


STAGE_SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "c3d": {
        "convolutions.conv1": (64, 16, 112, 112),
        "convolutions.pool1": (64, 16, 56, 56),
        "convolutions.pool2": (128, 8, 28, 28),
        "convolutions.pool3": (256, 4, 14, 14),
        "convolutions.pool4": (256, 2, 7, 7),
        "convolutions.conv5": (256, 2, 7, 7),
        "convolutions.pool5": (256, 1, 4, 4),
        "fully_connected.fc1": (2048,),
        "fully_connected.fc2": (2048,),
    },
    "c3d_large": {
        "convolutions.conv3_2": (256, 8, 28, 28),
        "convolutions.pool4": (512, 2, 7, 7),
        "convolutions.conv5_1": (512, 2, 7, 7),
        "convolutions.pool5": (512, 1, 4, 4),
        "fully_connected.fc1": (4096,),
        "fully_connected.fc2": (4096,),
    },
    "r3d18": {
        "stem": (64, 16, 56, 56),
        "layer1": (64, 16, 56, 56),
        "layer2": (128, 8, 28, 28),
        "layer3": (256, 4, 14, 14),
        "layer4": (512, 2, 7, 7),
    },
    "r3d18-official": {
        "stem.0": (64, 16, 56, 56),
        "stem": (64, 16, 27, 27),
        "layer1": (64, 16, 27, 27),
        "layer2": (128, 16, 14, 14),
        "layer3": (256, 8, 7, 7),
        "layer4": (512, 4, 4, 4),
    },
    "r2plus1d18": {
        "stem": (64, 16, 56, 56),
        "layer1": (64, 16, 56, 56),
        "layer2": (128, 8, 28, 28),
        "layer3": (256, 4, 14, 14),
        "layer4": (512, 2, 7, 7),
    },
}
STAGE_SHAPES["r2plus1d18-official"] = STAGE_SHAPES["r2plus1d18"]


def r3d18_official_parameters() -> int:
    total = 3 * 49 * 64 + 2 * 64
    channels = 64
    for out, taps in [(64, 9), (128, 9), (256, 27), (512, 27)]:
        first = channels * out * taps + channels * out  # convolution and projection shortcut
        second = out * out * taps + out * out
        total += first + 2 * (out * out * taps) + second + 12 * out
        channels = out
    return total


def r2plus1d18_official_parameters() -> int:
    def split(inputs: int, outputs: int, taps: int) -> int:
        return inputs * outputs * taps + outputs * outputs * 3

    total = split(3, 64, 49) + 2 * 64
    channels = 64
    for out in (64, 128, 256, 512):
        total += split(channels, out, 9) + 3 * split(out, out, 9) + channels * out + out * out + 12 * out
        channels = out
    return total + 2 * 512


PARAMETERS = {
    "c3d": (
        27 * (3 * 64 + 64 * 128 + 128 * 256 + 2 * 256 * 256)
        + 2 * (64 + 128 + 3 * 256)
        + (256 * 16 * 2048 + 2048 * 2048 + 4 * 2048)
    ),
    "c3d_large": (
        27 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 3 * 512 * 512)
        + 2 * (64 + 128 + 2 * 256 + 4 * 512)
        + (512 * 16 * 4096 + 4096 * 4096 + 4 * 4096)
    ),
    "r3d18": 33_371_472 - 400 * 513,  # torchvision's published count, without its classifier
    "r2plus1d18": 31_505_325 - 400 * 513,
    "r3d18-official": r3d18_official_parameters(),
    "r2plus1d18-official": r2plus1d18_official_parameters(),
}
BATCH_NORM = {  # eps, momentum
    "c3d": (1e-3, 0.025),
    "c3d_large": (1e-3, 0.025),
    "r3d18": (1e-5, 0.1),
    "r3d18-official": (1e-5, 0.003),
    "r2plus1d18": (1e-5, 0.1),
    "r2plus1d18-official": (1e-5, 0.003),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_published_network(name: str) -> None:
    """Shapes of every stage, number of parameters, constants of BatchNorm, and the authors' shortcuts."""
    backbone = meta_backbone(CONFIGS[name])
    assert shapes_of(backbone, *STAGE_SHAPES[name]) == STAGE_SHAPES[name]
    assert sum(parameter.numel() for parameter in backbone.parameters()) == PARAMETERS[name]
    norms = [layer for layer in backbone.modules() if isinstance(layer, BatchNorms)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {BATCH_NORM[name]}
    if name.endswith("official"):
        shortcuts = [
            backbone.get_submodule(f"layer{stage}.{block}.downsample.0") for stage in range(1, 5) for block in (0, 1)
        ]
        assert all(isinstance(layer, nn.Conv3d) and layer.kernel_size == (1, 1, 1) for layer in shortcuts)


def test_c3d_costs_the_known_number_of_operations() -> None:
    """38.5 GFLOP forward a clip, counting a multiply-add as two."""
    backbone = meta_backbone(C3DConfig())
    with FlopCounterMode(display=False) as counter:
        backbone(torch.empty((2, 3, 16, 112, 112), device="meta"))
    assert counter.get_total_flops() / 2 == pytest.approx(38.5e9, rel=0.003)


@every_network
@pytest.mark.parametrize(("crop", "num_frames", "width"), [(112, 16, 1.0), (99, 13, 0.25), (17, 3, 0.1)])
def test_declared_dimensions_hold(config: NetworkConfig, crop: int, num_frames: int, width: float) -> None:
    backbone = meta_backbone(config.model_copy(update={"width": width}), crop=crop, num_frames=num_frames)
    clips = torch.empty((2, 3, num_frames, crop, crop), device="meta")
    conv = backbone.conv_features(clips)
    assert conv.shape == (2, *backbone.conv_dim)
    assert backbone.pooled(conv).shape == (2, backbone.conv_dim[0])
    assert backbone(clips).shape == (2, backbone.feature_dim)


@every_network
def test_the_weights_follow_the_seed(config: NetworkConfig) -> None:
    first, again, other = (narrow(config, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@every_network
def test_only_fully_connected_weights_depend_on_the_crop(config: NetworkConfig) -> None:
    """So networks without them can be evaluated at another crop than they were trained at."""
    small, large = meta_backbone(config, crop=56), meta_backbone(config, crop=112)
    shapes = [{key: value.shape for key, value in net.state_dict().items()} for net in (small, large)]
    differing = {key for key in shapes[0] if shapes[0][key] != shapes[1][key]}
    assert differing == ({"fully_connected.fc1.linear.weight"} if config.kind.startswith("c3d") else set())


@every_network
def test_clips_of_another_shape_are_refused(config: NetworkConfig) -> None:
    backbone = meta_backbone(config, crop=32)
    for shape in [(2, 3, 16, 32, 31), (2, 3, 8, 32, 32), (2, 1, 16, 32, 32), (3, 16, 32, 32)]:
        with pytest.raises(ValueError, match=r"built for \(N, \*\(3, 16, 32, 32\)\)"):
            backbone(torch.empty(shape, device="meta"))


def test_impossible_clip_sizes_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        build_backbone(C3DConfig(), crop=0)
    with pytest.raises(UsageError, match="crop of 4 pixels is too small for r3d18"):
        build_backbone(R3D18Config(variant="official", width=0.1), crop=4)


@every_network
def test_reset_draws_only_fully_connected_layers_anew(config: NetworkConfig) -> None:
    backbone = narrow(config)
    backbone(random_clips())
    backbone = nn.SyncBatchNorm.convert_sync_batchnorm(backbone)  # type: ignore[no-untyped-call]
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.reset_fully_connected()
    for key, value in backbone.state_dict().items():
        fresh = key.startswith("fully_connected.") and not key.endswith(("norm.weight", "norm.bias"))
        assert torch.equal(value, before[key]) != fresh, key
    for key, value in backbone.state_dict().items():
        if key.startswith("fully_connected.") and key.endswith("running_mean"):
            assert not value.any()


@pytest.mark.parametrize("name", ["c3d", "c3d_large", "r3d18-official", "r2plus1d18-official"])
def test_the_authors_networks_start_glorot_uniform(name: str) -> None:
    """As in TF slim: uniform in +-sqrt(6 / (fan_in + fan_out)); the split convolutions' temporal half apart."""
    for key, weight in narrow(CONFIGS[name]).named_parameters():
        if weight.dim() < 2 or key.endswith("temporal.weight"):
            continue
        taps = weight[0, 0].numel()
        bound = (6 / (taps * (weight.shape[0] + weight.shape[1]))) ** 0.5
        assert 0.9 * bound < weight.abs().max().item() <= bound, key
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.15), key


def test_heads_start_as_configured() -> None:
    torch.manual_seed(0)
    normal, default = build_head(2048, 101, "normal"), build_head(2048, 101)
    assert normal.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert not normal.bias.any()
    assert default.weight.abs().max().item() == pytest.approx(2048**-0.5, rel=0.01)
    glorot = build_head(2048, 101, "glorot")
    assert glorot.weight.abs().max().item() == pytest.approx((6 / (2048 + 101)) ** 0.5, rel=0.01)
    assert not glorot.bias.any()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"kind": "c3d", "widht": 0.5}, "did you mean width"),
        ({"kind": "c4d"}, "c3d_large"),
        ({"kind": "c3d", "width": 0}, "width"),
        ({"kind": "c3d", "variant": "official"}, "variant"),
        ({"kind": "r2plus1d18", "classifier_init": "zeros"}, "classifier_init"),
    ],
)
def test_wrong_configs_are_usage_errors(values: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        validate_config(Holder, {"network": values}, "file")
