"""Validation: test a network on held-out videos, every video equally often, with the same draws each time.

In: a model and a split. Out: the task's metrics and confusion matrices, with the accuracies of guessing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shardify.arrays import IntArray
from shardify.config import load_config
from shardify.errors import UsageError
from shardify.shards.record import dump_json
from shardify.storage.folder_store import FolderStore
from shardify.storage.locations import join_location
from shardify.storage.work_folder import downloaded, work_folder
from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips
from stream_train.data.evaluation_pass import each_sample_once, sample_lengths
from stream_train.data.reader import ShardSet, open_shard_set
from stream_train.tasks import build_model, build_task
from stream_train.tasks.base import ClipModel, ClipTask
from stream_train.training.checkpoint import Checkpoint, CheckpointFolder, restore
from stream_train.training.config import CONFIG_NAME, PretrainConfig, TrainConfig
from stream_train.training.distributed import World, joined_world
from stream_train.training.metrics import add_to, shown_names
from stream_train.training.pictures import draw_confusion
from stream_train.training.precision import autocast, choose_precision, place_model
from stream_train.training.preemption import StopRequest, until_stopped

RESULT_NAME = "validation.json"


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A network's results on a split; validation.json holds these fields."""

    step: int
    """Optimiser steps of the network."""
    shards_fingerprint: str
    split: str | None
    num_videos: int
    draws_per_video: int
    figures: dict[str, float]
    """Metrics by name, at most 1 (`_explained` may be below 0): scores of the network and of guessing."""
    counts: dict[str, Any]
    """Confusion matrices (rows: true classes, columns: the network's answers), baseline tables and other sums."""
    class_names: dict[str, list[str]]
    """Rows and columns of the confusion matrices."""


