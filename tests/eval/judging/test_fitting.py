"""Real training steps of an evaluation: what is frozen does not move, what is new learns, what was killed goes on."""

from __future__ import annotations

import math
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_eval import telling_jpeg, tiny_eval_config, tiny_setting, write_eval_dataset
from helpers_networks import CONFIGS, BatchNorms, narrow, randomise_norms
from torch import Tensor, nn

from eval.evaluations.actions import action_scores, class_probabilities
from eval.evaluations.probe_rows import epochs_of_fewer
from eval.evaluations.sync_rows import SyncTask
from eval.judging.config import FineTuneOptimizer
from eval.judging.fitting import Fit, fit_config, fit_model
from eval.judging.models import JudgedModel
from eval.judging.setting import Setting
from eval.judging.subsequences import TestClips
from shardify.errors import UsageError
from stream_train.data.batch import Batch
from stream_train.networks.base import Backbone
from stream_train.tasks.action_labels import ActionLabels
from stream_train.tasks.question import Question
from stream_train.training.checkpoint import CheckpointFolder
from stream_train.training.exports import export_weights
from stream_train.training.loop import compute_gradients
from stream_train.training.metrics import Interval, read_metrics
from stream_train.training.pictures import VALIDATION_PREFIX
from stream_train.training.preemption import Stopped
from stream_train.training.run import Run

KINDS = ("c3d", "r3d18", "r2plus1d18-official")
ACTION = ActionLabels(classes=("class0", "class1"), stride=4)
State = dict[str, Tensor]
pytestmark = pytest.mark.usefixtures("blank_charts")


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos whose pixels tell the class; read-only."""
    return write_eval_dataset(tmp_path_factory.mktemp("telling"), jpeg=telling_jpeg)


@pytest.fixture(scope="module")
def trained(telling: Path, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """A setting with a finished training of one epoch; read-only."""
    setting = setting_of(telling, tmp_path_factory.mktemp("trained"))
    fit_model(setting, fit_of(setting, epochs=1))
    return setting


def pretrained(name: str) -> Backbone:
    backbone = narrow(CONFIGS[name], seed=7)
    randomise_norms(backbone)
    return backbone


def setting_of(shards: Path, root: Path, name: str = "c3d", **changes: Any) -> Setting:
    """A setting on an exported network, narrow and with statistics that matter."""
    config = CONFIGS[name].model_copy(update={"width": 0.125})
    metadata = {"network": config.model_dump(mode="json"), "crop": 16, "num_frames": 16}
    root.mkdir(exist_ok=True)
    export_weights(root / "backbone.safetensors", pretrained(name), metadata)
    networks = {"pretrained": {"kind": "checkpoint", "path": str(root / "backbone.safetensors")}}
    return tiny_setting(tiny_eval_config(shards, root / "out", networks=networks, **changes))


def fit_of(setting: Setting, **changes: Any) -> Fit:
    """Four epochs of recognising actions on frozen convolutions, that is 16 steps."""
    values: dict[str, Any] = {
        "evaluation": "probe",
        "variant": "test",
        "task": ACTION,
        "epochs": 4,
        "optimizer": FineTuneOptimizer(learning_rate=1e-3),
        "new_fully_connected": True,
        "frozen": True,
    }
    return Fit(**values | changes)


def start_of(setting: Setting, plan: Fit) -> State:
    """The model before its first step."""
    torch.manual_seed(setting.seed)
    return state_of(
        JudgedModel(
            setting.network.build(setting.seed),
            setting.network.config,
            plan.task,
            new_fully_connected=plan.new_fully_connected,
            frozen=plan.frozen,
            frozen_norm=plan.frozen_norm,
        )
    )


def state_of(module: nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def convolutional_names(model: JudgedModel) -> set[str]:
    """Entries of the state that belong to the convolutions, their BatchNorm included."""
    children = {id(module): name for name, module in model.backbone.named_children()}
    parts = tuple(f"backbone.{children[id(part)]}." for part in model.backbone.convolutional_parts())
    return {name for name in model.state_dict() if name.startswith(parts)}


def is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


# Frozen


@pytest.mark.parametrize(
    ("name", "task"), [*((name, ACTION) for name in KINDS), ("r2plus1d18-official", SyncTask(stride=1))]
)
def test_frozen_networks_stay_bit_equal(telling: Path, tmp_path: Path, name: str, task: Question) -> None:
    """Weights, BatchNorm's statistics and its count of batches; and every new layer has moved."""
    setting = setting_of(telling, tmp_path, name)
    long_enough = setting.train.at_least(task.min_frames)
    plan = fit_of(setting, task=task, epochs=2, positions=long_enough)
    before, model = start_of(setting, plan), fit_model(setting, plan)
    after = state_of(model)
    assert not any(module.training for module in model.modules())
    frozen, original = convolutional_names(model), pretrained(name).state_dict()
    assert len(frozen) > 20
    assert before.keys() == after.keys()
    for entry, value in after.items():
        if entry in frozen:
            assert torch.equal(value, original[entry.removeprefix("backbone.")]), entry
        elif "feature_norm" not in entry:
            assert not torch.equal(value, before[entry]), entry
    assert read_metrics(Path(setting.place("probe", "test")))[-1]["step"] >= 4


