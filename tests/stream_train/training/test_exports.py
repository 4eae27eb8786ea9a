"""Exports of networks: they load again, and what is none says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from shardify.errors import UsageError, WorkError
from stream_train.networks import build_backbone
from stream_train.networks.config import C3DConfig
from stream_train.training.exports import export_weights, load_backbone, read_metadata


def test_an_exported_backbone_gives_the_same_features(tmp_path: Path) -> None:
    config = C3DConfig(width=0.05)
    backbone = build_backbone(config, crop=16).to(memory_format=torch.channels_last_3d)
    clips = torch.randn(3, 3, 16, 16, 16)
    backbone(clips)  # moves BatchNorm's statistics away from where they start
    path = tmp_path / "backbone.safetensors"
    export_weights(path, backbone, {"network": config.model_dump(mode="json"), "crop": 16, "num_frames": 16, "step": 3})
    again, metadata = load_backbone(path)
    assert not again.training
    assert metadata["step"] == 3
    with torch.inference_mode():
        torch.testing.assert_close(again(clips), backbone.eval()(clips))  # other memory formats sum in other orders
    (tmp_path / "ordinary").touch()
    assert path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_exports_that_cannot_be_loaded_say_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file .*give the backbone\.safetensors"):
        load_backbone(tmp_path / "backbone.safetensors")
    export_weights(tmp_path / "other.safetensors", torch.nn.Linear(2, 2), {})
    with pytest.raises(WorkError, match=r"was not exported by this program"):
        load_backbone(tmp_path / "other.safetensors")
    config = C3DConfig(width=0.05)
    path = tmp_path / "cut.safetensors"
    metadata = {"network": config.model_dump(mode="json"), "crop": 16, "num_frames": 16}
    export_weights(path, build_backbone(config, crop=16), metadata)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WorkError, match="is damaged"):
        load_backbone(path)


def test_metadata_is_read_without_the_weights(tmp_path: Path) -> None:
    assert read_metadata(tmp_path) == {}
    path = tmp_path / "backbone.safetensors"
    export_weights(path, torch.nn.Linear(2, 2), {"step": 3})
    assert read_metadata(tmp_path) == {"step": 3}
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[:40], b"\xff" * 100, b"\x02" + bytes(7) + b"{}"):
        path.write_bytes(damaged)
        with pytest.raises(WorkError, match=r"backbone\.safetensors is damaged"):
            read_metadata(tmp_path)
