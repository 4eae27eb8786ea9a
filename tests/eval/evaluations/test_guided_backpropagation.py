"""Guided backpropagation against loops and hooks, leaving no trace in the network; the paper's maps by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers_networks import every_network, narrow, random_clips, randomise_norms
from torch import Tensor, nn

from eval.evaluations.guided_backpropagation import guided_gradient, saliency_maps
from stream_train.networks.base import build_head
from stream_train.networks.config import C3DConfig, NetworkConfig

Place = tuple[int, int, int, int]


class Classifier(nn.Module):
    """A narrow backbone of the project with a head, BatchNorm as after training."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.backbone = narrow(config)
        self.head = build_head(self.backbone.feature_dim, 5)
        randomise_norms(self)

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(clips))
        return logits


class HookedReLU(nn.Module):
    """Guided backpropagation the other way: a ReLU out of place, with a hook on the gradient of what it returns."""

    def forward(self, values: Tensor) -> Tensor:
        result = values.relu()
        if result.requires_grad:
            result.register_hook(lambda gradient: gradient.clamp(min=0))  # type: ignore[no-untyped-call]
        return result


def hooked_copy(model: nn.Module) -> nn.Module:
    """A copy with all its ReLUs replaced by hooked ones, in evaluation mode."""
    hooked = copy.deepcopy(model).eval()
    for layer in list(hooked.modules()):
        for name, child in list(layer.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(layer, name, HookedReLU())
    return hooked


def hooked_gradient(model: nn.Module, clips: Tensor) -> Tensor:
    inputs = clips.clone().requires_grad_()
    winning = hooked_copy(model)(inputs).amax(dim=1)
    (gradient,) = torch.autograd.grad(winning.sum(), inputs)
    return gradient


# By hand


def dense_net(*weights: list[list[float]]) -> nn.Sequential:
    """Linear layers without biases and in-place ReLUs between them, on clips of 3 x 1 x 1 x 1 values."""
    layers: list[nn.Module] = [nn.Flatten()]
    for rows in weights:
        linear = nn.Linear(len(rows[0]), len(rows), bias=False)
        linear.weight.data = torch.tensor(rows)
        layers += [linear, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def clip_of(*colours: float) -> Tensor:
    return torch.tensor(colours, dtype=torch.float32).reshape(1, 3, 1, 1, 1)


FIRST = [[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [-1.0, 0.0, 0.0]]
SECOND = [[2.0, -1.0, 5.0], [-1.0, 1.0, 1.0]]


def test_two_layers_by_hand() -> None:
    """Hidden 3, 3, -1; logits 2*3 - 3 = 3 and -3 + 3 = 0; the winner's weights are 2, -1, 5.

    The first unit passes, the second has a negative gradient, the third a negative input. Plain backpropagation would
    give 2, 0, -1.
    """
    net = dense_net(FIRST, SECOND)
    clip = clip_of(1, 2, -1)
    assert net(clip).tolist() == [[3.0, 0.0]]
    assert guided_gradient(net, clip).flatten().tolist() == [2.0, 2.0, 0.0]
    assert guided_gradient(net, clip, target=1).flatten().tolist() == [0.0, 2.0, 1.0]


def test_an_input_of_exactly_zero_passes_nothing() -> None:
    net = dense_net([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]])
    assert guided_gradient(net, clip_of(0, 1, 0)).flatten().tolist() == [0.0, 1.0, 0.0]


def test_each_relu_in_a_row_blocks_negative_gradients() -> None:
    """Logit 3a - b of a = h, b = h: the sum at h is 2, but guided it is 3, as -b is stopped before the sum."""
    net = dense_net([[1.0, 0.0, 0.0]], [[1.0], [1.0]], [[3.0, -1.0], [0.0, 0.0]])
    assert guided_gradient(net, clip_of(1, 0, 0)).flatten().tolist() == [3.0, 0.0, 0.0]


def test_the_winner_of_each_clip_is_explained() -> None:
    net = dense_net([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[1.0, 0.0], [0.0, 4.0]])
    clips = torch.cat([clip_of(5, 1, 0), clip_of(1, 5, 0)])
    assert guided_gradient(net, clips).flatten(start_dim=1).tolist() == [[1, 0, 0], [0, 4, 0]]
    assert guided_gradient(net, clips, target=0).flatten(start_dim=1).tolist() == [[1, 0, 0], [1, 0, 0]]
    swapped = guided_gradient(net, clips, target=torch.tensor([1, 0]))
    assert swapped.flatten(start_dim=1).tolist() == [[0, 4, 0], [1, 0, 0]]


# The project's networks


@every_network
def test_hooks_on_every_relu_give_the_same(config: NetworkConfig) -> None:
    model, clips = Classifier(config).eval(), random_clips()
    gradient = guided_gradient(model, clips)
    expected = hooked_gradient(model, clips)
    assert gradient.shape == clips.shape
    assert expected.abs().max() > 0
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    plain = clips.clone().requires_grad_()
    (ordinary,) = torch.autograd.grad(model(plain).amax(dim=1).sum(), plain)
    assert (gradient - ordinary).abs().max() > 0.1 * ordinary.abs().max()


def traces(model: nn.Module) -> dict[str, Any]:
    """Everything about a model that a call may not change."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "gradients": {name: weight.grad for name, weight in model.named_parameters()},
        "requires_grad": {name: weight.requires_grad for name, weight in model.named_parameters()},
        "training": {name: layer.training for name, layer in model.named_modules()},
        "inplace": {name: layer.inplace for name, layer in model.named_modules() if isinstance(layer, nn.ReLU)},
        "classes": {name: type(layer) for name, layer in model.named_modules()},
        "attributes": {name: sorted(vars(layer)) for name, layer in model.named_modules()},
        "hooks": {name: [len(getattr(layer, hook)) for hook in hooks] for name, layer in model.named_modules()},
    }


def assert_no_trace(model: nn.Module, before: dict[str, Any]) -> None:
    after = traces(model)
    for name, value in before.pop("state").items():
        assert torch.equal(after["state"][name], value), name
    for name, gradient in before.pop("gradients").items():
        assert after["gradients"][name] is gradient, name
    assert {key: after[key] for key in before} == before


@every_network
def test_the_model_and_the_clips_are_left_as_they_were(config: NetworkConfig) -> None:
    model, clips = Classifier(config).train(), random_clips()
    model.backbone.requires_grad_(requires_grad=False)
    next(model.backbone.children()).eval()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    model.head.register_forward_hook(lambda *_: None)
    before, pixels = traces(model), clips.clone()
    gradient = guided_gradient(model, clips)
    assert_no_trace(model, before)
    assert torch.equal(clips, pixels)
    assert not clips.requires_grad
    assert not gradient.requires_grad
    assert torch.equal(gradient, guided_gradient(model.eval(), clips)), "judged as in evaluation mode"
    model.requires_grad_(requires_grad=True)
    assert torch.equal(gradient, guided_gradient(model, clips)), "frozen layers pass the gradient on"


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_contexts_without_gradients_do_not_matter(context: Callable[[], Any]) -> None:
    model = Classifier(C3DConfig()).eval()
    expected = guided_gradient(model, random_clips())
    with context():
        inside = guided_gradient(model, random_clips())
    assert torch.equal(inside, expected)


def test_any_callable_will_do() -> None:
    model, clips = Classifier(C3DConfig()).eval(), random_clips()
    heads = {"action": model.head}
    gradient = guided_gradient(lambda inputs: heads["action"](model.backbone(inputs)), clips)
    assert torch.equal(gradient, guided_gradient(model, clips))


def test_functions_are_guided_like_modules() -> None:
    net, clips = dense_net(FIRST, SECOND), clip_of(1, 2, -1)
    functions = [torch.relu, torch.relu_, nn.functional.relu, Tensor.relu, Tensor.relu_]
    for relu in functions:
        gradient = guided_gradient(lambda inputs, relu=relu: net[3](relu(net[1](net[0](inputs)))), clips)  # type: ignore[misc]
        assert gradient.flatten().tolist() == [2.0, 2.0, 0.0], relu
    assert torch.relu(torch.tensor(-1.0)) == 0
    value = torch.tensor(2.0, requires_grad=True)
    (after,) = torch.autograd.grad(-value.relu(), value)
    assert after == -1, "ReLUs elsewhere are ordinary again"


def test_clips_of_a_batch_do_not_mix() -> None:
    model, clips = Classifier(C3DConfig()).eval(), random_clips()
    one_by_one = torch.cat([guided_gradient(model, clips[i : i + 1]) for i in range(len(clips))])
    torch.testing.assert_close(guided_gradient(model, clips), one_by_one, rtol=1e-4, atol=1e-9)


# Refusals


def test_a_model_in_training_mode_behind_a_callable_is_refused() -> None:
    model = Classifier(C3DConfig()).train()
    statistics = {name: value.clone() for name, value in model.state_dict().items() if "running" in name}
    with pytest.raises(ValueError, match=r"batch_norm in training mode; call eval\(\)"):
        guided_gradient(model.forward, random_clips())
    assert all(torch.equal(model.state_dict()[name], value) for name, value in statistics.items())
    with pytest.raises(ValueError, match="dropout in training mode"):
        guided_gradient(lambda clips: nn.functional.dropout(clips).flatten(1), random_clips())


def test_a_failing_model_gets_its_modes_back() -> None:
    class Failing(nn.Sequential):
        def forward(self, clips: Tensor) -> Tensor:
            raise RuntimeError(f"no {clips.ndim}")

    model = Failing(nn.ReLU(), nn.Dropout().eval())
    with pytest.raises(RuntimeError, match="no"):
        guided_gradient(model, random_clips())
    assert [layer.training for layer in model.modules()] == [True, True, False]


def test_logits_that_autograd_cannot_trace_are_refused() -> None:
    net = dense_net(FIRST, SECOND)

    def without(clips: Tensor) -> Tensor:
        with torch.no_grad():
            hidden = net[:3](clips)
        logits: Tensor = net[3](hidden)
        return logits

    for model in (without, lambda clips: net(clips).detach(), lambda clips: torch.ones(len(clips), 2)):
        with pytest.raises(ValueError, match=r"no gradient to the clips: part of the model runs under torch\.no_grad"):
            guided_gradient(model, clip_of(1, 2, -1))


@pytest.mark.parametrize("target", [-1, 2, 1.0, torch.tensor([0, 2]), torch.tensor([0, 1, 0]), torch.tensor([0.0, 1])])
def test_targets_that_are_no_class_are_refused(target: Any) -> None:
    clips = torch.cat([clip_of(1, 2, -1)] * 2)
    with pytest.raises(ValueError, match=r"target is .*, not a class in \[0, 2\)"):
        guided_gradient(dense_net(FIRST, SECOND), clips, target)


def test_other_shapes_are_refused() -> None:
    net = dense_net(FIRST, SECOND)
    with pytest.raises(ValueError, match=r"clips are torch.float32 \(3, 1, 1, 1\), not float"):
        guided_gradient(net, clip_of(1, 2, 3)[0])
    with pytest.raises(ValueError, match=r"clips are torch.uint8 \(1, 3, 1, 1, 1\), not float"):
        guided_gradient(net, clip_of(1, 2, 3).to(torch.uint8))
    with pytest.raises(ValueError, match="the model gave dict for 1 clips"):
        guided_gradient(lambda clips: {"action": net(clips)}, clip_of(1, 2, 3))  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match=r"the model gave \(2,\) for 1 clips"):
        guided_gradient(lambda clips: net(clips)[0], clip_of(1, 2, 3))
    with pytest.raises(ValueError, match=r"gradient has shape \(3, 1, 1, 1\)"):
        saliency_maps(clip_of(1, 2, 3)[0])
    with pytest.raises(ValueError, match="not finite"):
        saliency_maps(clip_of(1, 2, float("nan")))


# Maps


def two_frames() -> Tensor:
    """(1, 3, 2, 1, 2): three colours of two frames of two pixels.

    Sorted, frame 0 is -4, 0, 1, 2, 3, 10, its median (1 + 2) / 2; less that the pixels are -1.5, 0.5, 8.5 and -0.5,
    1.5, -5.5. Frame 1 is 5 five times, which is its median, and 9.
    """
    red, green, blue = [[0, 1], [5, 5]], [[2, 3], [5, 5]], [[10, -4], [5, 9]]
    return torch.tensor([red, green, blue], dtype=torch.float32).reshape(1, 3, 2, 1, 2)


@pytest.mark.parametrize(
    ("percentile", "scale"),
    [(100.0, 8.5), (76.0, 8.5), (75.0, 5.5), (50.0, 4.0), (25.0, 8.5), (0.1, 8.5)],  # the smallest is 0, so the largest
)
def test_maps_by_hand(percentile: float, scale: float) -> None:
    maps = saliency_maps(two_frames(), percentile)
    assert maps.shape == (1, 2, 1, 2)
    assert maps.flatten().tolist() == pytest.approx([min(1, value / scale) for value in (8.5, 5.5, 0.0, 4.0)])


def test_the_scale_is_the_clips_own() -> None:
    gradient = torch.cat([two_frames(), 1000 * two_frames(), -two_frames() + 7])
    maps = saliency_maps(gradient, 100)
    for i in (1, 2):
        torch.testing.assert_close(maps[i], maps[0])


def test_no_gradient_gives_no_saliency() -> None:
    assert saliency_maps(torch.zeros(1, 3, 2, 4, 4)).tolist() == torch.zeros(1, 2, 4, 4).tolist()
    lonely = torch.zeros(1, 3, 2, 16, 16)
    lonely[0, 1, 1, 5, 6] = -1e-30  # below the percentile, and tiny
    maps = saliency_maps(lonely)
    assert maps[0, 1, 5, 6] == 1
    assert maps.sum() == 1


@pytest.mark.parametrize(("height", "width"), [(5, 7), (4, 6)], ids=["odd", "even"])
def test_maps_against_loops(height: int, width: int) -> None:
    gradient = torch.randn(2, 3, 4, height, width, generator=torch.Generator().manual_seed(3))
    maps = saliency_maps(gradient, 90)
    for clip, clip_maps in zip(gradient.double().numpy(), maps.numpy(), strict=True):
        expected = np.zeros((4, height, width))
        for t in range(4):
            median = np.median(clip[:, t])
            for y, x in np.ndindex(height, width):
                expected[t, y, x] = max(abs(clip[colour, t, y, x] - median) for colour in range(3))
        ordered = sorted(expected.ravel().tolist())
        scale = ordered[-(-9 * len(ordered) // 10) - 1]
        np.testing.assert_allclose(clip_maps, np.minimum(expected / scale, 1), rtol=1e-5, atol=1e-7)
