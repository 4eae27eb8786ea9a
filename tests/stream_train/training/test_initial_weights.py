"""Runs that begin with weights: which weights, what the run records, exact resume, refusals."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_training import assert_same_run, run_tiny, tiny_config
from safetensors.torch import save_file
from torch import Tensor

from shardify.config import override_values
from shardify.errors import UsageError, WorkError
from stream_train.networks import build_backbone
from stream_train.networks.base import BEHIND_CONVOLUTIONS, Backbone
from stream_train.networks.config import C3DConfig, NetworkConfig, R3D18Config
from stream_train.training.config import InitCheckpoint, InitSafetensors
from stream_train.training.exports import export_weights, load_backbone
from stream_train.training.initial_weights import InitialWeights, read_initial, renamed
from stream_train.training.run import Run, build_run

TINY = C3DConfig(width=0.05)


def tiny_backbone(seed: int = 5, crop: int = 16) -> Backbone:
    torch.manual_seed(seed)
    return build_backbone(TINY, crop=crop)


def assert_equal_state(backbone: Backbone, state: dict[str, Tensor]) -> None:
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The backbone's weights with which each run began."""
    states: list[dict[str, Tensor]] = []
    build = build_run

    def build_and_note(*arguments: Any, **named: Any) -> Run:
        run = build(*arguments, **named)
        states.append({name: value.clone() for name, value in run.model.backbone.state_dict().items()})
        return run

    monkeypatch.setattr("stream_train.training.loop.build_run", build_and_note)
    return states


