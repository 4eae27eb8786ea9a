"""Recognising actions: one clip a video in training, the average over all sub-sequences in the test (section 4).

In: labelled splits. Out: the task that the training loop learns, and class probabilities of test videos.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eval.judging.config import ShortRule
from eval.judging.question import Question
from eval.judging.samples import Samples, scores_of
from eval.judging.setting import Setting
from eval.judging.subsequences import TestClips, draw_subsequence
from eval.judging.testing import per_video_means
from eval.results.rows import VideoScores
from shardify.arrays import FloatArray, IntArray
from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips
from stream_train.draws import SampleDraws
from stream_train.tasks.base import ClipModel
from stream_train.transformations.sampling import ClipPlan

HEAD = "action"


@dataclass(frozen=True, kw_only=True)
class ActionTask(Question):
    """Which of the data set's classes a clip shows."""

    classes: tuple[str, ...]
    stride: int
    still: bool = False
    """Clips repeat one frame."""
    rule: ShortRule = "exact"
    """Of short videos."""
    head: str = HEAD

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        return (draw_subsequence(num_frames, draws, self.stride, still=self.still, rule=self.rule),)

    def targets(self, batch: Batch) -> Tensor:
        return batch.label


def class_probabilities(setting: Setting, model: ClipModel, clips: TestClips) -> FloatArray:
    """Softmax over classes, averaged over each test video's clips.

    Args:
        setting: names the test split.
        model: with a head HEAD; put into evaluation mode.
        clips: which sub-sequences are looked at.

    Returns:
        float64 (V, K); each row sums to 1.
    """
    model.eval()

    def rows_of(batch: Batch) -> tuple[Tensor, Tensor]:
        return torch.softmax(model(prepare_clips(batch))[HEAD].float(), dim=1), batch.sample

    return per_video_means(
        rows_of,
        setting.test.shard_set,
        setting.data,
        clips,
        positions=setting.test.positions,
        max_clips=setting.config.data.max_test_clips,
        world=setting.world,
        precision=setting.config.precision,
    )


def action_scores(samples: Samples, probabilities: npt.NDArray[np.floating[Any]]) -> VideoScores:
    """Right or wrong by the most probable class, the smallest of several."""
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    return scores_of(samples, samples.positions, {"accuracy": predicted == samples.labels}, predicted)


def confusion_of(scores: VideoScores, num_classes: int) -> IntArray:
    """int64 (K, K): rows are what videos are, columns what they are called."""
    assert scores.predicted is not None
    cells = scores.labels * num_classes + scores.predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def missing_classes(setting: Setting, trained: IntArray) -> list[str]:
    """Sentences about classes without videos, for the user.

    Args:
        setting: names the splits.
        trained: int64, positions of the training split's videos that were learnt from.
    """
    sentences = []
    rules = {"training": "they can never be recognised", "test": "they have no accuracy of their own"}
    for kind, labels in (("training", setting.train.labels[trained]), ("test", setting.test.labels)):
        present = set(labels.tolist())
        absent = [name for label, name in enumerate(setting.test.classes) if label not in present]
        if absent:
            named = ", ".join(absent[:5]) + (" ..." if len(absent) > 5 else "")
            sentences.append(f"{len(absent)} classes have no {kind} video ({named}): {rules[kind]}")
    return sentences
