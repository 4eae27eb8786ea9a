"""The weights of torchvision's networks fit ours by name, and give the same numbers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_networks import random_clips, randomise_norms
from torchvision.models import video as torchvision_video

from stream_train.networks import build_backbone
from stream_train.networks.base import build_head
from stream_train.networks.config import NetworkConfig, R2Plus1D18Config, R3D18Config
from stream_train.training.config import InitTorchvision
from stream_train.training.initial_weights import read_initial


@pytest.mark.parametrize(
    ("config", "reference"),
    [(R3D18Config(), torchvision_video.r3d_18), (R2Plus1D18Config(), torchvision_video.r2plus1d_18)],
    ids=["r3d18", "r2plus1d18"],
)
def test_weights_travel_both_ways_and_give_the_same_numbers(
    config: NetworkConfig, reference: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    original = reference(num_classes=5).eval()
    randomise_norms(original)
    file = tmp_path / "weights.pt"
    torch.save(original.state_dict(), file)
    initial = read_initial(InitTorchvision(kind="torchvision", weights=str(file)), config)
    assert initial.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    backbone = build_backbone(config, crop=24, num_frames=4).eval()
    initial.load_into(backbone)
    head = build_head(backbone.feature_dim, 5)
    head.load_state_dict(original.fc.state_dict())
    clips = random_clips(crop=24, num_frames=4)
    torch.testing.assert_close(head(backbone(clips)), original(clips))
    state = backbone.state_dict() | {f"fc.{key}": value for key, value in head.state_dict().items()}
    with torch.device("meta"):
        copy = reference(num_classes=5)
    copy.load_state_dict(state, strict=True, assign=True)
    assert all(torch.equal(value, original.state_dict()[key]) for key, value in copy.state_dict().items())


def test_weights_start_like_torchvision() -> None:
    torch.manual_seed(0)
    ours = build_backbone(R2Plus1D18Config(), crop=24).state_dict()
    theirs = torchvision_video.r2plus1d_18().state_dict()
    for key, value in ours.items():
        if value.dim() == 5:
            assert value.std().item() == pytest.approx(theirs[key].std().item(), rel=0.1), key
            assert abs(value.mean().item()) < 4 * value.std().item() / value.numel() ** 0.5, key
