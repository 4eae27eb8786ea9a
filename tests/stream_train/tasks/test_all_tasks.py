"""What every pretext task promises, on a tiny network and two videos."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from helpers_pretext import slice_of
from helpers_tasks import KINDS, batch_of_task, task_of_kind
from pydantic import TypeAdapter
from torch import Tensor

from shardify.errors import UsageError
from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips
from stream_train.draws import SampleDraws
from stream_train.networks.config import C3DConfig, NetworkConfig, R3D18Config
from stream_train.tasks import build_model, build_task
from stream_train.tasks.base import ClipModel, ClipTask
from stream_train.tasks.config import ActionLabelsConfig, TaskConfig
from stream_train.training.distributed import World
from stream_train.training.exports import export_weights, load_model
from stream_train.training.metrics import SCORE_ENDINGS
from stream_train.training.objective import combine

every_kind = pytest.mark.parametrize("kind", KINDS)
CROP = 32
NETWORK = C3DConfig(width=0.05)
LENGTHS = (130, 131)
CHANGES = {"playback_rate": {"decoded_pixels": 16}}
"""Keys of tasks that are quicker so."""


@cache
def tiny(kind: str) -> tuple[ClipTask, Batch]:
    task = task_of_kind(kind, **CHANGES.get(kind, {}))
    return task, batch_of_task(task, LENGTHS, crop=CROP)


def model_of(task: ClipTask, network: NetworkConfig = NETWORK) -> ClipModel:
    torch.manual_seed(0)
    return build_model(network, task, crop=CROP)


def lengths_of(batch: Batch) -> Tensor:
    return torch.tensor(LENGTHS)[batch.sample]


@every_kind
def test_workers_draw_the_same_clips(kind: str) -> None:
    task, _ = tiny(kind)
    draw = pickle.loads(pickle.dumps(task.draw_clips))
    for epoch, length in enumerate((task.min_frames + 100, 300)):
        here, there = (function(length, SampleDraws(1, epoch, 3)) for function in (task.draw_clips, draw))
        assert len(here) == len(there)
        for one, other in zip(here, there, strict=True):
            assert one.indices.tolist() == other.indices.tolist()
            assert dict(one.targets) == dict(other.targets)
            for name in ("window", "quarter_turns", "view", "measure"):
                assert getattr(one, name) == getattr(other, name)


@every_kind
def test_the_loss_is_finite_and_every_parameter_learns(kind: str) -> None:
    """DistributedDataParallel waits for a gradient of each parameter that requires one."""
    task, batch = tiny(kind)
    model = model_of(task)
    outputs = model(prepare_clips(batch))
    answers = len(batch) // task.clips_per_answer
    assert outputs.keys() == model.heads.keys()
    per_clip = {"frames"} if kind == "playback_rate" else set()
    for name, output in outputs.items():
        assert kind == "dense_prediction" or len(output) == (len(batch) if name in per_clip else answers)
    terms = task.losses(outputs, batch)
    assert all(int(term.count) > 0 for term in terms.values())
    objective = combine(terms, World())
    assert objective.loss.isfinite()
    torch.autograd.backward(objective.loss)
    learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in learning.values())
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if name not in learning)
    behind = {name for name, _ in model.named_parameters()} - learning.keys()
    assert all(name.startswith("backbone.fully_connected") for name in behind)
    assert bool(behind) == (kind == "dense_prediction"), "only its head reads nothing but maps"


@pytest.mark.parametrize("kind", ["playback_rate", "dense_prediction", "clip_order"])
def test_heads_fit_a_network_without_fully_connected_layers(kind: str) -> None:
    task, batch = tiny(kind)
    model = model_of(task, R3D18Config(width=0.05))
    objective = combine(task.losses(model(prepare_clips(batch)), batch), World())
    torch.autograd.backward(objective.loss)
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


@every_kind
def test_metrics_and_guesses_name_each_other(kind: str) -> None:
    task, batch = tiny(kind)
    with torch.no_grad():
        counts = task.count(model_of(task).eval()(prepare_clips(batch)), batch)
    counts |= task.count_baselines(batch, lengths_of(batch))
    assert all(count.dtype in (torch.int64, torch.float64) for count in counts.values())
    metrics = task.compute_metrics(counts)
    scores = {name for name in metrics if name.endswith(SCORE_ENDINGS)}
    assert scores
    guesses = task.guesses(metrics)
    assert guesses.keys() == scores
    assert all(0 <= value < 1 for value in guesses.values())
    assert all(metrics[name] <= 1 for name in scores)
    for name, classes in task.class_names().items():
        assert counts[name].shape == (len(classes), len(classes))
        assert len(set(classes)) == len(classes)


@every_kind
def test_counts_of_two_halves_add_up(kind: str) -> None:
    task, batch = tiny(kind)
    with torch.no_grad():
        outputs = model_of(task).eval()(prepare_clips(batch))
    half = len(batch) // 2
    parts = []
    for number in range(2):
        rows = {name: output[number * len(output) // 2 :][: len(output) // 2] for name, output in outputs.items()}
        if kind == "dense_prediction":  # the candidates are those of the batch
            rows = {name: output.chunk(2, dim=1)[number] for name, output in rows.items()}
        parts.append(task.count(rows, slice_of(batch, number * half, (number + 1) * half)))
    whole = task.count(outputs, batch)
    for name, count in whole.items():
        total = parts[0][name] + parts[1][name]
        if kind == "dense_prediction":
            assert total[0] == count[0]
            assert total[2] == 2 * count[2]
        else:
            torch.testing.assert_close(total, count, rtol=1e-5, atol=1e-6)


@every_kind
def test_an_exported_model_gives_equal_outputs(kind: str, tmp_path: Path) -> None:
    task, batch = tiny(kind)
    model = model_of(task).eval()
    config: TaskConfig = TypeAdapter(TaskConfig).validate_python({"kind": kind} | CHANGES.get(kind, {}))
    metadata = {
        "network": NETWORK.model_dump(mode="json"),
        "task": config.model_dump(mode="json"),
        "labels": ["cat", "dog"],
        "crop": CROP,
        "num_frames": task.num_frames,
    }
    export_weights(tmp_path / "network.safetensors", model, metadata)
    loaded, _ = load_model(tmp_path / "network.safetensors")
    clips = prepare_clips(batch)
    with torch.no_grad():
        wanted, found = model(clips), loaded(clips)
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


@pytest.mark.parametrize("kind", ["rotation", "arrow_of_time"])
def test_clips_of_one_view_differ_by_the_transformation_alone(kind: str) -> None:
    """Through the whole loader's chain, with random crops and flips."""
    task = task_of_kind(kind)
    batch = batch_of_task(task, (60,) * 6, crop=CROP)
    clips = torch.stack(prepare_clips(batch).chunk(6))
    assert batch.flip.any()
    assert not batch.flip.all()
    for number in range(1, clips.shape[1]):
        plain = clips[:, 0]
        changed = plain.rot90(number, dims=(3, 4)) if kind == "rotation" else plain.flip(2)
        assert torch.equal(clips[:, number], changed)


def test_action_labels_are_the_data_set_s() -> None:
    """A video without a label is in neither the loss nor the counts; data without labels cannot be learnt from."""
    task, batch = tiny("action_labels")
    assert batch.label.tolist() == [0, 1]
    batch = replace(batch, label=torch.tensor([1, -1]))
    logits = torch.tensor([[0.0, 2.0], [3.0, 0.0]])
    term = task.losses({"action": logits}, batch)["action"]
    assert int(term.count) == 1
    assert term.total.item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert task.count({"action": logits}, batch)["action"].tolist() == [[0, 0], [0, 1]]
    assert task.class_names() == {"action": ("cat", "dog")}
    with pytest.raises(UsageError, match="the data set has 1;"):
        build_task(ActionLabelsConfig(), ("cat",))
