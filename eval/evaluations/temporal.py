"""Questions about the time in a video (Table 3): train a new classifier, then test it on drawn clips.

In: a :class:`TemporalQuestion`. Out: its result row. Videos too short for the question are left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from eval.evaluations.before_after import BeforeAfterSection
from eval.evaluations.sync import SyncSection
from eval.judging.fitting import Fit, fit_model
from eval.judging.samples import scores_of
from eval.judging.setting import Setting, details_of, measured_row, write_result
from eval.judging.testing import per_video_means
from eval.results.rows import Row
from shardify.arrays import IntArray
from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.device_ops import prepare_clips
from stream_train.data.plans import DrawClips
from stream_train.tasks.question import Question

_NOT_THE_QUESTION = {"networks", "epochs", "optimizer", "frozen", "frozen_norm", "tests_per_video"}
"""Keys of a section that do not change the training clips, or that a training's settings hold anyway."""
Baseline = Callable[[Setting, DrawClips, IntArray], Callable[[Batch], Tensor]]
"""A setting, test clips, and the training videos' positions -> a function from a batch to int64 answers."""


@dataclass(frozen=True, kw_only=True)
class TemporalQuestion:
    """One of Table 3's questions."""

    evaluation: str
    section: SyncSection | BeforeAfterSection
    task: Question
    tests: DrawClips
    """The clips of a test video, drawn with the setting's seed."""
    measure: Callable[[Tensor, Tensor], Tensor]
    """Answers int64 (R,), right answers int64 (R,) -> (R, metrics)."""
    chance: dict[str, float]
    """Metric -> the value of guessing, in the order of the metrics."""
    data: Callable[[DataConfig], DataConfig] = lambda data: data
    """Changes how training clips are read."""
    baseline: tuple[str, Baseline] | None = None
    """A guess without a network that is measured beside the network: the metric's name, and how to learn it."""


def temporal_row(setting: Setting, question: TemporalQuestion) -> Row:
    """Train, test and write the row; or read the row of an earlier command."""
    section, evaluation = question.section, question.evaluation
    section = section.model_copy(update={"optimizer": setting.optimizer_of(section.optimizer)})
    variant = "frozen" if section.frozen else "finetune"
    details = details_of(setting, **{evaluation: section.model_dump(mode="json", exclude={"networks"})})
    if (row := measured_row(setting, evaluation, variant, details)) is not None:
        return row
    trained, tested = (samples.at_least(question.task.min_frames) for samples in (setting.train, setting.test))
    num_left_out = len(setting.test) - len(tested)
    if num_left_out or len(trained) < len(setting.train):
        setting.say(
            f"{evaluation}: {len(setting.train) - len(trained)} training and {num_left_out} test videos have fewer "
            f"than the {question.task.min_frames} frames that the question needs, and are left out"
        )
    model = fit_model(
        setting,
        Fit(
            evaluation=evaluation,
            variant=variant,
            task=question.task,
            epochs=section.epochs,
            optimizer=section.optimizer,
            new_fully_connected=True,
            frozen=section.frozen,
            frozen_norm=section.frozen_norm,
            positions=trained if len(trained) < len(setting.train) else None,
            data=question.data(setting.data),
            details=section.model_dump(mode="json", exclude=_NOT_THE_QUESTION),
        ),
    )
    chance, guess = dict(question.chance), None
    if question.baseline is not None:
        name, learn = question.baseline
        guess = learn(setting, question.tests, trained)
        chance[name] = chance["accuracy"]

    def rows_of(batch: Batch) -> tuple[Tensor, Tensor]:
        answers = model(prepare_clips(batch))[question.task.head].argmax(dim=1)
        right = question.task.targets(batch)
        columns = question.measure(answers, right)
        if guess is not None:
            columns = torch.cat((columns, question.measure(guess(batch), right)), dim=1)
        return columns, batch.sample[:: question.task.clips_per_answer]

    most = setting.config.data.max_test_clips // question.task.clips_per_answer
    means = per_video_means(
        rows_of,
        setting.test.shard_set,
        setting.data,
        question.tests,
        positions=tested,
        max_clips=max(1, most) * question.task.clips_per_answer,  # the clips of an answer stay together
        world=setting.world,
        precision=setting.config.precision,
        seed=setting.seed,
    )
    scores = scores_of(setting.test, tested, dict(zip(chance, means.T, strict=True)))
    return write_result(setting, evaluation, variant, details, scores, chance=chance, num_left_out=num_left_out)
