"""Weights in torchvision's names, in and out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers_networks import meta_backbone, random_clips, randomise_norms
from torchvision.models import video as torchvision_video

from shardify.errors import UsageError, WorkError
from stream_train.networks import build_backbone
from stream_train.networks.base import build_head
from stream_train.networks.config import C3DConfig, NetworkConfig, R2Plus1D18Config, R3D18Config
from stream_train.networks.torchvision_weights import load_torchvision, to_torchvision

torchvision_shaped = pytest.mark.parametrize(
    ("config", "reference"),
    [(R3D18Config(), torchvision_video.r3d_18), (R2Plus1D18Config(), torchvision_video.r2plus1d_18)],
    ids=["r3d18", "r2plus1d18"],
)


@torchvision_shaped
def test_weights_travel_both_ways_and_give_the_same_numbers(config: NetworkConfig, reference: Any) -> None:
    torch.manual_seed(0)
    original = reference(num_classes=5).eval()
    randomise_norms(original)
    backbone = build_backbone(config, crop=24, num_frames=4).eval()
    load_torchvision(backbone, original.state_dict())
    head = build_head(backbone.feature_dim, 5)
    head.load_state_dict(original.fc.state_dict())
    clips = random_clips(crop=24, num_frames=4)
    torch.testing.assert_close(head(backbone(clips)), original(clips))
    state = to_torchvision(backbone, head)
    with torch.device("meta"):
        copy = reference(num_classes=5)
    copy.load_state_dict(state, strict=True, assign=True)
    assert all(torch.equal(value, original.state_dict()[key]) for key, value in copy.state_dict().items())
    state["stem.0.weight"].zero_()
    assert bool((backbone.state_dict()["stem.0.weight"] != 0).any()), "the state dict must not share memory"


def test_weights_start_like_torchvision() -> None:
    torch.manual_seed(0)
    ours = build_backbone(R2Plus1D18Config(), crop=24).state_dict()
    theirs = torchvision_video.r2plus1d_18().state_dict()
    for key, value in ours.items():
        if value.dim() == 5:
            assert value.std().item() == pytest.approx(theirs[key].std().item(), rel=0.1), key
            assert abs(value.mean().item()) < 4 * value.std().item() / value.numel() ** 0.5, key


def test_a_first_mismatch_is_named_and_nothing_is_loaded() -> None:
    backbone = build_backbone(R3D18Config(), crop=24)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    good = {key: torch.zeros_like(value) for key, value in before.items()}
    wrong_shape = good | {"layer2.0.conv1.0.weight": torch.zeros(1, 2, 3)}
    missing = {key: value for key, value in good.items() if not key.startswith("layer3")}
    mismatches: list[tuple[dict[str, Any], str]] = [
        (wrong_shape, r"layer2\.0\.conv1\.0\.weight has shape \(1, 2, 3\), but r3d_18 needs \(128, 64, 3, 3, 3\)"),
        (missing, r"no layer3\.0\.conv1\.0\.weight, which r3d_18 needs"),
        (good | {"layer5.weight": torch.zeros(1)}, r"layer5\.weight, which r3d_18 does not have"),
        (good | {"stem.1.bias": "text"}, r"stem\.1\.bias is a str, not a tensor"),
    ]
    for state, message in mismatches:
        with pytest.raises(WorkError, match=message):
            load_torchvision(backbone, state)
    assert all(torch.equal(backbone.state_dict()[key], value) for key, value in before.items())
    with torch.device("meta"):
        other = torchvision_video.r2plus1d_18().state_dict()
    with pytest.raises(WorkError, match=r"give the state dict of torchvision\.models\.video\.r3d_18"):
        load_torchvision(backbone, other)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (C3DConfig(), "a C3D cannot"),
        (R3D18Config(width=0.5), "a ResNet18 of another variant or width cannot"),
        (R3D18Config(variant="official"), "a ResNet18 of another variant or width cannot"),
        (R2Plus1D18Config(variant="official"), "a ResNet18 of another variant or width cannot"),
    ],
)
def test_other_networks_exchange_nothing_with_torchvision(config: NetworkConfig, named: str) -> None:
    backbone = meta_backbone(config)
    with pytest.raises(UsageError, match=named):
        to_torchvision(backbone)
    with pytest.raises(UsageError, match=named):
        load_torchvision(backbone, {})


def test_a_head_of_other_features_is_not_exported() -> None:
    with pytest.raises(UsageError, match="reads 100 features, but the fc of r3d_18 reads 512"):
        to_torchvision(build_backbone(R3D18Config(), crop=24), build_head(100, 5))
