"""Networks with new classifiers: what is new, what is restored, what is frozen, and what pairs of clips become."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from helpers_networks import CONFIGS, BatchNorms, narrow, random_clips, randomise_norms
from torch import Tensor, nn

from eval.evaluations.sync_rows import SyncTask
from eval.judging.models import JudgedModel
from eval.judging.networks import Network
from stream_train.networks.base import Backbone
from stream_train.tasks.base import ClipTask, HeadWidth

NAMES = ("c3d", "r3d18", "r3d18-official", "r2plus1d18-official")
every_kind = pytest.mark.parametrize("name", NAMES)
HEADS = {"one": 5, "other": 3}


class TwoQuestions(SyncTask):
    """Two linear heads, on clips or on pairs of clips."""

    pairs: bool = False

    def build_heads(self, width: HeadWidth) -> dict[str, nn.Module]:
        return {name: width.linear(size) for name, size in HEADS.items()}

    def merge_maps(self, maps: Tensor) -> Tensor:
        return super().merge_maps(maps) if self.pairs else maps


class PairQuestions(TwoQuestions):
    """On pairs."""

    pairs = True


SINGLE, PAIRS = TwoQuestions(stride=1), PairQuestions(stride=1)


def pretrained(name: str) -> Backbone:
    """A narrow network whose every weight and statistic differs from a new one's."""
    backbone = narrow(CONFIGS[name], seed=7)
    randomise_norms(backbone)
    return backbone


def judged(name: str, task: ClipTask = SINGLE, seed: int = 0, **changes: Any) -> JudgedModel:
    backbone = pretrained(name)
    torch.manual_seed(seed)
    options: dict[str, Any] = {"new_fully_connected": True, "frozen": False} | changes
    return JudgedModel(backbone, CONFIGS[name], task, **options)


