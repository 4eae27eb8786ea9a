"""Transfer: fine-tuning a network to recognise actions, from its weights or from scratch (Table 2; Table 1, HMDB51).

In: a config's networks and splits. Out, a row each: accuracy over all sub-sequences, per-class accuracy, confusion.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.config import EvalConfig
from eval.evaluations.actions import ActionTask, action_scores, class_probabilities, confusion_of, missing_classes
from eval.judging.fitting import Fit, fit_model
from eval.judging.setting import Say, Setting, details_of, measured_row, settings_of, write_result
from eval.judging.subsequences import TestClips
from eval.pictures.charts import class_figure
from eval.results.rows import Row, VideoScores
from shardify.arrays import IntArray
from stream_train.training.distributed import World
from stream_train.training.pictures import draw_confusion

EVALUATION = "transfer"
VARIANT = "finetune"
CONFUSION_NAME = "confusion.png"
CLASSES_NAME = "classes.png"


def evaluate_transfer(config: EvalConfig, world: World, say: Say) -> list[Row]:
    """Fine-tune and test each setting."""
    return [transfer_row(setting) for setting in settings_of(config, config.transfer.networks, world, say)]


def transfer_row(setting: Setting) -> Row:
    """All layers are trained; all but the last fully connected layer start from the network's weights."""
    section = setting.config.transfer
    exclude = {"networks", "validate_every_epochs"}
    details = details_of(setting, transfer=section.model_dump(mode="json", exclude=exclude))
    if (row := measured_row(setting, EVALUATION, VARIANT, details)) is not None:
        return row
    plan = Fit(
        evaluation=EVALUATION,
        variant=VARIANT,
        task=ActionTask(classes=setting.train.classes, stride=section.stride, rule=section.short_videos),
        epochs=section.epochs,
        optimizer=section.optimizer,
        new_fully_connected=False,
        validate_every_epochs=section.validate_every_epochs,
        details={"stride": section.stride, "short_videos": section.short_videos},
    )
    clips = TestClips(stride=section.stride, all_starts=section.all_clips, rule=section.short_videos)
    scores = fit_and_test(setting, plan, clips)
    return write_action_result(setting, EVALUATION, VARIANT, details, scores)


def fit_and_test(setting: Setting, plan: Fit, clips: TestClips) -> VideoScores:
    """Learn to recognise actions, then name the action of each test video.

    Raises:
        UsageError: if a video has no label.
    """
    setting.train.require_labels()
    setting.test.require_labels()
    trained = setting.train.positions if plan.positions is None else plan.positions
    for sentence in missing_classes(setting, trained):
        setting.say(sentence)
    model = fit_model(setting, plan)
    return action_scores(setting.test, class_probabilities(setting, model, clips))


def write_action_result(
    setting: Setting,
    evaluation: str,
    variant: str,
    details: dict[str, object],
    scores: VideoScores,
    *,
    pictures: bool = True,
) -> Row:
    """A row of accuracies, with pictures of the confusion matrix and of each class's accuracy if they are wanted."""
    classes = setting.test.classes

    def draw(folder: Path) -> None:
        title = f"{evaluation} {variant}, {setting.name}: {len(scores.keys)} videos of {setting.test.split or 'all'}"
        draw_confusion(confusion_of(scores, len(classes)), classes, folder / CONFUSION_NAME, title, noun="video")
        hits, totals = class_counts(scores, len(classes))
        class_figure(hits, totals, classes, folder / CLASSES_NAME, title=title, chance=1 / len(classes))

    chance = {"accuracy": 1 / len(classes)}
    return write_result(setting, evaluation, variant, details, scores, chance=chance, draw=draw if pictures else None)


def class_counts(scores: VideoScores, num_classes: int) -> tuple[IntArray, IntArray]:
    """int64 (K,) rightly named videos of each class, and (K,) all of its videos."""
    totals = np.bincount(scores.labels, minlength=num_classes)
    hits = np.bincount(scores.labels[scores.predicted == scores.labels], minlength=num_classes)
    return hits, totals
