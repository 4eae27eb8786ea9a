"""Dense predictive coding (DPC; Han et al., ICCV workshops 2019): which map comes next, among all of the batch?

A video gives successive blocks of 16 frames with one crop and flip. A recurrent network over the first blocks' maps
predicts the maps of the last ones. Each predicted position must be closest to its true map, among those of all videos,
steps and positions of the global batch (InfoNCE).

The authors' code also drops out a tenth of the recurrent state, and its true maps are those before the last ReLU, which
not every network has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stream_train.data.batch import Batch
from stream_train.data.plans import ClipPlan
from stream_train.draws import SampleDraws
from stream_train.tasks.base import ClipTask, HeadWidth, LossTerm
from stream_train.tasks.config import DensePredictionConfig
from stream_train.tasks.drawing import draw_start, frames_from, span
from stream_train.tasks.heads import PredictiveHead
from stream_train.transformations.sequences import CLIP_LENGTH


@dataclass(frozen=True)
class DensePrediction(ClipTask):
    """See :class:`DensePredictionConfig`. The head's output: scores (R, candidates); column r is right for row r."""

    config: DensePredictionConfig

    @property
    def min_frames(self) -> int:
        return span(self.config.stride, self.config.num_blocks * CLIP_LENGTH)

    @property
    def _step(self) -> int:
        """Frames from the start of a block to the start of the next."""
        return CLIP_LENGTH * self.config.stride

    @property
    def clips_per_answer(self) -> int:
        return self.config.num_blocks

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        start = draw_start(num_frames, self.min_frames, draws)
        starts = (start + block * self._step for block in range(self.config.num_blocks))
        return tuple(ClipPlan(indices=frames_from(first, self.config.stride), view=0) for first in starts)

    def build_heads(self, width: HeadWidth) -> dict[str, nn.Module]:
        blocks, predicted = self.config.num_blocks, self.config.num_predicted
        return {"prediction": PredictiveHead(width, num_blocks=blocks, num_predicted=predicted)}

    def losses(self, outputs: Mapping[str, Tensor], _: Batch) -> dict[str, LossTerm]:
        scores = outputs["prediction"]
        right = torch.arange(len(scores), device=scores.device)
        total = F.cross_entropy(scores, right, reduction="sum")
        return {"prediction": LossTerm(total=total, count=torch.tensor(len(scores), device=scores.device))}

    def count(self, outputs: Mapping[str, Tensor], _: Batch) -> dict[str, Tensor]:
        """Rows, rows whose best candidate is right, and the hits to expect from guessing."""
        scores = outputs["prediction"]
        rows = torch.arange(len(scores), device=scores.device)
        hits = (scores.argmax(dim=1) == rows).sum().double()
        return {
            "prediction": torch.stack((hits.new_tensor(len(rows)), hits, hits.new_tensor(len(rows) / scores.shape[1])))
        }

    def compute_metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        rows, hits, guessed = counts["prediction"].tolist()
        return {"prediction_accuracy": hits / rows, "prediction_by_guessing": guessed / rows} if rows else {}

    def guesses(self, metrics: Mapping[str, float]) -> dict[str, float]:
        known = "prediction_by_guessing" in metrics
        return {"prediction_accuracy": metrics["prediction_by_guessing"]} if known else {}
