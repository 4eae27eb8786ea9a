"""Heads that several clips share, and heads on the convolutions' maps.

Axes: N clips, k clips of a tuple (neighbours in the batch), A = N / k answers, F features, K outputs; maps are
(N, C, T, H, W).
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from stream_train.networks.base import halve
from stream_train.tasks.base import HeadWidth


class ConcatenationHead(nn.Module):
    """The features of a tuple, concatenated, through one linear layer: (N, F) -> (A, K)."""

    def __init__(self, width: HeadWidth, tuple_size: int, num_outputs: int) -> None:
        super().__init__()
        self.tuple_size = tuple_size
        self.linear = nn.Linear(tuple_size * width.features, num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.linear(features.reshape(len(features) // self.tuple_size, -1))
        return logits


class DifferencesHead(nn.Module):
    """The sum of v_i - v_j over all pairs i < j of a tuple, through one linear layer: (N, F) -> (A, K)."""

    def __init__(self, width: HeadWidth, tuple_size: int, num_outputs: int) -> None:
        super().__init__()
        self.tuple_size = tuple_size
        self.linear = width.linear(num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        tuples = features.reshape(-1, self.tuple_size, features.shape[1])
        # v_i is the first of k - 1 - i pairs and the second of i
        signs = self.tuple_size - 1 - 2 * torch.arange(self.tuple_size, device=features.device, dtype=features.dtype)
        logits: Tensor = self.linear(torch.einsum("aif,i->af", tuples, signs))
        return logits


class PairsHead(nn.Module):
    """Each pair i < j of a tuple, concatenated, through one hidden layer; all pairs, through a linear one.

    (N, F) -> (A, K). Dropout comes between the two layers.
    """

    def __init__(self, width: HeadWidth, tuple_size: int, num_outputs: int, *, units: int, dropout: float) -> None:
        super().__init__()
        self.tuple_size = tuple_size
        self.pairs = tuple(itertools.combinations(range(tuple_size), 2))
        self.hidden = nn.Linear(2 * width.features, units)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(len(self.pairs) * units, num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        tuples = features.reshape(-1, self.tuple_size, features.shape[1])
        pairs = torch.stack([torch.cat((tuples[:, i], tuples[:, j]), dim=1) for i, j in self.pairs], dim=1)
        hidden = torch.relu(self.hidden(pairs)).flatten(start_dim=1)
        logits: Tensor = self.linear(self.dropout(hidden))
        return logits


class DecoderHead(nn.Module):
    """Maps (N, C, T, H, W) -> frames (N, 3, num_frames, pixels, pixels).

    Five steps of about 2x, from a size that is not below the maps'.
    """

    reads = "map"
    STEPS = 5

    def __init__(self, width: HeadWidth, *, num_frames: int, pixels: int) -> None:
        super().__init__()
        sizes = [(num_frames, pixels)]
        channels, *smallest = width.maps
        for _ in range(self.STEPS - 1):
            time, side = sizes[0]
            sizes.insert(0, (max(halve(time), min(time, smallest[0])), max(halve(side), min(side, smallest[1]))))
        self.layers = nn.Sequential()
        for time, side in sizes:
            smaller = max(channels // 2, 16)
            self.layers.append(nn.Upsample(size=(time, side, side), mode="nearest"))
            self.layers.append(nn.Conv3d(channels, smaller, kernel_size=3, padding=1, bias=False))
            self.layers.append(nn.BatchNorm3d(smaller))
            self.layers.append(nn.ReLU(inplace=True))
            channels = smaller
        self.layers.append(nn.Conv3d(channels, 3, kernel_size=1))

    def forward(self, maps: Tensor) -> Tensor:
        frames: Tensor = self.layers(maps)
        return frames


class PredictiveHead(nn.Module):
    """Predicts the maps of a video's last blocks from those before, and compares them with all maps (DPC).

    Maps of `num_blocks` neighbours (N, C, T, H, W), averaged over T -> scores (R, candidates): one row for each
    predicted (video, step, row, column), one column for each true map in the same order; in training, those of the
    other ranks follow. So the right answer to row r is column r, and the number of candidates does not depend on the
    number of ranks.
    """

    reads = "map"

    def __init__(self, width: HeadWidth, *, num_blocks: int, num_predicted: int) -> None:
        super().__init__()
        channels = width.maps[0]
        self.num_blocks = num_blocks
        self.num_predicted = num_predicted
        self.gates = nn.Conv3d(2 * channels, 2 * channels, kernel_size=1)
        self.candidate = nn.Conv3d(2 * channels, channels, kernel_size=1)
        self.predict = nn.Sequential(
            nn.Conv3d(channels, channels, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.Conv3d(channels, channels, kernel_size=1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps.mean(dim=2, keepdim=True)
        blocks = maps.reshape(-1, self.num_blocks, *maps.shape[1:])
        context = self.num_blocks - self.num_predicted
        state = torch.zeros_like(blocks[:, 0])
        for block in range(context):
            state = self._updated(state, blocks[:, block])
        predictions = [self.predict(state)]
        for _ in range(self.num_predicted - 1):
            state = self._updated(state, torch.relu(predictions[-1]))  # as maps are: not negative
            predictions.append(self.predict(state))
        predicted = _as_rows(torch.stack(predictions, dim=1))
        true = _as_rows(blocks[:, context:])
        candidates = gather_rows(true) if self.training else true
        return predicted.float() @ candidates.float().T

    def _updated(self, state: Tensor, seen: Tensor) -> Tensor:
        """One step of a convolutional GRU."""
        update, reset = torch.sigmoid(self.gates(torch.cat((seen, state), dim=1))).chunk(2, dim=1)
        candidate = torch.tanh(self.candidate(torch.cat((seen, reset * state), dim=1)))
        return (1 - update) * state + update * candidate


def _as_rows(blocks: Tensor) -> Tensor:
    """(videos, steps, C, 1, H, W) -> (videos x steps x H x W, C)."""
    return blocks.permute(0, 1, 3, 4, 5, 2).flatten(end_dim=4)


def gather_rows(rows: Tensor) -> Tensor:
    """This rank's rows (R, F), then those of the next ranks in turn; gradients flow back to the rank of each row.

    The ranks may have different numbers of rows. All must call it at the same moment. One process: the rows alone.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
        ctx.counts = [int(count) for count in counts]
        padded = rows.new_zeros(max(ctx.counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in ctx.counts]
        dist.all_gather(parts, padded)
        parts = [part[:count] for part, count in zip(parts, ctx.counts, strict=True)]
        ctx.rank = dist.get_rank()
        return torch.cat(parts[ctx.rank :] + parts[: ctx.rank])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        counts, rank = ctx.counts, ctx.rank
        turned = torch.roll(gradient, sum(counts[:rank]), dims=0).contiguous()  # in the order of the ranks
        dist.all_reduce(turned)
        return turned[sum(counts[:rank]) : sum(counts[: rank + 1])]
