"""The interface of tasks: which clips a video gives, what the network sees of them, the heads, losses and metrics.

In: a video's length and draws; later the heads' outputs and the batch. Out: clip plans; loss terms; counts and the
metrics computed from them. One loop trains pretext tasks and the questions of evaluations: both are :class:`ClipTask`s.

    plans -> prepared clips -> select_frames -> convolutions -> merge_maps -> fully connected layers -> heads -> losses

Axes: N clips of a batch, A answers (N / clips_per_answer), K classes.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stream_train.data.batch import Batch
from stream_train.data.plans import IGNORED, ClipPlan
from stream_train.draws import SampleDraws
from stream_train.networks.base import BEHIND_CONVOLUTIONS, Backbone, ConvDim, build_head
from stream_train.networks.config import ClassifierInit
from stream_train.transformations.sequences import CLIP_LENGTH


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
    def num_frames(self) -> int:
        """Frames of a clip that the network sees."""
        return CLIP_LENGTH

    @property
    def min_frames(self) -> int:
        """Videos with fewer frames are left out; 1: none, short videos loop."""
        return 1

    @property
    def clips_per_video(self) -> int:
        """How many clips :meth:`draw_clips` takes from each video."""
        return len(self.draw_clips(max(self.min_frames, CLIP_LENGTH), SampleDraws(0, 0, 0)))

    @property
    def clips_per_answer(self) -> int:
        """How many neighbouring clips share one row of the heads' outputs."""
        return 1

    @abc.abstractmethod
    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        """The clips of one video in one epoch, always the same number."""

    def select_frames(self, clips: Tensor) -> Tensor:
        """What the network sees of clips (N, C, T, H, W), of any dtype -> (N, C, num_frames, H, W)."""
        return clips

    def merge_maps(self, maps: Tensor) -> Tensor:
        """What the fully connected layers read of the convolutions' maps: (N, C, T, H, W) -> (A or N, C, T, H, W)."""
        return maps

    @abc.abstractmethod
    def build_heads(self, width: HeadWidth) -> dict[str, nn.Module]:
        """New heads by name. A head whose attribute `reads` is "map" reads the maps, any other the feature vectors."""

    @abc.abstractmethod
    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        """The loss terms of a batch, from head name -> output; the names are the same for every batch."""

    @abc.abstractmethod
    def count(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Sums over batches and ranks: int64 counts such as confusion matrices, or float64 sums."""

    def count_baselines(self, batch: Batch, num_frames: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Sums for guesses that do not look at frames; `num_frames`: int64 (N,) length of each clip's video."""
        return {}

    @abc.abstractmethod
    def compute_metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics from the sums (of :meth:`count`, with or without the baselines)."""

    @abc.abstractmethod
    def guesses(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Metric name -> what a guess without looking gets, given the metrics of :meth:`compute_metrics`."""

    def answers(self, batch: Batch) -> dict[str, Tensor]:  # noqa: ARG002
        """Int64 (A,) right classes, or IGNORED, of each head that chooses among classes."""
        return {}

    def class_names(self) -> dict[str, Sequence[str]]:
        """Name of each confusion matrix in :meth:`count` -> the names of its rows and columns, for pictures."""
        return {}


@dataclass(frozen=True, kw_only=True)
class HeadWidth:
    """What heads need to know of the network."""

    features: int
    """Length of the feature vectors."""
    maps: ConvDim
    """(C, T, H, W) of the convolutions' maps."""
    crop: int = 112
    """Height and width of the clips, in pixels."""
    classifier_init: ClassifierInit = "torch"

    @classmethod
    def of(cls, backbone: Backbone, classifier_init: ClassifierInit, features: int | None = None) -> HeadWidth:
        """Those of a backbone; `features`: the length of the vectors if layers are added to it."""
        return cls(
            features=features or backbone.feature_dim,
            maps=backbone.conv_dim,
            crop=backbone.crop,
            classifier_init=classifier_init,
        )

    def linear(self, num_outputs: int) -> nn.Linear:
        """The usual head: feature vectors (N, features) -> (N, num_outputs)."""
        return build_head(self.features, num_outputs, self.classifier_init)


def _all_of_it(values: Tensor) -> Tensor:
    return values


class ClipModel(nn.Module):
    """A backbone and heads; `select_frames` and `merge_maps` are those of the task."""

    def __init__(
        self,
        backbone: Backbone,
        heads: Mapping[str, nn.Module],
        select_frames: Callable[[Tensor], Tensor] = _all_of_it,
        merge_maps: Callable[[Tensor], Tensor] = _all_of_it,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)
        self._select_frames = select_frames
        self._merge_maps = merge_maps
        self._reads_maps = {name: getattr(head, "reads", "vector") == "map" for name, head in self.heads.items()}
        if all(self._reads_maps.values()):  # else DistributedDataParallel would wait for gradients of unused layers
            for name, part in backbone.named_children():
                if name in BEHIND_CONVOLUTIONS:
                    part.requires_grad_(requires_grad=False)

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Prepared clips float32 (N, 3, T, H, W) in [-1, 1] -> head name -> output, such as logits (A, K)."""
        return self.outputs_of(self._select_frames(clips))

    def outputs_of(self, seen: Tensor) -> dict[str, Tensor]:
        """The outputs of :meth:`forward`, from the frames that the network sees: float32 (N, 3, num_frames, H, W)."""
        maps = self.conv_features(seen)
        vectors = None if all(self._reads_maps.values()) else self.features_from_conv(self._merge_maps(maps))
        return {name: head(maps if self._reads_maps[name] else vectors) for name, head in self.heads.items()}

    def features(self, seen: Tensor) -> Tensor:
        """The feature vectors that heads read, from frames as in :meth:`outputs_of`: float (A or N, length)."""
        return self.features_from_conv(self._merge_maps(self.conv_features(seen)))

    def conv_features(self, clips: Tensor) -> Tensor:
        """The convolutions' maps, float (N, *conv_dim)."""
        return self.backbone.conv_features(clips)

    def features_from_conv(self, conv: Tensor) -> Tensor:
        """The feature vectors, which heads read: (N, *conv_dim) -> (N, feature_dim)."""
        return self.backbone.features_from_conv(conv)


def cross_entropy_term(logits: Tensor, targets: Tensor, weight: float = 1.0) -> LossTerm:
    """Cross-entropy of logits (N, K), in float32, with int64 (N,) targets, without IGNORED targets."""
    total = F.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")
    return LossTerm(total=total, count=(targets != IGNORED).sum(), weight=weight)


def length_guesses(name: str, table: Tensor) -> dict[str, float]:
    """The shares of right answers of two guesses that do not look at frames; empty without answers.

    `table` (L, K) counts videos whose length allows the classes 0 to its row's number, by their right class.
    `..._best_constant` always gives the most frequent class, `..._best_from_length` that of each row.
    """
    total = int(table.sum())
    if not total:
        return {}
    constant, by_length = int(table.sum(dim=0).max()), int(table.max(dim=1).values.sum())
    return {f"{name}_best_constant": constant / total, f"{name}_best_from_length": by_length / total}


def count_confusion(targets: Tensor, logits: Tensor) -> Tensor:
    """Int64 (K, K): how many clips of class i (rows) got the answer j (columns)."""
    return count_pairs(targets, logits.argmax(dim=1), logits.shape[1])


def count_pairs(rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """Int64 (size, size) counts of (row, column) pairs without IGNORED; never waits for a GPU."""
    counted = (rows != IGNORED) & (columns != IGNORED)
    cells = torch.where(counted, rows * size + columns, size * size)
    counts = torch.zeros(size * size + 1, dtype=torch.int64, device=rows.device)
    return counts.scatter_add(0, cells, torch.ones_like(cells))[:-1].reshape(size, size)
