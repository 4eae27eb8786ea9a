"""How many frames must be seen to tell the classes apart?

The network stays as it is. For each number of frames, a new linear classifier learns from its features of training
clips that stop there (the last frame repeats), and is tested on held-out clips that stop there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from shardify.arrays import FloatArray, IntArray
from stream_train.audit.treatments import first_frames
from stream_train.data.plans import IGNORED

SEEN_FRAMES = (2, 4, 8, 12, 16)
Measure = Callable[[Tensor], FloatArray]
"""Prepared clips -> the network's feature vectors, float (A, length)."""


@dataclass(eq=False)
class SeenFrames:
    """The classifiers of one task's first question; `classes` are its answers."""

    classes: Sequence[str]
    features: dict[int, list[FloatArray]] = field(default_factory=lambda: {count: [] for count in SEEN_FRAMES})
    answers: list[IntArray] = field(default_factory=list)
    models: dict[int, Any] = field(default_factory=dict)
    hits: dict[int, IntArray] = field(default_factory=dict)
    """Frames seen -> for each class, the number of test clips that were recognised."""
    totals: IntArray = field(init=False)

    def __post_init__(self) -> None:
        self.totals = np.zeros(len(self.classes), dtype=np.int64)
        self.hits = {count: np.zeros(len(self.classes), dtype=np.int64) for count in SEEN_FRAMES}

    def add(self, clips: Tensor, measure: Measure, right: IntArray) -> None:
        """Add training clips."""
        self.answers.append(right)
        for count, parts in self.features.items():
            parts.append(measure(first_frames(clips, count)))

    def learn(self) -> None:
        """Train the classifiers; the features are dropped."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        right = np.concatenate(self.answers)
        known = right != IGNORED
        for count, parts in self.features.items():
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
            self.models[count] = model.fit(np.concatenate(parts)[known], right[known])
            parts.clear()

    def test(self, clips: Tensor, measure: Measure, right: IntArray) -> None:
        """Count the recognised ones of some test clips."""
        known = right != IGNORED
        self.totals += np.bincount(right[known], minlength=len(self.classes))
        for count, model in self.models.items():
            found = model.predict(measure(first_frames(clips, count)))
            self.hits[count] += np.bincount(right[known & (found == right)], minlength=len(self.classes))

    def shares(self) -> dict[str, dict[int, float]]:
        """Class -> frames seen -> share of its test clips that were recognised; classes without a clip are left out."""
        return {
            name: {count: float(hits[number] / self.totals[number]) for count, hits in self.hits.items()}
            for number, name in enumerate(self.classes)
            if self.totals[number]
        }
