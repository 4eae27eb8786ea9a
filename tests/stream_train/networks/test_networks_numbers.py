"""What the networks compute, against references written out operation by operation."""

from __future__ import annotations

import pytest
import torch
from helpers_networks import every_network, narrow, random_clips, randomise_norms
from torch import Tensor
from torch.nn import functional as F

from stream_train.networks.base import Backbone, build_head
from stream_train.networks.config import C3DConfig, NetworkConfig, R2Plus1D18Config, R3D18Config


def apply_norm(x: Tensor, state: dict[str, Tensor], name: str, *, eps: float) -> Tensor:
    """BatchNorm in eval mode, written out."""
    shape = (1, -1) + (1,) * (x.dim() - 2)
    mean, var, scale, shift = (
        state[f"{name}.{part}"].reshape(shape) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + eps).sqrt() * scale + shift


def test_c3d_equals_a_functional_reference() -> None:
    backbone = narrow(C3DConfig(), crop=28).eval()
    randomise_norms(backbone)
    state = backbone.state_dict()
    x = clips = random_clips(crop=28)
    for stage in range(1, 6):
        name = f"convolutions.conv{stage}"
        x = F.relu(apply_norm(F.conv3d(x, state[f"{name}.conv.weight"], padding=1), state, f"{name}.norm", eps=0.001))
        time = 1 if stage == 1 else 2
        pad = [-x.shape[4] % 2, -x.shape[3] % 2, -x.shape[2] % time]  # ceil mode: a last, partial window is kept
        x = F.max_pool3d(F.pad(x, (0, pad[0], 0, pad[1], 0, pad[2]), value=-torch.inf), (time, 2, 2))
    assert x.shape == (2, 32, 1, 1, 1)
    torch.testing.assert_close(backbone.conv_features(clips), x)
    x = x.reshape(2, -1)
    for name in ("fully_connected.fc1", "fully_connected.fc2"):
        x = F.relu(apply_norm(x @ state[f"{name}.linear.weight"].T, state, f"{name}.norm", eps=0.001))
    torch.testing.assert_close(backbone(clips), x)


def official_reference(state: dict[str, Tensor], clips: Tensor, kernels: str) -> Tensor:
    """The authors' ResNets as their code reads, one line an operation; `kernels` names the kind of the four stages.

    Kinds: 2 = 1x3x3, 3 = 3x3x3, s = split into 1x3x3, ReLU, 3x1x1.
    """

    def conv(x: Tensor, name: str, kind: str, stride: int) -> Tensor:
        if kind == "s":
            x = F.conv3d(x, state[f"{name}.spatial.weight"], stride=(1, stride, stride), padding=(0, 1, 1))
            return F.conv3d(F.relu(x), state[f"{name}.temporal.weight"], stride=(stride, 1, 1), padding=(1, 0, 0))
        time = kind == "3"
        return F.conv3d(
            x, state[f"{name}.weight"], stride=(stride if time else 1, stride, stride), padding=(int(time), 1, 1)
        )

    def norm(x: Tensor, name: str) -> Tensor:
        return apply_norm(x, state, name, eps=1e-5)

    if kernels == "ssss":
        x = F.conv3d(clips, state["stem.0.spatial.weight"], stride=(1, 2, 2), padding=(0, 3, 3))
        x = F.conv3d(F.relu(x), state["stem.0.temporal.weight"], padding=(1, 0, 0))
        x = F.relu(norm(x, "stem.1"))
    else:
        x = F.conv3d(clips, state["stem.0.weight"], stride=(1, 2, 2), padding=(0, 3, 3))
        x = F.max_pool3d(F.relu(norm(x, "stem.1")), (1, 3, 3), stride=(1, 2, 2))
    for stage, kind in enumerate(kernels, start=1):
        for block in (0, 1):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = F.relu(norm(conv(x, f"{name}.conv1.0", kind, stride), f"{name}.conv1.1"))
            out = norm(conv(out, f"{name}.conv2.0", kind, 1), f"{name}.conv2.1")
            strides = (1 if kind == "2" else stride, stride, stride)
            shortcut = F.conv3d(x, state[f"{name}.downsample.0.weight"], stride=strides)
            x = F.relu(out + norm(shortcut, f"{name}.downsample.1"))
    features = x.mean(dim=(2, 3, 4))
    return norm(features, "feature_norm") if kernels == "ssss" else features


