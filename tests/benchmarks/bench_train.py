"""Training steps on this machine's GPU (or CPU): each network, each lever on and off, and fed by the loader.

A step is the trainer's own: flips and scaling on the device, forward, losses, backward, AdamW. The first table feeds it
one batch that stays on the device, with every lever as the trainer has it, and then with one changed. The share is that
of the speed of a large matrix product, measured here in the same precision. The second table feeds the trainer from
shards. 1.00 would mean that the device never waits.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from bench_build import build_config, video_folder
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from shardify.build.run import build
from shardify.config import validate_config
from shardify.process import usable_cores
from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips
from stream_train.networks.config import C3DConfig, C3DLargeConfig, NetworkConfig, R2Plus1D18Config, R3D18Config
from stream_train.tasks import build_model, build_task
from stream_train.tasks.config import TransformationsConfig
from stream_train.training.config import OptimizerConfig, PretrainConfig
from stream_train.training.distributed import World, joined_world
from stream_train.training.loop import begin_stream, build_pretraining, compute_gradients
from stream_train.training.objective import combine
from stream_train.training.optim import build_optimizer
from stream_train.training.precision import choose_precision, place_model

NETWORKS: dict[str, NetworkConfig] = {
    "c3d": C3DConfig(),
    "c3d_large": C3DLargeConfig(),
    "r3d18": R3D18Config(),
    "r3d18 official": R3D18Config(variant="official"),
    "r2plus1d18": R2Plus1D18Config(),
}
CLIPS_PER_VIDEO = 4
Feed = dict[str, float]
Rates = dict[torch.dtype, float]
WARM_STEPS = 4
COMPARED_STEPS = 20
UNWATCHED_STEPS = {"cuda": 5, "cpu": 1}
"""Steps between two looks at the clock: each look waits for the device."""


@dataclass(frozen=True, kw_only=True)
class Levers:
    """How a step is computed; the defaults are the trainer's."""

    float32: bool = False
    contiguous: bool = False
    """Instead of channels_last_3d."""
    unfused: bool = False
    """AdamW with a kernel for each operation."""
    compiled: str = ""
    """A mode of torch.compile; `reduce-overhead` uses CUDA graphs."""

    @property
    def name(self) -> str:
        changed = [key for key, value in asdict(self).items() if value is True]
        return ", ".join([*changed, *([f"compile {self.compiled}"] if self.compiled else [])]) or "as trained"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One measurement."""

    network: str
    levers: str
    clips: int
    clips_per_second: float
    share_of_matrix_rate: float
    gigabytes: float
    first_step_seconds: float
    """With compilation."""
    loss_difference: float | None = None
    """The greatest difference to the trainer's losses in COMPARED_STEPS steps on one batch."""


def random_batch(num_videos: int, crop: int, device: torch.device) -> Batch:
    """A batch as the paper's task makes it, of noise."""
    clips = CLIPS_PER_VIDEO * num_videos
    motions = torch.arange(clips) % CLIPS_PER_VIDEO
    generator = torch.Generator().manual_seed(0)
    return Batch(
        frames=torch.randint(0, 256, (clips, 16, crop, crop, 3), dtype=torch.uint8, generator=generator),
        flip=torch.arange(clips) % 2 == 0,
        label=torch.full((clips,), -1),
        sample=torch.arange(clips) // CLIPS_PER_VIDEO,
        indices=torch.zeros((clips, 16), dtype=torch.int32),
        targets={"motion": motions, "speed": torch.where(motions == 0, torch.arange(clips) % 3, -1)},
    ).to(device)


