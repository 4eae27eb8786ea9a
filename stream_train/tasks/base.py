"""The interface of tasks: which clips a video gives, the heads, the losses, the metrics.

In: a video's length and draws; later the heads' outputs and the batch. Out: clip plans; loss terms; counts and the
metrics computed from them. One loop trains pretext tasks and the questions of evaluations: both are :class:`ClipTask`s.

Axes: N clips of a batch, K classes.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stream_train.data.batch import Batch
from stream_train.draws import SampleDraws
from stream_train.networks.base import Backbone, build_head
from stream_train.networks.config import ClassifierInit
from stream_train.transformations.sampling import ClipPlan
from stream_train.transformations.sequences import CLIP_LENGTH

IGNORED = -1
"""Class index of a clip that a head ignores."""


@dataclass(frozen=True, kw_only=True)
class LossTerm:
    """One part of the loss, summed over this rank's clips, because ranks may have different numbers of clips."""

    total: Tensor
    """Scalar float32 with gradient: the sum of the clips' losses."""
    count: Tensor
    """Scalar int64: how many clips were summed; may be 0."""
    weight: float = 1.0
    """The whole loss multiplies this term's mean over all ranks' clips by this weight."""

    def __post_init__(self) -> None:
        if self.total.ndim or self.count.ndim:
            raise ValueError(f"a loss term is two scalars, not {tuple(self.total.shape)} and {tuple(self.count.shape)}")


class ClipTask(abc.ABC):
    """A question about clips; picklable, because workers draw its clips."""

    @property
    def min_frames(self) -> int:
        """Frames of the shortest video whose clips do not loop; shorter videos loop or are left out."""
        return CLIP_LENGTH

    @property
    def clips_per_answer(self) -> int:
        """How many clips share one row of logits."""
        return 1

    @abc.abstractmethod
    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        """The clips of one video in one epoch, always the same number."""

    @abc.abstractmethod
    def head_sizes(self) -> dict[str, int]:
        """Name -> number of classes of each linear head on the last feature."""

    @abc.abstractmethod
    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        """The loss terms of a batch, from head name -> logits (N, K); the names are the same for every batch."""

    @abc.abstractmethod
    def count(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Int64 counts that add up over batches and ranks, such as confusion matrices."""

    @abc.abstractmethod
    def count_baselines(self, batch: Batch, num_frames: Tensor) -> dict[str, Tensor]:
        """Counts for guesses that do not look at frames; `num_frames`: int64 (N,) length of each clip's video."""

    @abc.abstractmethod
    def compute_metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics from summed counts (of :meth:`count`, with or without the baselines)."""

    @abc.abstractmethod
    def guesses(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Accuracy name -> accuracy of a guess without looking, given the metrics of :meth:`compute_metrics`."""

    @abc.abstractmethod
    def class_names(self) -> dict[str, Sequence[str]]:
        """Name of each square count -> the names of its rows and columns, for pictures."""


class ClipModel(nn.Module):
    """A backbone and one linear head for each of the task's questions.

    `head_sizes`: name -> number of classes. `feature_dim`: length of :meth:`features`; None: the backbone's.
    """

    def __init__(
        self,
        backbone: Backbone,
        head_sizes: Mapping[str, int],
        classifier_init: ClassifierInit,
        feature_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        length = backbone.feature_dim if feature_dim is None else feature_dim
        self.heads = nn.ModuleDict(
            {name: build_head(length, size, classifier_init) for name, size in head_sizes.items()}
        )

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Clips float32 (N, 3, T, H, W) in [-1, 1] -> head name -> logits (N, classes)."""
        features = self.features(clips)
        return {name: head(features) for name, head in self.heads.items()}

    def features(self, clips: Tensor) -> Tensor:
        """The input of the heads: float (N, feature_dim)."""
        features: Tensor = self.backbone(clips)
        return features


def cross_entropy_term(logits: Tensor, targets: Tensor, weight: float = 1.0) -> LossTerm:
    """Cross-entropy of logits (N, K), in float32, with int64 (N,) targets, without IGNORED targets."""
    total = F.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")
    return LossTerm(total=total, count=(targets != IGNORED).sum(), weight=weight)


def count_confusion(targets: Tensor, logits: Tensor) -> Tensor:
    """Int64 (K, K): how many clips of class i (rows) got the answer j (columns)."""
    return count_pairs(targets, logits.argmax(dim=1), logits.shape[1])


def count_pairs(rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """Int64 (size, size) counts of (row, column) pairs without IGNORED; never waits for a GPU."""
    counted = (rows != IGNORED) & (columns != IGNORED)
    cells = torch.where(counted, rows * size + columns, size * size)
    counts = torch.zeros(size * size + 1, dtype=torch.int64, device=rows.device)
    return counts.scatter_add(0, cells, torch.ones_like(cells))[:-1].reshape(size, size)
