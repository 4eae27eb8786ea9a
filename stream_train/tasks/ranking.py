"""TransRank (Duan et al., CVPR 2022): the paper's clips, but the clips of a video are compared with each other.

For each clip t of a video and each other clip t' of it: max(0, margin - s_t(x_t) + s_t(x_t')), where s_t is the score
for the class of clip t. So a video that always looks fast is compared with itself. Only the scores of one class are
ever compared, so a right answer is a clip that has the highest score of its video for its own class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from stream_train.data.batch import Batch
from stream_train.data.plans import IGNORED
from stream_train.tasks.base import LossTerm, count_pairs
from stream_train.tasks.config import RankingConfig
from stream_train.tasks.transformations import Transformations


@dataclass(frozen=True)
class Ranking(Transformations):
    """See :class:`RankingConfig`."""

    config: RankingConfig

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        own, others, compared = self._scores(outputs["motion"], batch)
        hinges = (self.config.margin - own[:, :, None] + others).clamp(min=0)
        motion = LossTerm(
            total=torch.where(compared, hinges, 0).sum(), count=compared.sum(), weight=self.config.motion_weight
        )
        return {"motion": motion} | super().losses({k: v for k, v in outputs.items() if k != "motion"}, batch)

    def count(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        own, others, compared = self._scores(outputs["motion"], batch)
        # the scores for each clip's class over the clips of its video, its own among them, absent clips lowest
        scores = torch.where(compared, others, -torch.inf)
        scores.diagonal(dim1=1, dim2=2).copy_(own)
        classes = self.motion_targets(batch).reshape(-1, len(self.motions))
        best = classes.gather(1, scores.argmax(dim=2))
        counts = super().count({k: v for k, v in outputs.items() if k != "motion"}, batch)
        return {"motion": count_pairs(classes.flatten(), best.flatten(), len(self.motions))} | counts

    def _scores(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of V videos of M clips.

        Each clip's score for its own class (V, M); the score of every clip u of the video for the class of clip t
        (V, M, M); and whether t and u are to be compared.
        """
        num_clips = len(self.motions)
        videos = logits.float().reshape(-1, num_clips, num_clips)
        classes = self.motion_targets(batch).reshape(-1, num_clips)
        present = classes != IGNORED
        index = classes.clamp(min=0)[:, :, None].expand(-1, -1, num_clips)
        others = videos.transpose(1, 2).gather(1, index)
        own = others.diagonal(dim1=1, dim2=2)
        is_other = ~torch.eye(num_clips, dtype=torch.bool, device=logits.device)
        return own, others, present[:, :, None] & present[:, None, :] & is_other
