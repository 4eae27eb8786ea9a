"""Observers without a network: how far simple numbers about a clip go.

In: batches of clips. Out: for each name of an answer, probabilities (A, K), as a network's head would give scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from shardify.arrays import FloatArray, IntArray
from stream_train.data.batch import Batch
from stream_train.data.plans import IGNORED
from stream_train.data.reader import FrameReader
from stream_train.transformations.config import Motion
from stream_train.transformations.sequences import NUM_SPEEDS

SIDE = 32
"""Clips are shrunk to this side before frames are compared."""

Features = Callable[[Batch], FloatArray]
"""A batch -> float (N, numbers of a clip)."""


def frame_differences(batch: Batch) -> FloatArray:
    """float32 (N, T - 1 + T (T - 1) / 2): mean grey differences of neighbouring frames, and of all pairs, sorted."""
    grey = batch.frames.float().mean(dim=4)
    small = F.adaptive_avg_pool2d(grey, min(SIDE, grey.shape[-1])).flatten(start_dim=2)
    distances = torch.cdist(small, small, p=1) / small.shape[2]
    first, second = torch.triu_indices(small.shape[1], small.shape[1], offset=1)
    neighbours = distances.diagonal(offset=1, dim1=1, dim2=2)
    pairs = distances[:, first, second].sort(dim=1).values
    return torch.cat((neighbours, pairs), dim=1).numpy()


def jpeg_sizes(reader: FrameReader) -> Features:
    """The number of bytes of each frame, and their sorted differences: no pixel is decoded."""

    def sizes_of(batch: Batch) -> FloatArray:
        rows = []
        for sample, indices in zip(batch.sample.tolist(), batch.indices.numpy(), strict=True):
            sizes = reader.entry(sample).frame_bytes[indices].astype(np.float64)
            rows.append(np.concatenate((sizes, np.diff(sizes))))
        return np.stack(rows)

    return sizes_of


@dataclass(frozen=True, kw_only=True)
class TreesObserver:
    """Boosted trees for each answer, on the numbers of all clips that share the answer."""

    models: Mapping[str, Any]
    num_classes: Mapping[str, int]

    def scores(self, rows: FloatArray) -> dict[str, Tensor]:
        """Float (A, numbers) -> for each name, float32 (A, K) probabilities."""
        from threadpoolctl import threadpool_limits

        result = {}
        with threadpool_limits(1):
            for name, model in self.models.items():
                scores = torch.zeros(len(rows), self.num_classes[name])
                scores[:, torch.from_numpy(model.classes_)] = torch.from_numpy(model.predict_proba(rows)).float()
                result[name] = scores
        return result


def train_observer(rows: FloatArray, right: Mapping[str, IntArray], num_classes: Mapping[str, int]) -> TreesObserver:
    """Learn from training clips: float (A, numbers), and int64 (A,) right answers by name, without IGNORED ones."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    models = {}
    with threadpool_limits(1):  # the trees are small: more threads only wait for each other
        for name, answers in right.items():
            known = answers != IGNORED
            model = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=15, random_state=0)
            models[name] = model.fit(rows[known], answers[known])
    return TreesObserver(models=models, num_classes=dict(num_classes))


def ideal_answers(indices: npt.NDArray[np.int32], motions: Sequence[Motion]) -> dict[str, Tensor]:
    """The best answers from the frame numbers of clips, int32 (N, T), without a picture: scores (N, K) by name.

    Rules: equal steps forward are speed, equal steps forward and then backward periodic, steps that never go back warp,
    everything else random; the step is the speed. Only a warp that happens to look like speed is taken for it. Without
    `motions` only the speed is answered.
    """
    motion = torch.zeros(len(indices), len(motions))
    speed = torch.zeros(len(indices), NUM_SPEEDS)
    for clip, row in enumerate(indices.astype(np.int64)):
        steps = np.diff(row)
        kind = _motion_of(steps)
        if kind in motions:
            motion[clip, motions.index(kind)] = 1
        if kind in (Motion.SPEED, Motion.PERIODIC) and abs(int(steps[0])) in (1, 2, 4, 8):
            speed[clip, int(np.log2(abs(int(steps[0]))))] = 1
    return {"motion": motion, "speed": speed} if motions else {"speed": speed}


def _motion_of(steps: IntArray) -> Motion:
    if (steps == steps[0]).all() and steps[0] > 0:
        return Motion.SPEED
    if (steps >= 0).all():
        return Motion.WARP
    turns = np.flatnonzero(np.sign(steps[1:]) != np.sign(steps[:-1]))
    sizes = set(np.abs(steps).tolist())
    if steps[0] > 0 and len(turns) <= 2 and len(sizes) <= 2 and (np.diff(np.sign(steps)) <= 0).all():
        return Motion.PERIODIC
    return Motion.RANDOM