@pytest.mark.parametrize("name", KINDS)
def test_statistics_move_below_frozen_weights_if_they_are_asked_to(telling: Path, tmp_path: Path, name: str) -> None:
    """As in the authors' code: weights stay bit-equal, but averages go on, and one count a step."""
    setting = setting_of(telling, tmp_path, name)
    model = fit_model(setting, fit_of(setting, epochs=1, frozen_norm="training"))
    after, original = state_of(model), pretrained(name).state_dict()
    frozen = convolutional_names(model)
    for entry in frozen:
        value, old = after[entry], original[entry.removeprefix("backbone.")]
        if entry.endswith("num_batches_tracked"):
            assert value == old + 4  # 16 videos, 4 a batch
        else:
            assert torch.equal(value, old) != is_statistic(entry), entry
    assert sum(map(is_statistic, frozen)) == 3 * sum(
        isinstance(layer, BatchNorms) for part in model.backbone.convolutional_parts() for layer in part.modules()
    )


@pytest.mark.slow
def test_new_layers_on_random_convolutions_learn(telling: Path, tmp_path: Path) -> None:
    """Classes that colours tell; 160 steps, so that BatchNorm's averages (momentum 0.025) are settled."""
    setting = tiny_setting(tiny_eval_config(telling, tmp_path))
    model = fit_model(setting, fit_of(setting, epochs=40, optimizer=FineTuneOptimizer(learning_rate=3e-3)))
    scores = action_scores(setting.test, class_probabilities(setting, model, TestClips()))
    assert scores.values["accuracy"].mean() == 1
    records = read_metrics(Path(setting.place("probe", "test")))
    assert records[-1]["action_accuracy"] == 1
    losses = [record["loss"] for record in records]
    assert losses[-1] < 0.3 * losses[0]


# What a run is


