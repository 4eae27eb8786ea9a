"""The schedule and the weight decay, as numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stream_train.networks import build_backbone
from stream_train.networks.config import C3DConfig
from stream_train.training.config import OptimizerConfig
from stream_train.training.optim import build_optimizer, learning_rate, set_learning_rate


def test_cosine_from_the_full_rate_to_the_final_factor() -> None:
    config = OptimizerConfig(learning_rate=3e-4, final_factor=1e-3)
    assert learning_rate(config, 0, 1000) == 3e-4
    assert learning_rate(config, 500, 1000) == pytest.approx(3e-4 * (0.5 + 0.5e-3))
    assert learning_rate(config, 250, 1000) == pytest.approx(3e-4 * (1e-3 + 0.999 * (0.5 + 0.5 * 2**-0.5)))
    assert learning_rate(config, 1000, 1000) == pytest.approx(3e-7)
    with pytest.raises(ValueError, match="step 1001 lies outside a run of 1000 steps"):
        learning_rate(config, 1001, 1000)


@pytest.mark.parametrize(
    ("rule", "torch_decay", "lr0"), [("decoupled", 1 / 3, 3e-4), ("decoupled", 2.0, 5e-5), ("paper", 1e-4, 3e-4)]
)
def test_decay_in_torch_terms(rule: str, torch_decay: float, lr0: float) -> None:
    config = OptimizerConfig.model_validate({"decay_rule": rule, "learning_rate": lr0})
    assert config.torch_weight_decay == pytest.approx(torch_decay)


@pytest.mark.parametrize("rule", ["decoupled", "paper"])
@pytest.mark.parametrize("step", [0, 600])
def test_a_step_without_gradient_shrinks_weights_by_the_rule(rule: str, step: int) -> None:
    """decoupled: by 1e-4 x the cosine; paper: by 1e-4 x the learning rate, which is 3,333 times less."""
    config = OptimizerConfig.model_validate({"decay_rule": rule})
    linear = nn.Linear(4, 3)
    before = {name: value.detach().clone().double() for name, value in linear.named_parameters()}
    for parameter in linear.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer = build_optimizer(config, linear)
    rate = learning_rate(config, step, 1000)
    set_learning_rate(optimizer, rate)
    optimizer.step()
    share = 1e-4 * rate / 3e-4 if rule == "decoupled" else 1e-4 * rate
    torch.testing.assert_close(linear.weight.double(), before["weight"] * (1 - share), rtol=2e-7, atol=1e-9)
    assert (linear.weight.double() != before["weight"]).all() or rule == "paper"
    assert torch.equal(linear.bias.double(), before["bias"])


def test_batch_norm_and_biases_do_not_decay() -> None:
    backbone = build_backbone(C3DConfig(width=0.05), crop=16)
    decaying, kept = build_optimizer(OptimizerConfig(), backbone).param_groups
    norms = [
        parameter
        for module in backbone.modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm3d)
        for parameter in module.parameters()
    ]
    assert {id(p) for p in kept["params"]} == {id(p) for p in norms}
    assert len(norms) == 14  # five convolutions and two hidden layers, a scale and a shift each
    assert kept["weight_decay"] == 0.0
    assert len(decaying["params"]) + len(kept["params"]) == len(list(backbone.parameters()))


def test_the_paper_s_constants_are_the_defaults() -> None:
    (group, _) = build_optimizer(OptimizerConfig(), nn.Linear(2, 2)).param_groups
    assert (group["lr"], group["betas"], group["fused"]) == (3e-4, (0.9, 0.99), True)
