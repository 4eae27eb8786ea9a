"""A run in memory: built from a config, then resumed from the newest checkpoint in its folder.

In: a config, and this process's rank. Out: a :class:`Run`, ready for the loop in `stream_train.training.loop`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from shardify.arrays import IntArray
from shardify.config import dump_config
from shardify.errors import UsageError, WorkError
from shardify.storage.folder_store import FolderStore
from shardify.storage.locations import is_url
from shardify.storage.work_folder import WorkFolder
from stream_train.data import DataSet
from stream_train.data.clips import RESIZING
from stream_train.data.evaluation_pass import sample_lengths
from stream_train.data.loader import LONG_VIDEO
from stream_train.data.order import slots_of_rank
from stream_train.data.reader import ShardSet, open_shard_set
from stream_train.data.sequential import TarSet
from stream_train.draws import SampleDraws
from stream_train.networks.config import NetworkConfig
from stream_train.tasks.base import ClipModel, ClipTask
from stream_train.training.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    checkpoint_name,
    require_same,
    restore,
)
from stream_train.training.config import CONFIG_NAME, TrainConfig
from stream_train.training.distributed import World
from stream_train.training.optim import build_optimizer
from stream_train.training.precision import choose_precision, place_model

ENOUGH_VIDEOS = 4
"""Videos from which a rank's own BatchNorm statistics are good enough. Measured: with one video, whose clips have four
different classes, 58 % in training mode are 37 % in evaluation mode."""
Say = Callable[[str], None]
"""Tells the user a line; called on the main process only."""


@dataclass(kw_only=True)
class Run:
    """A run in memory. Only the steps, `begun`, and the state of model and optimiser change."""

    config: TrainConfig
    world: World
    say: Say
    data: DataSet
    positions: IntArray | None
    """The samples of the split to use; None: all."""
    held_out: ShardSet | None
    task: ClipTask
    network: NetworkConfig
    model: ClipModel
    forward: nn.Module
    """The model itself, or DistributedDataParallel around it."""
    optimizer: torch.optim.Optimizer
    folder: WorkFolder
    """Holds everything but the checkpoints; only the main process publishes it."""
    checkpoints: CheckpointFolder
    num_steps: int
    started_from: dict[str, str] = field(default_factory=dict)
    """Identity of the weights that the network began with, if they were not random."""
    step: int = 0
    """Optimiser steps done."""
    saved_step: int = 0
    """The step of the newest checkpoint."""
    begun: dict[str, Any] = field(default_factory=dict)
    """Sums up to `step` for the next record; see `stream_train.training.metrics.Interval`."""

    @property
    def num_samples(self) -> int:
        """Videos in an epoch."""
        return self.data.num_samples if self.positions is None else len(self.positions)

    @property
    def samples_consumed(self) -> int:
        """Videos that all ranks have used. With the config, this is the whole state of the stream."""
        return self.step * self.config.data.videos_per_batch

    @property
    def epoch(self) -> float:
        """Epochs done."""
        return self.samples_consumed / self.num_samples

    @property
    def identity(self) -> dict[str, Any]:
        """Settings and data that define this run, as dotted keys; saved in each checkpoint."""
        height, width = self.data.geometry
        plans = self.task.draw_clips(LONG_VIDEO, SampleDraws(0, 0, 0))
        resizes = self.config.data.resizes or any(plan.window is not None for plan in plans)
        return (
            self.config.identity()
            | self.started_from
            | ({"data_set.resizing": RESIZING} if resizes else {})
            | {
                "data_set.fingerprint": self.data.fingerprint,
                "data_set.num_samples": self.data.num_samples,
                "data_set.height": height,
                "data_set.width": width,
            }
        )

    def checkpoint_is_due(self) -> bool:
        return self.step == self.num_steps or self.step % self.config.checkpoint.every_steps == 0

    def validation_is_due(self) -> bool:
        """After each `every_epochs` epochs, and after the last step."""
        if self.config.validation is None or self.config.validation.every_epochs == 0:
            return False
        period = self.config.validation.every_epochs * self.num_samples
        before = self.samples_consumed - self.config.data.videos_per_batch
        return self.step == self.num_steps or self.samples_consumed // period > before // period

    def record_is_due(self) -> bool:
        """Also at checkpoints and validations, so that no record spans a step at which a run may continue."""
        due = self.step % self.config.log_every_steps == 0
        return due or self.checkpoint_is_due() or self.validation_is_due()


def build_run(
    config: TrainConfig,
    data: DataSet,
    task: ClipTask,
    network: NetworkConfig,
    make_model: Callable[[], ClipModel],
    *,
    world: World,
    say: Say,
    positions: IntArray | None = None,
) -> Run:
    """Build the objects of a run; writes nothing.

    `network` describes the backbone of `make_model`, which draws new weights from torch's global generator. `positions`
    are the samples of the split to use: int64, increasing; None: all that have the task's `min_frames`.
    Raises UsageError if the config does not fit the data or the machine.
    """
    slots_of_rank(config.data.videos_per_batch, world.rank, world.size)  # raises UsageError for too many ranks
    choose_precision(config.precision, world.device)
    if config.sync_batchnorm is True and world.device.type == "cpu":
        raise UsageError("sync_batchnorm works on GPUs only; set it to false or auto to train on a CPU")
    held_out = open_held_out(config)
    if positions is None:
        data, positions = long_enough(data, task, world.on_main(say))
    torch.manual_seed(config.seed)
    model = make_model()
    fewest_videos = config.data.videos_per_batch // world.size
    if synchronises(config, world):
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    elif fewest_videos < ENOUGH_VIDEOS and any(isinstance(module, _BatchNorm) for module in model.modules()):
        world.on_main(say)(
            f"warning: a process has {fewest_videos} of {config.data.videos_per_batch} videos a step, and BatchNorm "
            f"takes its statistics from these alone; below {ENOUGH_VIDEOS} videos the network may fail in evaluation "
            "mode. Raise data.videos_per_batch, start fewer processes, or use GPUs (sync_batchnorm=auto)"
        )
    check_batch_norm(model, task, fewest_videos)
    place_model(model, world.device)
    return Run(
        config=config,
        world=world,
        say=world.on_main(say),
        data=data,
        positions=positions,
        held_out=held_out,
        task=task,
        network=network,
        model=model,
        forward=model,
        optimizer=build_optimizer(config.optimizer, model),
        folder=WorkFolder(config.out),
        checkpoints=CheckpointFolder(folder=config.out, keep=config.checkpoint.keep),
        num_steps=config.num_steps(data.num_samples if positions is None else len(positions)),
    )


def long_enough(data: DataSet, task: ClipTask, say: Say) -> tuple[DataSet, IntArray | None]:
    """Leave the videos out that have fewer than the task's `min_frames`, and say how many these are.

    Returns the data and the positions to use, None for all. The sequential reader skips videos as it meets them; its
    data counts only the others.
    Raises UsageError if no video is left.
    """
    if task.min_frames <= (data.min_frames if isinstance(data, TarSet) else data.manifest.min_frames):
        return data, None
    lengths = data.num_frames() if isinstance(data, TarSet) else sample_lengths(data).numpy()
    if lengths is None:
        say(f"videos with fewer than the {task.min_frames} frames that the task needs are left out as they come")
        return data, None
    positions: IntArray = np.flatnonzero(lengths >= task.min_frames).astype(np.int64)
    if len(positions) == len(lengths):
        return data, None
    left_out = f"{len(lengths) - len(positions):,} of {len(lengths):,} videos have fewer than {task.min_frames} frames"
    if not len(positions):
        raise UsageError(
            f"{left_out}, which the task needs; the longest has {lengths.max()}; take longer videos or another task"
        )
    say(f"{left_out}, which the task needs, and are left out")
    if not isinstance(data, TarSet):
        return data, positions
    return (replace(data, num_samples=len(positions)) if data.num_samples == len(lengths) else data), None


def synchronises(config: TrainConfig, world: World) -> bool:
    """Whether BatchNorm takes its statistics over all ranks; see `RunConfig.sync_batchnorm`."""
    if config.sync_batchnorm != "auto":
        return config.sync_batchnorm
    fewest_videos = config.data.videos_per_batch // world.size
    return world.size > 1 and world.device.type != "cpu" and fewest_videos < ENOUGH_VIDEOS


def open_held_out(config: TrainConfig) -> ShardSet | None:
    """The split to validate on, if any. Raises UsageError if the data set has no such split."""
    if config.validation is None:
        return None
    try:
        return open_shard_set(config.shards, config.validation.split, config.data)
    except UsageError as error:
        raise UsageError(f"validation.split: {error}; name one, or train without it: validation=null") from None


def check_batch_norm(model: ClipModel, task: ClipTask, fewest_videos: int) -> None:
    """Raises UsageError if a rank would have a single clip: BatchNorm after pooling needs at least two."""
    num_clips = fewest_videos * task.clips_per_video
    if num_clips < 2 * task.clips_per_answer and any(isinstance(module, nn.BatchNorm1d) for module in model.modules()):
        raise UsageError(
            "a process would have a batch of one clip (or pair), from which BatchNorm cannot take statistics; raise "
            "data.videos_per_batch, or start fewer processes"
        )


def resume(run: Run) -> None:
    """Continue from the newest readable checkpoint, if there is one, and write config.yaml.

    Only the main process reads the checkpoint; it sends it to the others.

    Raises:
        UsageError: if the checkpoint has other settings or data, or nothing can be written there.
        WorkError: if no checkpoint can be read, or the ranks see different ones.
    """
    checkpoint: Checkpoint | None = run.world.from_main(run.world.do_on_main(run.checkpoints.newest))
    require_shared(run, checkpoint)
    if checkpoint is not None:
        location = run.checkpoints.location(checkpoint.step)
        accept = run.config.accept_changed_data
        require_same(checkpoint.identity, run.identity, origin=location, accept_changed_data=accept)
        restore(checkpoint, location, model=run.model, optimizer=run.optimizer)
        run.step = run.saved_step = checkpoint.step
        run.begun = checkpoint.interval
        if run.step > run.num_steps:
            raise UsageError(
                f"{location} has done {run.step} steps, but {run.config.epochs} epochs of this data are only "
                f"{run.num_steps}; give another out for a new run"
            )
    for problem in run.checkpoints.skipped:
        run.say(f"{problem}; trying the one before")
    if run.step == run.num_steps:
        run.say(f"{run.config.out} is complete: {run.num_steps} steps, {run.config.epochs} epochs")
    elif run.step:
        run.say(f"continuing {run.config.out} after step {run.step} of {run.num_steps}")
    run.world.do_on_main(lambda: write_config(run))
    run.forward = run.world.distribute(run.model)


def publish(run: Run) -> None:
    """Upload the run's files, on the main process, if the run lies in an object store.

    Raises WorkError if another process has continued the run meanwhile: its files are newer.
    """
    run.checkpoints.require_alone()
    run.folder.publish()


def write_config(run: Run) -> None:
    """Write config.yaml, the first file of a run: this reveals a folder without write access at once."""
    FolderStore(run.folder.path).write(CONFIG_NAME, dump_config(run.config).encode())
    publish(run)
    run.checkpoints.announce()


def require_shared(run: Run, checkpoint: Checkpoint | None) -> None:
    """Raises WorkError if the machines of the ranks do not share the local folder.

    Otherwise the run would begin again as soon as the main process started on another machine.
    """
    if is_url(run.config.out):
        return
    is_there = checkpoint is None or checkpoint.step in run.checkpoints.steps()
    if not all(run.world.gather(is_there)):
        assert checkpoint is not None
        raise WorkError(
            f"the ranks see different checkpoints in {run.config.out} (some have no "
            f"{checkpoint_name(checkpoint.step)}); out must be one folder, shared by all, or a URL of an object store"
        )
