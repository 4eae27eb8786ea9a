"""AdamW with the paper's weight decay and the cosine schedule (method of section 4, "Training").

In: a network and the step. Out: an optimiser, and the learning rate of every step as a pure function, so that nothing
about the schedule needs saving.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import nn

from shardify.config import StrictModel

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(StrictModel):
    """AdamW and its schedule."""

    learning_rate: PositiveFloat = 3e-4
    """At the first step; it falls along a cosine."""
    final_factor: float = Field(default=1e-3, ge=0, le=1)
    """The learning rate after the last step, as a share of the first."""
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 1e-4
    """As the paper gives it; what is subtracted from a weight also depends on `decay_rule`."""
    decay_rule: Literal["decoupled", "paper"] = "decoupled"
    """`decoupled`: a step shrinks weights by the share weight_decay, which follows the cosine but is not multiplied by
    the learning rate (the released code). `paper`: by weight_decay * learning rate, PyTorch's reading of the number."""

    @property
    def torch_weight_decay(self) -> float:
        """The number that makes PyTorch's AdamW, which multiplies by the learning rate, follow `decay_rule`."""
        return self.weight_decay / self.learning_rate if self.decay_rule == "decoupled" else self.weight_decay


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.AdamW:
    """Fused AdamW over a model's parameters; vectors (BatchNorm's scales and shifts, all biases) do not decay."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.torch_weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True)


def learning_rate(config: OptimizerConfig, step: int, num_steps: int) -> float:
    """The learning rate of one step: from the full one at step 0 along a cosine to `final_factor` of it at the end.

    Args:
        config: the first rate and the final factor.
        step: steps done before this one, in [0, num_steps].
        num_steps: steps of the whole run.

    Raises:
        ValueError: if the step lies outside the run.
    """
    if not 0 <= step <= num_steps:
        raise ValueError(f"step {step} lies outside a run of {num_steps} steps")
    cosine = 0.5 * (1 + math.cos(math.pi * step / num_steps))
    return config.learning_rate * (config.final_factor + (1 - config.final_factor) * cosine)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Use a learning rate for the coming step, in every group."""
    for group in optimizer.param_groups:
        group["lr"] = value
