"""What three grey-level numbers about the middle of a clip tell: the baseline of before-after.

In: training clips of two pieces with their right answers. Out: a function from test clips to answers. A network that
is not clearly above this baseline may only have learnt how large the jump between the two pieces is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from eval.evaluations.before_after import BEFORE_AFTER
from eval.judging.setting import Setting
from shardify.arrays import IntArray
from stream_train.data.batch import Batch
from stream_train.data.evaluation_pass import each_video_whole
from stream_train.data.plans import DrawClips

_LEAST = 1e-6
"""Below the smallest difference of two grey frames that are not equal."""


def seam_features(frames: Tensor) -> Tensor:
    """Difference at the seam, mean difference elsewhere, and their ratio, of uint8 (N, T, H, W, 3) clips.

    A difference is the mean absolute change of the grey value (the mean of R, G and B) from one frame to the next. The
    seam is between frames T / 2 - 1 and T / 2. Returns float32 (N, 3).
    """
    grey = frames.float().mean(dim=4)
    changes = (grey[:, 1:] - grey[:, :-1]).abs().mean(dim=(2, 3))
    middle = frames.shape[1] // 2 - 1
    seam = changes[:, middle]
    others = (changes.sum(dim=1) - seam) / (changes.shape[1] - 1)
    return torch.stack((seam, others, seam / others.clamp(min=_LEAST)), dim=1)


def seam_answers(setting: Setting, draw: DrawClips, positions: IntArray) -> Callable[[Batch], Tensor]:
    """Fit boosted trees to :func:`seam_features` of the training videos at `positions`; equal on every rank.

    `draw` gives the clips of a video, with their order as target. The returned function gives int64 (N,)
    answers to the clips of a batch.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    batches = each_video_whole(
        setting.train.shard_set,
        setting.data,
        draw,
        positions=positions,
        max_clips=setting.config.data.max_test_clips,
        seed=setting.seed,
        rank=setting.world.rank,
        world_size=setting.world.size,
    )
    mine = [
        torch.cat((seam_features(b.frames), b.sample[:, None], b.targets[BEFORE_AFTER.name][:, None]), dim=1)
        for b in batches
    ]
    rows = torch.cat(setting.world.gather(torch.cat(mine) if mine else torch.empty(0, 5)))
    rows = rows[rows[:, 3].argsort(stable=True)]  # the same order for any number of ranks
    model = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=8, random_state=0)
    model.fit(rows[:, :3].numpy(), rows[:, 4].numpy().astype(int))

    def answers(batch: Batch) -> Tensor:
        features = seam_features(batch.frames).cpu().numpy()
        return torch.from_numpy(model.predict(features)).to(batch.frames.device)

    return answers
