"""AdamW with the paper's weight decay and the cosine schedule (method of section 4, "Training").

In: a network. Out: an optimiser, and the learning rate as a function of the step: there is no schedule to save.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from stream_train.training.config import OptimizerConfig


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.AdamW:
    """Fused AdamW for a model's parameters; vectors (BatchNorm's scales and shifts, all biases) do not decay."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.torch_weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True)


def learning_rate(config: OptimizerConfig, step: int, num_steps: int) -> float:
    """The learning rate after `step` of `num_steps` steps: a cosine from the full rate down to `final_factor` of it.

    Raises ValueError if the step lies outside [0, num_steps].
    """
    if not 0 <= step <= num_steps:
        raise ValueError(f"step {step} lies outside a run of {num_steps} steps")
    cosine = 0.5 * (1 + math.cos(math.pi * step / num_steps))
    return config.learning_rate * (config.final_factor + (1 - config.final_factor) * cosine)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = value