def validate(
    model: ClipModel,
    task: ClipTask,
    shard_set: ShardSet,
    config: TrainConfig,
    *,
    step: int,
    world: World,
    request: StopRequest | None = None,
    both_modes: bool = False,
) -> Validation | None:
    """Validate on every video of a split as often as the config says, with BatchNorm in evaluation mode.

    `both_modes` also gives each metric, named `..._batch_statistics`, with BatchNorm's statistics taken from each
    batch, as in training: if it is much better, the running statistics come from too few videos. The ranks share the
    videos. The result is the same on every rank and for any number of ranks; it is None if any rank got a stop request
    before all had finished. The model keeps its mode.
    """
    request = request or StopRequest()
    assert config.validation is not None
    lengths = sample_lengths(shard_set)
    positions = np.flatnonzero(lengths.numpy() >= task.min_frames)
    if not len(positions):
        raise UsageError(
            f"no video of {shard_set.location}, split {shard_set.split}, has the {task.min_frames} frames that the "
            "task needs; name another validation.split, or train without it: validation=null"
        )
    counts: dict[str, Tensor] = {}
    counts_by_batch: dict[str, Tensor] = {}
    was_training = model.training
    model.eval()
    with torch.inference_mode(), autocast(choose_precision(config.precision, world.device), world.device):
        for cpu_batch in until_stopped(lambda: begin_pass(task, shard_set, positions, config, world), request):
            batch = cpu_batch.to(world.device)
            clips = prepare_clips(batch)
            add_to(counts, task.count(model(clips), batch))
            if both_modes:
                with batch_statistics(model, len(batch) // task.clips_per_answer):
                    add_to(counts_by_batch, task.count(model(clips), batch))
            add_to(counts, task.count_baselines(batch, lengths[cpu_batch.sample].to(world.device)))
    model.train(was_training)
    if world.any(request.is_made()):
        return None
    totals = world.add_up(counts)
    by_batch = task.compute_metrics(world.add_up(counts_by_batch)) if both_modes else {}
    return Validation(
        step=step,
        shards_fingerprint=shard_set.fingerprint,
        split=shard_set.split,
        num_videos=len(positions),
        draws_per_video=config.validation.draws_per_video,
        figures=task.compute_metrics(totals) | {f"{name}_batch_statistics": value for name, value in by_batch.items()},
        counts={name: total.tolist() for name, total in totals.items()},
        class_names={name: list(names) for name, names in task.class_names().items()},
    )


def begin_pass(
    task: ClipTask, shard_set: ShardSet, positions: IntArray, config: TrainConfig, world: World
) -> Iterator[Batch]:
    """This rank's batches of a validation; call it in the thread that reads them."""
    assert config.validation is not None
    world.enter_thread()
    return each_sample_once(
        shard_set,
        config.data,
        task.draw_clips,
        positions=positions,
        seed=config.seed,
        repetitions=config.validation.draws_per_video,
        rank=world.rank,
        world_size=world.size,
    )


@contextmanager
def batch_statistics(model: nn.Module, num_answers: int) -> Iterator[None]:
    """BatchNorm normalises by each batch; its running statistics stay as they are.

    A batch of one answer has no statistics of its own, so it is normalised by the running ones.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and num_answers > 1]
    before = [(norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.training, norm.momentum = True, 0.0
    try:
        yield
    finally:
        for norm, (training, momentum) in zip(norms, before, strict=True):
            norm.training, norm.momentum = training, momentum


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run with a checkpoint, and the data to test it on."""

    location: str | Path
    config: PretrainConfig
    checkpoint: Checkpoint
    held_out: ShardSet
    task: ClipTask

    def model(self, device: torch.device) -> ClipModel:
        """The network of the checkpoint. Raises WorkError if it does not fit the config."""
        model = build_model(self.config.network, self.task, crop=self.config.data.crop)
        restore(self.checkpoint, str(self.location), model=model)
        place_model(model, device)
        return model


def open_run(run: str | Path, overrides: tuple[str, ...] = ()) -> OpenRun:
    """The newest checkpoint of a run (folder or URL) and its held-out split; errors as :func:`validate_run`."""
    config = load_run_config(run, overrides)
    if config.validation is None:
        raise UsageError(f"{run} names no held-out split; add --set validation.split=... (null is every sample)")
    checkpoint = CheckpointFolder(folder=run).newest()
    if checkpoint is None:
        raise UsageError(f"{run} holds no checkpoint yet; run `stream-train pretrain` on its config first")
    held_out = open_shard_set(config.shards, config.validation.split, config.data)
    task = build_task(config.task, held_out.classes)
    return OpenRun(location=run, config=config, checkpoint=checkpoint, held_out=held_out, task=task)


def validate_run(run: str | Path, overrides: tuple[str, ...] = ()) -> Validation:
    """Validate the newest checkpoint of a run (folder or URL); writes validation.json and confusion matrices beside it.

    `overrides` are `--set` values for the run's config, such as `validation.split=test2`.

    Raises:
        UsageError: if there is no run or checkpoint, or the config names no split.
        WorkError: if no checkpoint can be read, or a shard cannot.
    """
    opened = open_run(run, overrides)
    config, task = opened.config, opened.task
    with joined_world(config.device, config.threads) as world, work_folder(run, create=False) as folder:
        model, step = opened.model(world.device), opened.checkpoint.step
        validation = validate(model, task, opened.held_out, config, step=step, world=world, both_modes=True)
        assert validation is not None  # nobody listens for signals
        if world.is_main:
            write_validation(folder.path, validation)
            folder.publish()
    return validation


def load_run_config(run: str | Path, overrides: tuple[str, ...] = ()) -> PretrainConfig:
    """The config that a run saved. Raises UsageError if there is none."""
    try:
        with downloaded(join_location(run, CONFIG_NAME)) as path:
            if path.is_file():
                return load_config(PretrainConfig, path, overrides)
    except FileNotFoundError:
        pass
    raise UsageError(f"{run} holds no {CONFIG_NAME}; give the out folder of a `stream-train pretrain` run")


def write_validation(run: Path, validation: Validation) -> None:
    """Write validation.json and a picture of each confusion matrix."""
    FolderStore(run).write(RESULT_NAME, dump_json(asdict(validation), indent=1))
    for name, names in validation.class_names.items():
        title = f"{name}, {validation.num_videos} held-out videos, step {validation.step}"
        draw_confusion(np.array(validation.counts[name]), shown_names(names), run / confusion_name(name), title)


def validation_lines(validation: Validation, run: str | Path) -> list[str]:
    """The result as text: confusion matrices, metrics, and the location of the pictures."""
    looked = f"{validation.num_videos} videos, each with {validation.draws_per_video} draws"
    lines = [f"step {validation.step}, split {validation.split or 'all'}: {looked}"]
    for name, class_names in validation.class_names.items():
        names = shown_names(class_names)
        counts = validation.counts[name]
        width = max(len(str(word)) for word in [*names, *chain(*counts)]) + 2
        lines += ["", f"{name} (rows: what a clip is, columns: what the network says)"]
        lines.append(" " * width + "".join(word.rjust(width) for word in names))
        for word, row in zip(names, counts, strict=True):
            lines.append(word.rjust(width) + "".join(str(count).rjust(width) for count in row))
    lines += ["", *(f"{name.replace('_', ' ')}: {value:.3f}" for name, value in validation.figures.items())]
    files = [RESULT_NAME, *(confusion_name(name) for name in validation.class_names)]
    return [*lines, "", ", ".join(join_location(run, name) for name in files)]


def confusion_name(name: str) -> str:
    """`confusion_motion.png`."""
    return f"confusion_{name}.png"
