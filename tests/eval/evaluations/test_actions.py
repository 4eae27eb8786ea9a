"""Recognising actions: the average of probabilities over a video's clips, and the classes that it names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers_datasets import write_dataset
from helpers_eval import Oracle, logits_of, telling_jpeg, tiny_eval_config, tiny_setting, write_eval_dataset
from torch import Tensor

from eval.evaluations.actions import action_scores, class_probabilities, confusion_of, missing_classes
from eval.judging.setting import Setting
from eval.judging.subsequences import TestClips
from eval.results.rows import VideoScores
from shardify.arrays import FloatArray
from stream_train.data.batch import Batch
from stream_train.data.loader import VideoClips
from stream_train.data.order import Slot
from stream_train.data.prefetching import BatchRequest
from stream_train.draws import Domain
from stream_train.tasks.action_labels import ActionLabels

CLASSES = ("class0", "class1")
TASK = ActionLabels(classes=CLASSES, stride=4)


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """Videos whose pixels tell the frame and the class; read-only."""
    root = tmp_path_factory.mktemp("telling")
    return tiny_setting(tiny_eval_config(write_eval_dataset(root / "shards", jpeg=telling_jpeg), root / "out"))


def probabilities(
    setting: Setting, logits: Callable[[Tensor, Tensor], Tensor], clips: TestClips | None = None
) -> FloatArray:
    """Of a model that answers by frame and class numbers; it comes in training mode, as after a step."""
    return class_probabilities(setting, Oracle("action", logits).train(), clips or TestClips())  # type: ignore[arg-type]


# From clips to videos


def test_probabilities_are_averaged_not_logits(telling: Setting) -> None:
    """Logits are (20, 0) at the first start and (0, 1) at all others, that is probabilities (1, 0) and (0.269, 0.731).

    64 frames have four starts: the mean logits (5, 0.75) would say class 0, but (1 + 3 * 0.269) / 4 = 0.452 says 1.
    """

    def logits(frames: Tensor, _: Tensor) -> Tensor:
        confident = (frames[:, 0] == 0).float()
        return torch.stack((20 * confident, 1 - confident), dim=1)

    rows = probabilities(replace(telling, test=telling.train), logits)
    one = 1 / (1 + math.e)
    for position, (frames, num_clips) in {0: (20, 5), 1: (16, 1), 3: (61, 1), 8: (70, 10), 14: (64, 4)}.items():
        assert telling.train.num_frames[position] == frames
        assert rows[position, 0] == pytest.approx((1 + (num_clips - 1) * one) / num_clips, abs=1e-6)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    assert rows.argmax(axis=1)[[1, 3, 14]].tolist() == [0, 0, 1]


def test_every_chosen_start_counts(telling: Setting) -> None:
    """The mean of the starts 0, 1 ... M - 1, as probabilities; 62 frames have the starts 0 and 1 at stride 4."""

    def logits(frames: Tensor, _: Tensor) -> Tensor:
        share = (frames[:, 0] + 1) / 100
        return torch.stack((share, 1 - share), dim=1).log()

    rows = probabilities(telling, logits)
    starts = np.array([2, 2, 1, 8, 15, 11, 6, 1])  # of 17, 62, 5, 23, 45, 26, 21 and 16 frames
    np.testing.assert_allclose(rows[:, 0], ((starts - 1) / 2 + 1) / 100, rtol=1e-5)
    sparse = replace(telling, test=telling.train)
    assert probabilities(sparse, logits, TestClips(stride=1))[8, 0] == pytest.approx((54 / 2 + 1) / 100, rel=1e-5)


def test_strides_of_the_test(telling: Setting) -> None:
    """A model that says the distance of a clip's frames: min(4, (n - 1) // 15), and 1 where the frames loop."""

    def logits(frames: Tensor, _: Tensor) -> Tensor:
        step = ((frames[:, 1] - frames[:, 0]) / 100).float()
        return torch.stack((step, 1 - step), dim=1).log()

    rows = probabilities(telling, logits)
    np.testing.assert_allclose(rows[:, 0] * 100, [1, 4, 1, 1, 2, 1, 1, 1], rtol=1e-4)


# From probabilities to scores