def test_a_run_begins_with_another_run_s_weights_records_them_and_continues_exactly(
    whole_run: Path, small_dataset: Path, tmp_path: Path, begun: list[dict[str, Tensor]]
) -> None:
    file = whole_run / "backbone.safetensors"
    once = tmp_path / "once"
    said = run_tiny(small_dataset, once, init={"path": str(whole_run)})
    assert f"the network begins with {file}" in said
    assert_equal_state(load_backbone(file)[0], begun[0])
    _, metadata = load_backbone(once / "backbone.safetensors")
    assert metadata["init.digest"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert metadata["init.kind"] == "checkpoint"
    copy = tmp_path / "moved.safetensors"
    copy.write_bytes(file.read_bytes())
    (once / "checkpoint-00000010.pt").unlink()
    run_tiny(small_dataset, once, init={"path": str(copy)})  # the same bytes at another location
    twice = tmp_path / "twice"
    run_tiny(small_dataset, twice, init={"path": str(copy)})
    assert_same_run(once, twice)


def test_a_run_does_not_continue_with_other_initial_weights(
    whole_run: Path, small_dataset: Path, tmp_path: Path
) -> None:
    save_file(tiny_backbone().state_dict(), tmp_path / "other.safetensors")
    out = tmp_path / "run"
    run_tiny(small_dataset, out, init={"path": str(whole_run)})
    with pytest.raises(UsageError, match=r"init.digest was .* now .*init.kind was 'checkpoint', now 'safetensors'"):
        run_tiny(small_dataset, out, init={"kind": "safetensors", "path": str(tmp_path / "other.safetensors")})
    with pytest.raises(UsageError, match=r"init.digest was .*, now not set"):
        run_tiny(small_dataset, out)


def test_names_of_another_program_are_mapped(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    foreign = {f"encoder.{name}": value for name, value in backbone.state_dict().items()} | {"head.bias": torch.ones(3)}
    save_file(foreign, tmp_path / "foreign.safetensors")
    rename = {"^encoder[.]": "", "^head[.].*": ""}
    config = InitSafetensors(kind="safetensors", path=str(tmp_path / "foreign.safetensors"), rename=rename)
    fresh = tiny_backbone(seed=6)
    read_initial(config, TINY).load_into(fresh)
    assert_equal_state(fresh, backbone.state_dict())
    unmapped = config.model_copy(update={"rename": {"^encoder[.]": ""}})
    with pytest.raises(UsageError, match=r"foreign.safetensors holds head.bias, which the network does not have"):
        read_initial(unmapped, TINY).load_into(fresh)


def test_convolutions_alone_serve_a_network_for_another_crop() -> None:
    backbone, larger = tiny_backbone(), tiny_backbone(seed=6, crop=48)
    before = {name: value.clone() for name, value in larger.state_dict().items()}
    weights = InitialWeights(state=backbone.state_dict(), digest="", origin="the file")
    with pytest.raises(UsageError, match=r"the file: fully_connected.fc1.linear.weight has shape .*init.parts"):
        weights.load_into(larger)
    replace(weights, convolutions_only=True).load_into(larger)
    for name, value in larger.state_dict().items():
        is_behind = name.startswith(BEHIND_CONVOLUTIONS)
        assert torch.equal(value, (before if is_behind else backbone.state_dict())[name])


@pytest.mark.parametrize(
    ("network", "crop"), [(C3DConfig(width=0.1), 16), (R3D18Config(width=0.05, variant="official"), 16), (TINY, 48)]
)
def test_an_export_that_does_not_fit_names_the_settings_that_do(
    network: NetworkConfig, crop: int, tmp_path: Path
) -> None:
    path, metadata = tmp_path / "backbone.safetensors", {"network": TINY.model_dump(), "crop": 16, "num_frames": 16}
    frame_size = {"data_set.height": 24, "data_set.width": 32}
    export_weights(path, tiny_backbone(), metadata | frame_size)
    initial = read_initial(InitCheckpoint(path=str(path)), network)
    with pytest.raises(UsageError, match=r"the file fits --set .*; with another crop, .*init.parts=convo") as caught:
        initial.load_into(build_backbone(network, crop=crop))
    words = shlex.split(
        str(caught.value)
        .partition("the file fits ")[2]
        .partition(" (and data.resize=[24,32], unless the frames have that size);")[0]
    )
    values = override_values({"network": network.model_dump(), "data": {"crop": crop}}, words[1::2])
    assert values == {"network": {"kind": "c3d", "width": 0.05}, "data": {"crop": 16}}


def test_an_export_without_fully_connected_layers_fits_any_crop(tmp_path: Path) -> None:
    network = R3D18Config(width=0.05)
    path, metadata = tmp_path / "backbone.safetensors", {"network": network.model_dump(), "crop": 16, "num_frames": 16}
    export_weights(path, build_backbone(network, crop=16), metadata)
    with pytest.raises(UsageError, match=r"the file fits --set 'network=\{kind: r3d18, width: 0.05\}'$"):
        read_initial(InitCheckpoint(path=str(path)), TINY).load_into(tiny_backbone())


def test_a_first_mismatch_is_named_and_nothing_is_loaded() -> None:
    backbone, good = tiny_backbone(seed=6), dict(tiny_backbone().state_dict())
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    *_, name = good
    mismatches = [
        ({key: value for key, value in good.items() if key != name}, f"the file has no {name}, which the network nee"),
        (good | {name: torch.zeros(1, 2, 3)}, rf"the file: {name} has shape \(1, 2, 3\), but the network needs \("),
        (good | {"layer5.weight": torch.zeros(1)}, r"the file holds layer5\.weight, which the network does not have"),
    ]
    for state, message in mismatches:
        with pytest.raises(UsageError, match=message):
            InitialWeights(state=state, digest="", origin="the file").load_into(backbone)
    assert_equal_state(backbone, before)


@pytest.mark.parametrize(
    ("rename", "words"),
    [({"(": ""}, "init.rename: '\\('"), ({"a": "\\2"}, "init.rename: 'a'"), ({".": "x"}, "two tensors the name x")],
)
def test_a_wrong_mapping_is_refused(rename: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        renamed({"a": torch.ones(1), "b": torch.ones(1)}, rename)


def test_files_that_are_absent_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"init.path = .*nowhere: there is no file .*; give a run .* when it is finished"
    ):
        read_initial(InitCheckpoint(path=str(tmp_path / "nowhere")), TINY)
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(WorkError, match=r"bad.safetensors is damaged, or no safetensors"):
        read_initial(InitSafetensors(kind="safetensors", path=str(tmp_path / "bad.safetensors")), TINY)


def test_the_usual_kind_needs_no_name(small_dataset: Path, tmp_path: Path) -> None:
    assert tiny_config(small_dataset, tmp_path, init={"path": "runs/x"}).init == InitCheckpoint(path="runs/x")
