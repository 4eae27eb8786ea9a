"""The networks that are judged: which weights an entry gives, and what is said of those that cannot be had."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from helpers_training import run_tiny
from helpers_video_eval import RANDOM, torchvision_file
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file
from torch import Tensor

from eval.judging.config import WeightsConfig
from eval.judging.networks import Network, open_network, pretraining_of
from eval.results.presets import preset_of
from shardify.config import load_config
from shardify.errors import UsageError, WorkError
from stream_train.training.config import PretrainConfig
from stream_train.training.exports import load_backbone, network_config

CROP = 16
pytestmark = pytest.mark.usefixtures("blank_charts")
TORCHVISION = {"kind": "r3d18", "variant": "torchvision"}
MEAN, DEVIATION = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
"""Of Kinetics-400's pixels in [0, 1], as torchvision's transforms for these weights have them."""


@pytest.fixture(scope="module")
def run(world: tuple[Path, Path]) -> Path:
    return world[1]


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return torchvision_file(tmp_path_factory.mktemp("torchvision") / "r3d_18.pth")


def entries(**values: Any) -> dict[str, WeightsConfig]:
    adapter: TypeAdapter[WeightsConfig] = TypeAdapter(WeightsConfig)
    return {name: adapter.validate_python(value) for name, value in values.items()}


def opened(crop: int = CROP, **values: Any) -> Network:
    """The network of the entry `x` among some."""
    return open_network("x", entries(**values), crop=crop)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


# checkpoints


def test_a_run_and_its_export_are_the_same_network(run: Path) -> None:
    file = run / "backbone.safetensors"
    by_folder = opened(x={"kind": "checkpoint", "path": run})
    by_file = opened(x={"kind": "checkpoint", "path": file})
    wanted = load_file(file)
    for network in (by_folder, by_file):
        assert network.weights == hashlib.sha256(file.read_bytes()).hexdigest()
        assert network.config == network_config(load_backbone(file)[1])
        for seed in (0, 1):
            built = network.build(seed)
            assert same(dict(built.state_dict()), wanted)
            assert built.training


def test_copies_share_nothing(run: Path) -> None:
    network = opened(x={"kind": "checkpoint", "path": run})
    first = network.build(0)
    with torch.no_grad():
        for value in first.state_dict().values():
            value.zero_()
    assert same(dict(network.build(0).state_dict()), load_file(run / "backbone.safetensors"))


def test_what_the_weights_learnt_from(run: Path) -> None:
    assert opened(x={"kind": "checkpoint", "path": run}).pretraining == {
        "question": "transformations",
        "data_set": "ucf101-tiny",
        "split": "train1",
        "epochs": 1,
        "step": 4,
        "motions": ["random", "periodic", "warp"],
        "speed_loss": True,
        "changes": {"data.crop": CROP, "data.videos_per_batch": 5, "optimizer.learning_rate": 0.001},
    }


@pytest.mark.parametrize("name", ["c3d_ucf101", "r3d18_kinetics600"])
def test_the_shipped_presets_are_the_paper_s_and_the_authors(name: str) -> None:
    folder = Path(__file__).resolve().parents[3] / "configs" / "pretrain"
    for suffix, preset in (("", "paper"), ("_official", "official")):
        config = load_config(PretrainConfig, folder / f"{name}{suffix}.yaml")
        changes = pretraining_of(config.identity())["changes"]
        assert preset_of(changes) == preset
        assert preset_of(changes | {"optimizer.eps": 1e-3}) is None


@pytest.mark.parametrize(
    ("metadata", "question"),
    [
        ({}, "transformations"),
        ({"task.kind": "transformations"}, "transformations"),
        ({"task.kind": "arrow"}, "pretext_task_arrow"),
        ({"task.kind": "action_labels"}, "action_labels"),
        ({"question.evaluation": "transfer", "question.weights": ""}, "transfer"),
        ({"question.evaluation": "transfer", "question.weights": "12ab"}, "transfer after pre-training"),
    ],
)
def test_labels_alone_are_told_from_labels_after_pretraining(metadata: dict[str, str], question: str) -> None:
    assert pretraining_of(metadata)["question"] == question
    assert "motions" not in pretraining_of(metadata)


def test_the_settings_of_other_pretext_tasks_are_told_from_their_own_defaults() -> None:
    folder = Path(__file__).resolve().parents[3] / "configs" / "pretrain" / "tasks"
    for path in sorted(folder.glob("*.yaml")):
        config = load_config(PretrainConfig, path)
        told = pretraining_of(config.identity())
        if path.stem == "pace":  # the row "Speed" of Table 1, whose batch is 7 videos
            assert (told["question"], told["motions"], told["speed_loss"]) == ("transformations", [], True)
            assert told["changes"] == {"data.videos_per_batch": 28}
        elif path.stem == "action_labels":
            assert (told["question"], "changes" in told) == ("action_labels", False)
        else:
            assert (told["question"], told["changes"]) == (f"pretext_task_{path.stem}", {})
    changed = load_config(PretrainConfig, folder / "shuffle_learn.yaml", ("task.variant=triplet", "data.crop=56"))
    assert pretraining_of(changed.identity())["changes"] == {"task.variant": "triplet", "data.crop": 56}


def test_the_learning_rate_of_labels_is_known() -> None:
    metadata = {"question.evaluation": "transfer", "question.weights": "", "optimizer.learning_rate": 3e-4}
    assert pretraining_of(metadata)["learning_rate"] == 3e-4


def test_a_network_without_them_takes_any_crop(world: tuple[Path, Path], tmp_path: Path) -> None:
    network = {"kind": "r3d18", "width": 0.05}
    run_tiny(world[0], tmp_path / "run", epochs=1, network=network, data__videos_per_batch=16)
    built = opened(32, x={"kind": "checkpoint", "path": tmp_path / "run"}).build(0)
    assert same(dict(built.state_dict()), load_file(tmp_path / "run" / "backbone.safetensors"))
    with torch.inference_mode():
        assert built.eval()(torch.zeros(1, 3, 16, 32, 32)).shape == (1, built.feature_dim)


# random weights


def test_random_weights_follow_the_seed_alone() -> None:
    network = opened(x=RANDOM)
    assert (network.state, network.weights, network.pretraining) == (None, "", None)
    one, again, other = (dict(network.build(seed).state_dict()) for seed in (1, 1, 2))
    assert same(one, again)
    assert (
        not torch.equal(one["conv1.weight"], other["conv1.weight"]) if "conv1.weight" in one else not same(one, other)
    )


def test_what_is_built_next_is_drawn_alike_whatever_the_weights(run: Path) -> None:
    """Heads of a pretrained and of a random network start equal, so that they differ by what was learnt alone."""
    draws = []
    for entry in ({"kind": "checkpoint", "path": run}, {"kind": "random", "like": "other"}):
        opened(x=entry, other={"kind": "checkpoint", "path": run}).build(7)
        draws.append(torch.rand(3))
    assert torch.equal(*draws)


def test_like_takes_the_architecture_and_nothing_else(run: Path) -> None:
    network = opened(x={"kind": "random", "like": "other"}, other={"kind": "checkpoint", "path": run})
    assert network.config == opened(x={"kind": "checkpoint", "path": run}).config
    assert (network.weights, network.pretraining) == ("", None)
    assert not same(dict(network.build(0).state_dict()), load_file(run / "backbone.safetensors"))
    assert opened(x={"kind": "random", "like": "other"}, other=RANDOM).config == opened(x=RANDOM).config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": {"kind": "random", "like": "nobody"}}, "networks has no entry 'nobody'; it has: x"),
        ({"x": {"kind": "random", "like": "x"}}, "networks.x is like x, which names no architecture itself"),
        (
            {"x": {"kind": "random", "like": "y"}, "y": {"kind": "random", "like": "x"}},
            "networks.x is like y, which names no architecture itself",
        ),
        (
            {"x": {"kind": "random", "like": "y"}, "y": {"kind": "trivial", "features": "colour"}},
            "networks.y is colour features without a network",
        ),
        (
            {"x": {"kind": "trivial", "features": "difference"}},
            "they serve retrieval and the linear and knn probes only",
        ),
    ],
)
def test_entries_that_lead_to_no_architecture(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        opened(**values)
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [{}, RANDOM | {"like": "pretrained"}])
def test_random_weights_have_one_architecture(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="only one of them"):
        entries(x={"kind": "random"} | value)


def test_a_crop_too_small_is_said_before_anything_is_trained() -> None:
    with pytest.raises(UsageError, match="a crop of 2 pixels is too small for r3d18"):
        opened(2, x={"kind": "random", "network": {"kind": "r3d18", "variant": "official"}})


# torchvision's weights


@pytest.mark.slow
def test_torchvision_s_state_dict_gives_torchvision_s_features(weights_file: Path) -> None:
    """The last feature of one clip, normalised as torchvision normalises clips."""
    network = opened(16, x={"kind": "torchvision", "network": TORCHVISION, "weights": str(weights_file)})
    assert network.weights == hashlib.sha256(weights_file.read_bytes()).hexdigest()
    assert network.pretraining == {
        "question": "torchvision",
        "data_set": "kinetics400",
        "weights": str(weights_file),
    }
    reference = torchvision.models.video.r3d_18(weights=None)
    reference.load_state_dict(torch.load(weights_file, weights_only=True))
    reference.fc = torch.nn.Identity()
    clips = torch.rand(1, 3, 16, 16, 16) * 2 - 1
    mean, deviation = (torch.tensor(values)[:, None, None, None] for values in (MEAN, DEVIATION))
    with torch.inference_mode():
        features = network.build(0).eval()(clips)
        wanted = reference.eval()(((clips + 1) / 2 - mean) / deviation)
    torch.testing.assert_close(features, wanted, rtol=1e-4, atol=1e-5)
    like = opened(
        16,
        x={"kind": "random", "like": "y"},
        y={"kind": "torchvision", "network": TORCHVISION, "weights": str(weights_file)},
    )
    assert like.config == network.config


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"kind": "r2plus1d18", "variant": "torchvision"}, "stem.0.weight has shape (64, 3, 3, 7, 7), but the network"),
        ({"kind": "r3d18", "variant": "torchvision", "width": 0.5}, "stem.0.weight has shape (64, 3, 3, 7, 7), but "),
        ({"kind": "c3d"}, "has no convolutions.conv1.conv.weight, which the network needs"),
        ({"kind": "r3d18", "variant": "official"}, "stem.0.weight has shape (64, 3, 3, 7, 7), but the network needs"),
    ],
)
def test_torchvision_s_weights_of_another_network(weights_file: Path, network: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        opened(32, x={"kind": "torchvision", "network": network, "weights": str(weights_file)})
    assert str(caught.value).startswith(str(weights_file))
    assert message in str(caught.value)
    assert "r3d_18 for a network of kind r3d18, or that of r2plus1d_18 for kind r2plus1d18" in str(caught.value)
    assert "both with variant torchvision and width 1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_state_dict(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({}, tmp_path / "empty.pth")
    torch.save({"epoch": 3}, tmp_path / "checkpoint.pth")
    torch.save({3: torch.zeros(3)}, tmp_path / "numbered.pth")
    for name, message in (
        ("text", "is no file of weights that torch loads"),
        ("tensor", "holds a Tensor, not a state dict"),
        ("empty", "empty.pth has no stem.0.weight, which the network needs"),
        ("checkpoint", "holds 'epoch' of type int; a state dict holds only names and tensors; write the file with "),
        ("numbered", "holds 3 of type Tensor; a state dict holds only names and tensors"),
    ):
        with pytest.raises(UsageError if name == "empty" else WorkError, match=message) as caught:
            opened(16, x={"kind": "torchvision", "network": TORCHVISION, "weights": str(tmp_path / f"{name}.pth")})
        assert "\n" not in str(caught.value)