def test_who_reads_the_class_off_the_pixels_is_always_right(telling: Setting) -> None:
    for flip, accuracy in ((0, 1.0), (1, 0.0)):
        rows = probabilities(telling, lambda _, labels, flip=flip: logits_of((labels + flip) % 2, 2))  # type: ignore[misc]
        scores = action_scores(telling.test, rows)
        assert scores.values["accuracy"].mean() == accuracy
        assert scores.keys == telling.test.keys
        expected = np.zeros((2, 2), dtype=np.int64)
        expected[[0, 1], [flip, 1 - flip]] = 4
        assert np.array_equal(confusion_of(scores, 2), expected)


def test_confusion_by_hand() -> None:
    scores = VideoScores(
        keys=tuple("abcdef"),
        groups=tuple("abcdef"),
        labels=np.array([0, 0, 2, 2, 2, 1]),
        predicted=np.array([0, 1, 2, 0, 0, 1]),
        values={"accuracy": np.ones(6)},
    )
    assert confusion_of(scores, 4).tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [2, 0, 1, 0], [0, 0, 0, 0]]


def test_classes_without_videos_are_named(tmp_path: Path) -> None:
    data = write_dataset(
        tmp_path / "data", [[16, 17, 18, 19, 20, 21, 22], [16, 17]], splits=[["train1"], ["test1"]], num_classes=7
    )
    setting = tiny_setting(tiny_eval_config(data, tmp_path / "out"))
    sentences = missing_classes(setting, np.array([0, 1]))
    assert sentences == [
        "5 classes have no training video (class2, class3, class4, class5, class6): they can never be recognised",
        "5 classes have no test video (class2, class3, class4, class5, class6): they have no accuracy of their own",
    ]
    first = missing_classes(setting, np.array([6]))[0]
    assert first.startswith("6 classes have no training video (class0, class1, class2, class3, class4 ...)")
    assert len(missing_classes(setting, setting.train.positions)) == 1


# The task of training


@pytest.mark.parametrize("still", [False, True])
def test_training_reads_one_clip_a_video(telling: Setting, still: bool) -> None:
    """Through the loader: of the frames that were drawn, all of one video, with its label."""
    task = replace(TASK, still=still)
    clips = VideoClips(telling.train.shard_set, telling.data, task.draw_clips, 0, Domain.TRAINING)
    slots = tuple(Slot(epoch=1, position=position) for position in range(16))
    batch = clips[BatchRequest(number=0, slots=slots)].item
    assert isinstance(batch, Batch)
    assert len(batch) == 16
    assert torch.equal(task.targets(batch), torch.tensor([0, 1] * 8))
    shown = (batch.frames[..., 0].double().mean(dim=(2, 3)) / 3).round().int()
    assert torch.equal(shown, batch.indices)
    distinct = [len(set(frames)) for frames in shown.tolist()]
    assert distinct == ([1] * 16 if still else [min(16, frames) for frames in telling.train.num_frames.tolist()])
    same = (batch.frames == batch.frames[:, :1]).flatten(start_dim=1).all(dim=1)
    assert same.all() == still
    assert same.any() == still


def test_loss_and_figures_of_the_task(telling: Setting) -> None:
    clips = VideoClips(telling.train.shard_set, telling.data, TASK.draw_clips, 0, Domain.TRAINING)
    batch = clips[BatchRequest(number=0, slots=tuple(Slot(epoch=0, position=position) for position in (0, 2, 3)))].item
    assert isinstance(batch, Batch)
    logits = torch.tensor([[2.0, -1.0], [0.0, 1.0], [-3.0, 0.5]])  # of classes 0, 0, 1: right, wrong, right
    term = TASK.losses({"action": logits}, batch)["action"]
    assert term.total.item() == pytest.approx(F.cross_entropy(logits, torch.tensor([0, 0, 1]), reduction="sum").item())
    assert (term.count.item(), term.weight) == (3, 1)
    counts = TASK.count({"action": logits}, batch)
    assert counts["action"].tolist() == [[1, 1], [0, 1]]
    assert TASK.compute_metrics(counts) == {"action_accuracy": pytest.approx(2 / 3)}
    assert TASK.guesses({}) == {"action_accuracy": 1 / 2}
    assert TASK.class_names() == {"action": CLASSES}
    assert TASK.compute_metrics({"action": torch.zeros(2, 2)}) == {"action_accuracy": 0}
