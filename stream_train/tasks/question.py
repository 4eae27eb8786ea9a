"""A task with one head and one right answer per row, measured by accuracy; the base class of most evaluations."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence

from torch import Tensor

from stream_train.data.batch import Batch
from stream_train.tasks.base import ClipTask, LossTerm, count_confusion, cross_entropy_term


class Question(ClipTask):
    """A classification. A subclass defines which clips a video gives, and which answers are right."""

    head: str
    """Name of the head, and of the accuracy in the metrics."""
    classes: tuple[str, ...]
    """The answers, in the order of the logits."""

    @abc.abstractmethod
    def targets(self, batch: Batch) -> Tensor:
        """Int64, the right answer to each row of logits."""

    def head_sizes(self) -> dict[str, int]:
        return {self.head: len(self.classes)}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        return {self.head: cross_entropy_term(outputs[self.head], self.targets(batch))}

    def count(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return {self.head: count_confusion(self.targets(batch), outputs[self.head])}

    def count_baselines(self, _: Batch, __: Tensor) -> dict[str, Tensor]:
        return {}

    def compute_metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        confusion = counts[self.head]
        return {f"{self.head}_accuracy": int(confusion.diagonal().sum()) / max(int(confusion.sum()), 1)}

    def guesses(self, _: Mapping[str, float]) -> dict[str, float]:
        return {f"{self.head}_accuracy": 1 / len(self.classes)}

    def class_names(self) -> dict[str, Sequence[str]]:
        return {self.head: self.classes}