@pytest.mark.parametrize(
    ("config", "kernels"),
    [(R3D18Config(variant="official"), "2233"), (R2Plus1D18Config(variant="official"), "ssss")],
    ids=["r3d18", "r2plus1d18"],
)
def test_official_networks_equal_a_functional_reference(config: NetworkConfig, kernels: str) -> None:
    backbone = narrow(config, crop=40).eval()
    randomise_norms(backbone)
    for name, parameter in backbone.named_parameters():
        if name.endswith("temporal.weight"):
            parameter.data.add_(0.1 * torch.randn(parameter.shape))  # away from the identity
    clips = random_clips(crop=40)
    expected = official_reference(backbone.state_dict(), clips, kernels)
    torch.testing.assert_close(backbone(clips), expected, atol=1e-4, rtol=1e-4)


@every_network
def test_forward_is_its_two_halves_in_any_memory_format(config: NetworkConfig) -> None:
    backbone = narrow(config).eval()
    randomise_norms(backbone)
    clips = random_clips()
    conv, features = backbone.conv_features(clips), backbone(clips)
    assert torch.equal(features, backbone.features_from_conv(conv))
    torch.testing.assert_close(backbone.pooled(conv), conv.flatten(2).mean(dim=2))
    backbone = backbone.to(memory_format=torch.channels_last_3d)
    clips = clips.to(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(backbone(clips), features, atol=1e-4, rtol=1e-4)


@every_network
def test_every_parameter_learns(config: NetworkConfig) -> None:
    backbone = narrow(config)
    head = build_head(backbone.feature_dim, 4)
    loss = F.cross_entropy(head(backbone(random_clips(num_clips=4))), torch.arange(4))
    torch.autograd.backward(loss)
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool((parameter.grad != 0).any()), name


def changed_frames(backbone: Backbone, layer: str, frame: int) -> list[int]:
    """Which frames of a layer's output change when one input frame does, in eval mode."""
    outputs: list[Tensor] = []
    backbone.eval().get_submodule(layer).register_forward_hook(lambda _m, _i, output: outputs.append(output.clone()))
    clips = random_clips(num_clips=1)
    backbone(clips)
    clips[:, :, frame] += 0.5
    backbone(clips)
    difference = (outputs[1] - outputs[0]).abs().amax(dim=(0, 1, 3, 4))
    return difference.nonzero().flatten().tolist()


def test_the_official_r3d18_mixes_frames_from_its_third_stage_on() -> None:
    config = R3D18Config(variant="official")
    assert changed_frames(narrow(config), "layer2", 5) == [5]
    assert changed_frames(narrow(config), "layer3", 5) == [0, 1, 2, 3, 4, 5, 6]  # of 8
    assert changed_frames(narrow(R3D18Config()), "stem", 5) == [4, 5, 6]


def test_the_official_r2plus1d_starts_without_mixing_frames() -> None:
    """Identity in time: a frame reaches its own place only, and those that the strides of 2 skip reach nothing."""
    config = R2Plus1D18Config(variant="official")
    assert changed_frames(narrow(config), "layer1", 5) == [5]
    assert changed_frames(narrow(config), "layer4", 5) == []
    assert changed_frames(narrow(config), "layer4", 8) == [1]
    backbone = narrow(config)
    temporal = {name: value for name, value in backbone.named_parameters() if name.endswith("temporal.weight")}
    assert len(temporal) == 17
    for weight in temporal.values():
        assert torch.equal(weight[:, :, 1, 0, 0], torch.eye(weight.shape[0]))
        assert int(weight.count_nonzero()) == weight.shape[0]


def test_the_official_r2plus1d_normalises_its_features() -> None:
    backbone = narrow(R2Plus1D18Config(variant="official"))
    clips = random_clips(num_clips=8)
    features = backbone(clips)
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(backbone.feature_dim), atol=1e-4, rtol=0)
    pooled = backbone.pooled(backbone.conv_features(clips))
    assert pooled.min() >= 0
