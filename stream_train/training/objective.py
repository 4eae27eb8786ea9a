"""The loss of training: the terms of a task, summed over all ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from stream_train.tasks.base import LossTerm
from stream_train.training.distributed import World


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The whole loss of a step."""

    loss: Tensor
    """Scalar. Its gradient, averaged over the ranks, is the gradient of the loss over the global batch."""
    value: Tensor
    """Scalar float64: the loss over the global batch, detached, equal on every rank."""
    totals: dict[str, Tensor]
    """Name -> float64 (2,): the term's sum and count over all ranks, detached."""


def combine(terms: Mapping[str, LossTerm], world: World) -> Objective:
    """The loss over the global batch: each term's sum divided by its count over all ranks, weighted, added.

    DistributedDataParallel averages gradients over ranks, so the local loss is multiplied by the number of ranks.
    """
    local = torch.stack([torch.stack((term.total.detach().double(), term.count.double())) for term in terms.values()])
    totals = dict(zip(terms, world.sum(local), strict=True))
    counts = {name: total[1].clamp(min=1) for name, total in totals.items()}
    value = torch.stack([term.weight * totals[name][0] / counts[name] for name, term in terms.items()]).sum()
    loss = torch.stack([term.weight * term.total / counts[name].float() for name, term in terms.items()]).sum()
    return Objective(loss=loss * world.size, value=value, totals=totals)