def training_step(network: NetworkConfig, levers: Levers, crop: int, device: torch.device) -> Callable[[Batch], Tensor]:
    """A new network with its optimiser; a step returns the loss."""
    task = build_task(TransformationsConfig(), ())
    torch.manual_seed(0)
    model: nn.Module = build_model(network, task, crop=crop)
    if levers.contiguous:
        model.to(device)
    else:
        place_model(model, device)
    optimizer = build_optimizer(OptimizerConfig(), model)
    if levers.unfused:
        settings: dict[str, Any] = {"lr": 3e-4, "betas": (0.9, 0.99), "foreach": False}
        optimizer = torch.optim.AdamW(model.parameters(), **settings)
    forward = torch.compile(model, mode=levers.compiled) if levers.compiled else model
    dtype = choose_precision("float32" if levers.float32 else "auto", device)

    def step(batch: Batch) -> Tensor:
        optimizer.zero_grad()
        clips = prepare_clips(batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
            outputs = forward(clips.contiguous() if levers.contiguous else clips)
        objective = combine(task.losses(outputs, batch), World())
        torch.autograd.backward(objective.loss)
        optimizer.step()
        return objective.value.detach()

    return step


def measure(
    name: str, network: NetworkConfig, levers: Levers, batch: Batch, crop: int, seconds: float, rate: float
) -> Line:
    """Clips a second of one kind of step."""
    device = batch.frames.device
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    step = training_step(network, levers, crop, device)
    start = time.perf_counter()
    step(batch)
    wait(device)
    first = time.perf_counter() - start
    for _ in range(WARM_STEPS):
        step(batch)
    wait(device)
    start, steps = time.perf_counter(), 0
    while not steps or time.perf_counter() - start < seconds:
        for _ in range(UNWATCHED_STEPS[device.type]):
            step(batch)
            steps += 1
        wait(device)
    speed = steps * len(batch) / (time.perf_counter() - start)
    used = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0
    share = speed * step_flops(network, crop) / rate
    return Line(
        network=name,
        levers=levers.name,
        clips=len(batch),
        clips_per_second=speed,
        share_of_matrix_rate=share,
        gigabytes=used,
        first_step_seconds=first,
    )


def loss_difference(network: NetworkConfig, levers: Levers, batch: Batch, crop: int) -> float:
    """How far a lever moves the losses."""
    device = batch.frames.device
    curves = []
    for each in (Levers(), levers):
        step = training_step(network, each, crop, device)
        curves.append(torch.stack([step(batch) for _ in range(COMPARED_STEPS)]))
    return float((curves[0] - curves[1]).abs().max())


def step_flops(network: NetworkConfig, crop: int) -> float:
    """Operations of forward and backward for one clip, two for a multiply-add."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = build_model(network, build_task(TransformationsConfig(), ()), crop=crop)
        outputs: dict[str, Tensor] = model(torch.empty(2, 3, 16, crop, crop))
        torch.stack([value.sum() for value in outputs.values()]).sum().backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops()) / 2


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product."""
    side = 8192 if device.type == "cuda" else 1024
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    repeats = 20
    for number in range(2):
        wait(device)
        start = time.perf_counter()
        for _ in range(repeats if number else 1):
            one @ other
        wait(device)
    return 2 * side**3 * repeats / (time.perf_counter() - start)


def fed(shards: str, network: NetworkConfig, crop: int, num_videos: int, workers: int, seconds: float) -> Feed:
    """The trainer from shards, and from one of their batches again and again."""
    data = {"crop": crop, "videos_per_batch": num_videos, "num_workers": workers}
    values = {"shards": shards, "out": "unused", "epochs": 1_000_000, "data": data}
    config = validate_config(PretrainConfig, values | {"network": network.model_dump()}, "bench_train")
    with joined_world("auto") as world:
        run = build_pretraining(config, world, lambda _: None)
        batches = begin_stream(run)

        def train(source: Iterator[Batch]) -> float:
            for number in range(WARM_STEPS + 1):
                if number == WARM_STEPS:
                    wait(world.device)
                    start, num_clips = time.perf_counter(), 0
                compute_gradients(run, next(source).to(world.device))
                run.optimizer.step()
            while not num_clips or time.perf_counter() - start < seconds:
                batch = next(source).to(world.device)
                compute_gradients(run, batch)
                run.optimizer.step()
                num_clips += len(batch)
            wait(world.device)
            return num_clips / (time.perf_counter() - start)

        same = next(batches).to(world.device)
        alone = train(iter(lambda: same, None))
        for _ in range(workers * config.data.prefetch_batches + 1):
            next(batches)  # those that waited meanwhile
        loaded = train(batches)
        start, num_clips = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            num_clips += len(next(batches))
        loader = num_clips / (time.perf_counter() - start)
    return {
        "clips": CLIPS_PER_VIDEO * num_videos,
        "one_batch": alone,
        "fed": loaded,
        "fed_over_one_batch": loaded / alone,
        "loader_alone": loader,
        "workers": workers,
        "workers_needed": workers * alone / loader,
    }


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def text(lines: list[Line], feeds: list[Feed]) -> str:
    """Both tables for the terminal."""
    heads = f"{'network':<16}{'levers':<26}{'clips':>6}{'clips/s':>10}{'share':>7}{'GB':>7}{'first s':>9}{'loss':>9}"
    rows = [
        f"{one.network:<16}{one.levers:<26}{one.clips:>6}{one.clips_per_second:>10,.1f}{one.share_of_matrix_rate:>7.2f}"
        f"{one.gigabytes:>7.1f}{one.first_step_seconds:>9.1f}"
        + ("" if one.loss_difference is None else f"{one.loss_difference:>9.1e}")
        for one in lines
    ]
    rows += [
        f"c3d from shards, {one['clips']} clips: {one['fed']:,.1f} clips/s, {one['fed_over_one_batch']:.2f} of one "
        f"batch ({one['one_batch']:,.1f}); loader alone {one['loader_alone']:,.1f} with {one['workers']} workers, "
        f"{one['workers_needed']:.1f} needed"
        for one in feeds
    ]
    return "\n".join([heads, *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", help="folder of videos to make shards of; synthetic ones if left out")
    parser.add_argument("--shards", help="folder or URL of shards, instead of --videos")
    parser.add_argument("--out", help="JSON file for the same figures")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[7, 16, 32, 64, 128], help="videos, of 4 clips each")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--width", type=float, default=1.0, help="of all networks that have widths")
    parser.add_argument("--crop", type=int, default=112)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(usable_cores())
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32  # so that both sides of a share are alike
    rates = {dtype: matrix_rate(device, dtype) for dtype in {torch.float32, choose_precision("auto", device)}}
    print(f"{torch.cuda.get_device_name() if device.type == 'cuda' else 'CPU'}, PyTorch {torch.__version__}")
    print(*(f"matrix product {str(d).removeprefix('torch.')}: {r / 1e12:,.1f} TFLOP/s" for d, r in rates.items()))
    lines = list(measured_lines(options, device, rates))
    feeds = list(measured_feeds(options))
    print(text(lines, feeds))
    if options.out:
        values: dict[str, Any] = {"matrix_rates": {str(dtype): rate for dtype, rate in rates.items()}}
        values |= {"steps": [asdict(line) for line in lines], "fed": feeds}
        Path(options.out).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def measured_lines(options: argparse.Namespace, device: torch.device, rates: Rates) -> Iterator[Line]:
    """Every network as it is trained, in growing batches; then each lever, in the paper's batch."""
    levers = [Levers(float32=True), Levers(contiguous=True), Levers(unfused=True)]
    if device.type == "cuda":
        levers += [Levers(compiled="default"), Levers(compiled="reduce-overhead")]
    for name in options.networks:
        network = NETWORKS[name].model_copy(update={"width": options.width} if "18" not in name else {})
        for number, videos in enumerate(options.batches):
            batch = random_batch(videos, options.crop, device)
            for each in [Levers(), *(levers if number == 0 else [])]:
                rate = rates[choose_precision("float32" if each.float32 else "auto", device)]
                try:
                    line = measure(name, network, each, batch, options.crop, options.seconds, rate)
                    if each.compiled:
                        far = loss_difference(network, each, batch, options.crop)
                        line = replace(line, loss_difference=far)
                except torch.OutOfMemoryError:
                    print(f"{name}, {len(batch)} clips: not enough memory")
                    continue
                yield line


def measured_feeds(options: argparse.Namespace) -> Iterator[Feed]:
    """The trainer from shards, in the two smallest batches."""
    scratch: AbstractContextManager[str] = nullcontext("") if options.shards else tempfile.TemporaryDirectory()
    with scratch as folder:
        shards = options.shards
        if shards is None:
            shards = str(Path(folder) / "shards")
            videos = video_folder(options.videos, Path(folder)).resolve()
            build(build_config(videos, Path(shards), usable_cores()))
        network = C3DConfig(width=options.width)
        for num_videos in options.batches[:2]:
            workers = max(1, usable_cores() - 1)
            yield fed(shards, network, options.crop, num_videos, workers, 3 * options.seconds)


if __name__ == "__main__":
    main()
