"""Action recognition: one clip per video in training, the mean over all sub-sequences in the test (section 4).

In: labelled splits. Out: the task for the training loop, the scores of the test videos, and their row.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eval.judging.fitting import Fit, fit_model
from eval.judging.samples import Samples, scores_of
from eval.judging.setting import Setting, write_result
from eval.judging.subsequences import TestClips
from eval.judging.testing import per_video_means
from eval.pictures.charts import class_figure
from eval.results.rows import Row, VideoScores
from shardify.arrays import FloatArray, IntArray
from shardify.errors import first_names
from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips
from stream_train.tasks.action_labels import ACTION
from stream_train.tasks.base import ClipModel
from stream_train.training.pictures import draw_confusion

CONFUSION_NAME = "confusion.png"
CLASSES_NAME = "classes.png"


def fit_and_test(setting: Setting, plan: Fit, clips: TestClips) -> VideoScores:
    """Train on actions, then classify each test video. Raises UsageError if a video has no label."""
    setting.train.require_labels()
    setting.test.require_labels()
    trained = setting.train.positions if plan.positions is None else plan.positions
    for sentence in missing_classes(setting, trained):
        setting.say(sentence)
    model = fit_model(setting, plan)
    return action_scores(setting.test, class_probabilities(setting, model, clips))


def class_probabilities(setting: Setting, model: ClipModel, clips: TestClips) -> FloatArray:
    """float64 (V, K): softmax of the head ACTION, averaged over the clips of each test video."""
    model.eval()

    def rows_of(batch: Batch) -> tuple[Tensor, Tensor]:
        return torch.softmax(model(prepare_clips(batch))[ACTION].float(), dim=1), batch.sample

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
    """Whether the most probable class is right; the smallest of equally probable classes counts."""
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    return scores_of(samples, samples.positions, {"accuracy": predicted == samples.labels}, predicted)


def write_action_result(
    setting: Setting,
    evaluation: str,
    variant: str,
    details: dict[str, object],
    scores: VideoScores,
    *,
    pictures: bool = True,
) -> Row:
    """Write a row of accuracies; `pictures` adds the confusion matrix and the accuracy of each class."""
    classes = setting.test.classes

    def draw(folder: Path) -> None:
        title = f"{evaluation} {variant}, {setting.name}: {len(scores.keys)} videos of {setting.test.split or 'all'}"
        draw_confusion(confusion_of(scores, len(classes)), classes, folder / CONFUSION_NAME, title, noun="video")
        hits, totals = class_counts(scores, len(classes))
        class_figure(hits, totals, classes, folder / CLASSES_NAME, title=title, chance=1 / len(classes))

    chance = {"accuracy": 1 / len(classes)}
    return write_result(setting, evaluation, variant, details, scores, chance=chance, draw=draw if pictures else None)


def class_counts(scores: VideoScores, num_classes: int) -> tuple[IntArray, IntArray]:
    """For each class, int64 (K,): the number of correctly classified videos, and the number of videos."""
    confusion = confusion_of(scores, num_classes)
    return confusion.diagonal(), confusion.sum(axis=1)


def confusion_of(scores: VideoScores, num_classes: int) -> IntArray:
    """int64 (K, K): a row for each true class, a column for each predicted one."""
    assert scores.predicted is not None
    cells = scores.labels * num_classes + scores.predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def missing_classes(setting: Setting, trained: IntArray) -> list[str]:
    """Warnings about classes without videos; `trained` holds the positions of the training videos."""
    sentences = []
    rules = {"training": "they can never be recognised", "test": "they have no accuracy of their own"}
    for kind, labels in (("training", setting.train.labels[trained]), ("test", setting.test.labels)):
        present = set(labels.tolist())
        absent = [name for label, name in enumerate(setting.test.classes) if label not in present]
        if absent:
            sentences.append(f"{len(absent)} classes have no {kind} video ({first_names(absent, 5)}): {rules[kind]}")
    return sentences
