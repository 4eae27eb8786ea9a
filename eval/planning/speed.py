"""How fast clips go through a network: measured here for a moment, or computed from figures of another machine.

In: a :class:`~eval.planning.work.Setup`. Out: a :class:`Speed`. The measurement is the real pipeline: reading,
decoding, forward, backward and the optimiser's step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from eval.planning.work import Setup
from shardify.progress import Countdown
from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips
from stream_train.tasks import build_task
from stream_train.tasks.base import ClipModel
from stream_train.training.config import DeviceChoice, PretrainConfig
from stream_train.training.distributed import World, joined_world
from stream_train.training.loop import begin_stream, build_pretraining, compute_gradients
from stream_train.training.precision import autocast, choose_precision
from stream_train.training.run import Run

WARM_UP_BATCHES = 2
"""Not measured: loaders start, and cuDNN chooses its algorithms."""
TRAINING_SHARE = 0.6
"""Of the seconds of a measurement; the rest is for tests."""
BACKWARD = 2
"""A backward pass has about twice the arithmetic of the forward pass."""
CLIPS_PER_CORE = 550.0
"""Clips that one core of another machine reads and decodes in a second, of 128x171 frames; `make bench` measures it."""
ENDLESS_EPOCHS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Clips a second."""

    trained: float
    """Forward, backward and step."""
    tested: float
    """Forward only; also on frozen convolutions."""
    loaded_per_core: float | None = None
    """Read and decoded by one core; None if unknown, and part of the others."""


def computed_speed(setup: Setup, teraflops: float) -> Speed:
    """On a machine that is not here, from the arithmetic of a network's forward pass; `teraflops` as it reaches."""
    forward = teraflops * 1e12 / forward_flops(setup)
    return Speed(trained=forward / (1 + BACKWARD), tested=forward, loaded_per_core=CLIPS_PER_CORE)


def forward_flops(setup: Setup) -> float:
    """Operations (two for a multiply-add) of a forward pass for one clip of the task."""
    from stream_train.networks import build_backbone

    num_frames = build_task(setup.task, ("a", "b")).num_frames
    crop = setup.data.crop
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.inference_mode():
        backbone = build_backbone(setup.network, crop=crop, num_frames=num_frames).eval()
        backbone(torch.empty(1, 3, num_frames, crop, crop))
    return float(counter.get_total_flops())


def measured_speed(setup: Setup, seconds: float, *, device: DeviceChoice = "auto", threads: int = 0) -> Speed:
    """Train and test for about so many seconds; writes nothing. Raises UsageError as a run of this setup would."""
    config = PretrainConfig(
        shards=setup.shards,
        split=setup.split,
        out="unused",
        epochs=ENDLESS_EPOCHS,
        data=setup.data,
        network=setup.network,
        task=setup.task,
        device=device,
        threads=threads,
    )
    with joined_world(device, threads) as world:
        run = build_pretraining(config, world, lambda _: None)
        batches = begin_stream(run)

        def train(batch: Batch) -> None:
            compute_gradients(run, batch)
            run.optimizer.step()

        trained = _clips_per_second(train, batches, seconds * TRAINING_SHARE, run)
        run.model.eval()
        tested = _clips_per_second(
            lambda batch: _test(run.model, batch, run), batches, seconds - seconds * TRAINING_SHARE, run
        )
    return Speed(trained=trained, tested=tested)


def _test(model: ClipModel, batch: Batch, run: Run) -> None:
    dtype = choose_precision(run.config.precision, run.world.device)
    with torch.inference_mode(), autocast(dtype, run.world.device):
        model(prepare_clips(batch))


def _clips_per_second(use: Callable[[Batch], None], batches: Iterator[Batch], seconds: float, run: Run) -> float:
    for _ in range(WARM_UP_BATCHES):
        use(next(batches).to(run.world.device))
    _wait(run.world)
    start, num_clips = time.perf_counter(), 0
    with Countdown(math.ceil(seconds), unit="second", doing="measuring") as counter:
        while not num_clips or time.perf_counter() - start < seconds:
            batch = next(batches)
            use(batch.to(run.world.device))
            num_clips += len(batch)
            counter.advance(min(int(time.perf_counter() - start), math.ceil(seconds)) - counter.num_done)
    _wait(run.world)
    return num_clips / (time.perf_counter() - start)


def _wait(world: World) -> None:
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)