def test_only_the_chosen_videos_are_learnt_from(telling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four of sixteen, four times."""
    setting = setting_of(telling, tmp_path)
    seen: list[int] = []
    original = ActionLabels.targets

    def targets(self: ActionLabels, batch: Any) -> Tensor:
        if len(seen) < 64:  # the loss and the count ask once each
            seen.extend(batch.sample.tolist())
        return original(self, batch)

    monkeypatch.setattr(ActionLabels, "targets", targets)
    plan = fit_of(setting, epochs=4, positions=np.array([1, 4, 9, 15]))
    fit_model(setting, plan)
    assert {sample: seen.count(sample) for sample in seen} == {1: 8, 4: 8, 9: 8, 15: 8}
    assert read_metrics(Path(setting.place("probe", "test")))[-1]["step"] == 4


@pytest.mark.parametrize(("count", "epochs"), [(16, 3), (15, 4), (8, 6), (5, 10), (1, 48)])
def test_fewer_videos_are_seen_more_often(telling: Path, tmp_path: Path, count: int, epochs: int) -> None:
    """3 epochs of 16 videos are 12 steps of 4; never fewer for a part of them, and less than one epoch of it more."""
    setting = setting_of(telling, tmp_path)
    assert epochs_of_fewer(3, 16, count) == epochs
    config = fit_config(setting, fit_of(setting, epochs=epochs, positions=np.arange(count)))
    assert config.epochs == epochs
    assert 12 <= config.num_steps(count) <= 12 + math.ceil(count / 4)
    assert fit_config(setting, fit_of(setting, epochs=3)).num_steps(16) == 12


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def test_a_killed_training_goes_on_exactly(telling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit by bit, frozen statistics included; a checkpoint every third step, a kill in the eighth."""
    settings = [setting_of(telling, tmp_path / name, checkpoint={"every_steps": 3}) for name in ("one", "other")]
    plans = [fit_of(setting, epochs=3, frozen_norm="training") for setting in settings]
    whole = state_of(fit_model(settings[0], plans[0]))
    original, done = Interval.add, [0]

    def add(self: Interval, *arguments: Any) -> None:
        done[0] += 1
        if done[0] == 8:
            raise Killed
        original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Interval, "add", add)
        with pytest.raises(Killed):
            fit_model(settings[1], plans[1])
    assert CheckpointFolder(folder=settings[1].place("probe", "test")).steps()[-1] == 6
    resumed = state_of(fit_model(settings[1], plans[1]))
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"frozen": False}, "question.frozen was True, now False"),
        ({"frozen_norm": "training"}, "question.frozen_norm"),
        ({"positions": np.array([0, 1, 2, 3, 4, 5, 6, 7])}, "question.videos was None, now '8 of 16"),
        ({"details": {"still": True}}, "question.still was not set, now True"),
        ({"epochs": 2}, "epochs was 1, now 2"),
    ],
)
def test_a_folder_with_another_training_is_not_mistaken_for_this_one(
    trained: Setting, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        fit_model(trained, replace(fit_of(trained, epochs=1), **changes))


def test_other_weights_are_another_training(trained: Setting, tmp_path: Path) -> None:
    """Although the network has the same name and path."""
    root = shutil.copytree(Path(trained.config.out).parent, tmp_path / "copy")
    setting = setting_of(Path(trained.config.shards), root)
    path = root / "backbone.safetensors"
    config = setting.network.config.model_dump(mode="json")
    export_weights(path, narrow(CONFIGS["c3d"], seed=8), {"network": config, "crop": 16, "num_frames": 16})
    changed = tiny_setting(setting.config)
    with pytest.raises(UsageError, match=r"question\.weights was '[0-9a-f]+\.\.\., now '[0-9a-f]+"):
        fit_model(changed, fit_of(changed, epochs=1))


def test_curves_may_show_single_clips_of_the_test(telling: Path, tmp_path: Path) -> None:
    """Every second epoch, 4 steps each, and at the end; without a word in the final accuracy, which is measured."""
    setting = setting_of(telling, tmp_path)
    fit_model(setting, fit_of(setting, epochs=3, validate_every_epochs=2))
    records = read_metrics(Path(setting.place("probe", "test")))
    judged = [record["step"] for record in records if f"{VALIDATION_PREFIX}action_accuracy" in record]
    assert judged == [8, 12]


def test_a_signal_during_the_last_step_stops_the_command_after_the_training(
    telling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the command would train the next network, and ignore all further signals meanwhile."""
    setting = setting_of(telling, tmp_path)
    plan = fit_of(setting, epochs=1)

    def compute(run: Run, batch: Batch) -> Any:
        if run.step == run.num_steps - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return compute_gradients(run, batch)

    with monkeypatch.context() as patches:
        patches.setattr("stream_train.training.loop.compute_gradients", compute)
        with pytest.raises(Stopped) as stopped:
            fit_model(setting, plan)
    assert stopped.value.code == 75
    monkeypatch.setattr("stream_train.training.loop.train", lambda _: pytest.fail("trained again"))
    fit_model(setting, plan)
