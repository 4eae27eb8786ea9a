"""A task with one linear head and one right answer per row, measured by accuracy; the base of most tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from stream_train.data.batch import Batch
from stream_train.tasks.base import ClipTask, HeadWidth, LossTerm, count_confusion, cross_entropy_term


class Question(ClipTask):
    """A classification. A subclass names head and classes, and defines which clips a video gives."""

    head: str
    """Name of the head, of its target in the plans, and of the accuracy in the metrics."""
    classes: tuple[str, ...]
    """The answers, in the order of the logits."""

    def targets(self, batch: Batch) -> Tensor:
        """Int64 (A,), the right answer to each row of logits: by default the target of the first clip of each."""
        return batch.targets[self.head][:: self.clips_per_answer]

    def build_heads(self, width: HeadWidth) -> dict[str, nn.Module]:
        return {self.head: width.linear(len(self.classes))}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        return {self.head: cross_entropy_term(outputs[self.head], self.targets(batch))}

    def count(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return {self.head: count_confusion(self.targets(batch), outputs[self.head])}

    def compute_metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        confusion = counts[self.head]
        return {f"{self.head}_accuracy": int(confusion.diagonal().sum()) / max(int(confusion.sum()), 1)}

    def guesses(self, _: Mapping[str, float]) -> dict[str, float]:
        return {f"{self.head}_accuracy": 1 / len(self.classes)}

    def answers(self, batch: Batch) -> dict[str, Tensor]:
        return {self.head: self.targets(batch)}

    def class_names(self) -> dict[str, Sequence[str]]:
        return {self.head: self.classes}
