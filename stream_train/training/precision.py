"""The arithmetic of a network, and the layout of its weights in memory."""

from __future__ import annotations

import torch
from torch import nn

from shardify.errors import UsageError
from stream_train.training.config import Precision


def choose_precision(choice: Precision, device: torch.device) -> torch.dtype:
    """The dtype of convolutions and matrix products; `auto` is bfloat16 on GPUs and float32 on CPUs.

    Raises UsageError for bfloat16 on a CPU, where PyTorch has given NaN gradients for narrow 3D convolutions.
    """
    if device.type == "cpu":
        if choice == "bfloat16":
            raise UsageError("precision is bfloat16, but on a CPU its gradients became NaN; set precision to float32")
        return torch.float32
    return torch.float32 if choice == "float32" else torch.bfloat16


def autocast(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """The context to run a forward pass in; weights, their updates and losses stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16)


def place_model(model: nn.Module, device: torch.device) -> None:
    """Move a model to a device; its convolutions' weights become channels_last_3d, like the clips."""
    model.to(device=device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