def state_of(modules: list[nn.Module]) -> list[Tensor]:
    return [tensor for module in modules for tensor in module.state_dict().values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    assert len(one) == len(other) > 0
    return all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


# What is new


@every_kind
@pytest.mark.parametrize("new_fully_connected", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_convolutions_are_restored(name: str, new_fully_connected: bool, frozen: bool) -> None:
    """Weights and BatchNorm statistics, bit by bit."""
    original = pretrained(name)
    model = judged(name, new_fully_connected=new_fully_connected, frozen=frozen)
    assert same(state_of(original.convolutional_parts()), state_of(model.backbone.convolutional_parts()))
    clips = random_clips()
    with torch.no_grad():
        assert torch.equal(model.eval().conv_features(clips), original.eval().conv_features(clips))


def test_fully_connected_layers_of_c3d_are_drawn_anew() -> None:
    """Weights, and BatchNorm as if it had seen nothing; or else they stay."""
    kept, new, again, other = (
        judged("c3d", new_fully_connected=new_fully_connected, seed=seed)
        for new_fully_connected, seed in ((False, 0), (True, 0), (True, 0), (True, 1))
    )
    layers = [model.backbone.fully_connected for model in (kept, new, again, other)]
    original = pretrained("c3d").fully_connected
    assert original is not None
    assert all(isinstance(layer, nn.Sequential) for layer in layers)
    states = [layer.state_dict() for layer in layers if layer is not None]
    for name, value in original.state_dict().items():
        assert torch.equal(states[0][name], value)
        assert torch.equal(states[1][name], states[2][name])
        if "tracked" not in name:
            assert not torch.equal(states[1][name], value), name
        if "linear" in name:
            assert not torch.equal(states[1][name], states[3][name])
            bound = (6 / sum(value.shape)) ** 0.5  # Glorot: uniform in +-sqrt(6 / (in + out))
            assert 0.9 * bound < states[1][name].abs().max() <= bound
    for number in (1, 2):
        assert not states[1][f"fc{number}.norm.running_mean"].any()
        assert not states[1][f"fc{number}.norm.bias"].any()
        assert (states[1][f"fc{number}.norm.weight"] == 1).all()
        assert (states[1][f"fc{number}.norm.running_var"] == 1).all()
    assert all(model.added is None for model in (kept, new))


@pytest.mark.parametrize(
    ("name", "conv_dim"),
    [("r3d18", (64, 2, 1, 1)), ("r3d18-official", (64, 4, 1, 1)), ("r2plus1d18-official", (64, 2, 1, 1))],
)
def test_networks_without_fully_connected_layers_get_two(name: str, conv_dim: tuple[int, ...]) -> None:
    """On all of the last convolution's output, 64 channels of these narrow networks; with 4 * 64 units each."""
    model = judged(name)
    assert model.backbone.conv_dim == conv_dim
    assert model.added is not None
    shapes = [tuple(layer.weight.shape) for layer in model.added.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(256, math.prod(conv_dim)), (256, 256)]
    for layer in model.added.modules():
        if isinstance(layer, nn.Linear):  # Glorot, as C3D's
            bound = (6 / sum(layer.weight.shape)) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound
    kinds = [type(layer) for layer in model.added.modules() if not isinstance(layer, nn.Sequential)]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2
    assert {head.in_features for head in model.heads.values() if isinstance(head, nn.Linear)} == {256}
    constants = {(layer.eps, layer.momentum) for layer in model.added.modules() if isinstance(layer, nn.BatchNorm1d)}
    assert constants == {(1e-3, 0.025)}  # as C3D's own
    clips = random_clips(3)
    conv = model.eval().conv_features(clips)
    features = model.added(conv.flatten(start_dim=1))
    assert torch.equal(model(clips)["one"], model.heads["one"](features))
    plain = judged(name, new_fully_connected=False)
    assert plain.added is None
    assert torch.equal(plain.eval().features_from_conv(plain.conv_features(clips)), plain.backbone(clips))


@every_kind
def test_equal_seeds_give_equal_new_layers(name: str) -> None:
    """Whatever the weights of the network, so that networks are compared with the same draws."""
    backbone, config = pretrained(name), CONFIGS[name].model_copy(update={"width": 0.125})
    networks = [
        Network(name="any", config=config, crop=16, state=state, weights="", pretraining=None)
        for state in (None, backbone.state_dict())
    ]
    for new_fully_connected in (False, True):
        options: dict[str, Any] = {"new_fully_connected": new_fully_connected, "frozen": False}
        models = [JudgedModel(network.build(5), config, SINGLE, **options) for network in networks]
        assert same(state_of([models[0].heads]), state_of([models[1].heads]))
        parts = [model.added or model.backbone.fully_connected for model in models]
        if new_fully_connected:
            assert parts[0] is not None
            assert parts[1] is not None
            assert same(state_of([parts[0]]), state_of([parts[1]]))
        convs = [state_of(model.backbone.convolutional_parts()) for model in models]
        assert not same(*convs)
        assert same(convs[1], state_of(backbone.convolutional_parts()))
        other = JudgedModel(networks[0].build(6), config, SINGLE, **options)
        assert not same(state_of([models[0].heads]), state_of([other.heads]))


# What is frozen


def norms_below(modules: list[nn.Module]) -> list[nn.Module]:
    return [layer for module in modules for layer in module.modules() if isinstance(layer, BatchNorms)]


@every_kind
@pytest.mark.parametrize(("frozen_norm", "trains"), [("evaluation", False), ("training", True)])
def test_modes_of_frozen_convolutions(name: str, frozen_norm: str, trains: bool) -> None:
    """Whenever the model is put into training mode, also after a judgement."""
    model = judged(name, frozen=True, frozen_norm=frozen_norm)
    convolutional = norms_below(model.backbone.convolutional_parts())
    new = [layer for layer in norms_below([model]) if layer not in convolutional]
    assert new
    for _ in range(2):
        assert all(layer.training == trains for layer in convolutional)
        assert all(layer.training for layer in new)
        assert model.training
        model.eval()
        assert not any(layer.training for layer in convolutional + new)
        assert model.train() is model


@every_kind
@pytest.mark.parametrize("task", [SINGLE, PAIRS])
@pytest.mark.parametrize("new_fully_connected", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_whatever_is_to_be_trained_has_a_gradient(
    name: str, task: ClipTask, new_fully_connected: bool, frozen: bool
) -> None:
    """And nothing else: over several processes, a parameter without one would stop the second step."""
    model = judged(name, task, new_fully_connected=new_fully_connected, frozen=frozen)
    outputs = model(random_clips(8))
    torch.autograd.backward(sum(output.square().sum() for output in outputs.values()))
    convolutional = {id(p) for module in model.backbone.convolutional_parts() for p in module.parameters()}
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.any() or parameter.ndim == 1, parameter_name
        else:
            assert parameter.grad is None
            assert id(parameter) in convolutional or "feature_norm" in parameter_name
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert trained.isdisjoint(convolutional) if frozen else convolutional <= trained
    assert {id(p) for p in model.heads.parameters()} <= trained
    if not new_fully_connected:
        assert all(p.requires_grad for n, p in model.named_parameters() if "feature_norm" in n)


def test_gradients_pass_through_frozen_convolutions_only_if_they_are_not_frozen() -> None:
    clips = random_clips().requires_grad_()
    assert not judged("c3d", frozen=True).conv_features(clips).requires_grad
    assert judged("c3d").conv_features(clips).requires_grad
    with torch.no_grad():
        assert not judged("c3d").conv_features(clips).requires_grad


# Pairs


@every_kind
@pytest.mark.parametrize("new_fully_connected", [False, True])
def test_pairs_are_subtracted_behind_the_last_convolution(name: str, new_fully_connected: bool) -> None:
    """One clip after the other through a copy of the network, subtracted, through the layers behind."""
    model = judged(name, PAIRS, new_fully_connected=new_fully_connected).eval()
    clips = random_clips(6)
    backbone = copy.deepcopy(model.backbone)
    conv = [backbone.conv_features(clip[None]) for clip in clips]
    for head, size in HEADS.items():
        expected = []
        for first, second in ((0, 1), (2, 3), (4, 5)):
            difference = conv[first] - conv[second]
            behind = backbone.features_from_conv if model.added is None else model.added
            features = behind(difference if model.added is None else difference.flatten(start_dim=1))
            expected.append(model.heads[head](features))
        found = model(clips)[head]
        assert found.shape == (3, size)
        assert torch.allclose(found, torch.cat(expected), atol=1e-4)
        assert found.std() > 1e-3  # the three pairs are told apart
