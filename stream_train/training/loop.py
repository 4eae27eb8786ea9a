"""Pre-training: config -> objects -> loop. The same command continues a stopped run.

In: shards and a config. Out, in the run's folder or URL: config.yaml, checkpoints, metrics.jsonl, TensorBoard's files,
backbone.safetensors, network.safetensors, curves.png; with a held-out split validation.json and confusion matrices.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from shardify.errors import WorkError, counted
from shardify.storage import open_store
from shardify.storage.lock import locked
from shardify.storage.traffic import traffic
from stream_train.data import build_stream, open_data, reading_line
from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips
from stream_train.data.order import slots_of_rank
from stream_train.tasks import build_model, build_task
from stream_train.tasks.base import ClipModel
from stream_train.training.checkpoint import Checkpoint
from stream_train.training.config import PretrainConfig
from stream_train.training.distributed import World, joined_world
from stream_train.training.exports import BACKBONE_NAME, NETWORK_NAME, export_weights
from stream_train.training.initial_weights import read_initial
from stream_train.training.metrics import METRICS_NAME, Interval, Record, metrics_log, read_metrics, sum_traffic
from stream_train.training.objective import Objective, combine
from stream_train.training.optim import learning_rate, set_learning_rate
from stream_train.training.pictures import CURVES_NAME, VALIDATION_PREFIX, draw_curves
from stream_train.training.precision import autocast, choose_precision
from stream_train.training.preemption import Aside, Stopped, StopRequest, promise_to_save
from stream_train.training.progress import Progress, describe_accuracies, describe_traffic
from stream_train.training.run import Run, Say, build_run, publish, resume
from stream_train.training.tracking import open_tracker
from stream_train.training.validation import validate, write_validation

Write = Callable[[Record], None]
"""Writes a record to metrics.jsonl and TensorBoard."""


def pretrain(config: PretrainConfig, say: Say = lambda _: None) -> None:
    """Train a network, or continue; for a complete run, only write the exports and pictures again.

    `say` is called with each line for the user.

    Raises:
        UsageError: if the config does not fit the data, the machine, or the run in the folder.
        WorkError: if data cannot be read, nothing can be saved, or the loss is not finite.
        Stopped: after a signal; everything is saved.
    """
    before = traffic()
    with joined_world(config.device, config.threads) as world:
        run = build_pretraining(config, world, say)
        fit(run, opening_line(run))
        moved = describe_traffic(sum_traffic(traffic() - before, world))
        if moved:
            run.say(f"in all: {', '.join(moved)}")


def build_pretraining(config: PretrainConfig, world: World, say: Say) -> Run:
    """The run of a config; errors as `stream_train.training.run.build_run`."""
    data = open_data(config.shards, config.split, config.data)
    task = build_task(config.task, data.classes)
    initial = read_initial(config.init, config.network) if config.init is not None else None

    def make_model() -> ClipModel:
        model = build_model(config.network, task, crop=config.data.crop)
        if initial is not None:
            initial.load_into(model.backbone)
        return model

    run = build_run(config, data, task, config.network, make_model, world=world, say=say)
    if initial is not None:
        run.started_from = {"init.digest": initial.digest}
        run.say(f"the network begins with {initial.origin}")
    return run


def opening_line(run: Run) -> str:
    """A line that tells the user what is read, and how much work it is."""
    num_clips = run.num_steps * run.config.data.videos_per_batch * run.task.clips_per_video
    return f"{reading_line(run.data)}; {counted(run.num_steps, 'step')} with {counted(num_clips, 'clip')}"


def fit(run: Run, opening: str | None = None) -> str | None:
    """Say `opening`, do a run's remaining steps, and export the network. Raises as :func:`pretrain`.

    Returns the name of a signal that came too late to stop this run; what follows must stop then.
    """
    late_signal = None
    with ExitStack() as stack:
        run.world.do_on_main(lambda: open_folder(run, stack))
        if not run.world.is_main:
            stack.enter_context(run.folder.opened(create=False))
        resume(run)
        if run.step < run.num_steps or validation_is_missing(run):
            if opening is not None:
                run.say(f"{opening}; writing to {run.config.out}")
            late_signal = train(run)
        run.world.do_on_main(lambda: finish(run))
    return late_signal


def open_folder(run: Run, stack: ExitStack) -> None:
    """Make the run's folder and lock it. Object stores have no locks; there `save` notices a second trainer."""
    stack.enter_context(locked(open_store(run.config.out, create=True), doing="training"))
    stack.enter_context(run.folder.opened((METRICS_NAME,)))


def train(run: Run) -> str | None:
    """The loop: batches in; steps, records, validations, checkpoints out. After a signal, saves and raises Stopped.

    Returns the name of a signal that came after the last batch.
    """
    is_main = run.world.is_main
    config = run.config.model_dump(mode="json")
    track = run.world.do_on_main(lambda: open_tracker(run.config.out, config, run.say))
    with (
        StopRequest(promise_to_save if is_main else None).listening() as request,
        metrics_log(run.folder.path, run.step, enabled=is_main, track=track) as write,
        Progress(run.num_steps, run.step, enabled=is_main) as progress,
    ):
        interval = Interval(run.step, run.world, run.begun)
        if validation_is_missing(run):
            validate_held_out(run, write, progress, request)
        for batch in measured_batches(run, progress, request):
            if batch is None:
                stop(run, request, interval)
            interval.add(*compute_gradients(run, batch))
            run.step += 1
            if run.world.device.type == "cpu" or run.record_is_due():  # at every step this would slow a GPU down
                interval.require_finite(advice=lambda: last_good(run))
            run.optimizer.step()
            if run.record_is_due():
                record = summarise(run, interval) | progress.speed()
                write(record)
                progress.show(record)
                if run.validation_is_due():
                    validate_held_out(run, write, progress, request)
                if run.checkpoint_is_due():
                    save(run)
                interval = Interval(run.step, run.world, traffic_before=interval.traffic_until)
                progress.restart()
        return requested_by(run, request)


def measured_batches(run: Run, progress: Progress, request: StopRequest) -> Iterator[Batch | None]:
    """This rank's batches on its device; the progress learns how long the device waited for each.

    A GPU that still has queued work when the batch arrives did not wait. Before each batch the ranks exchange whether
    any rank has a stop request; then they get None instead of the batch. The rank with the request stops waiting for
    its batch; the others learn of it after their batch has arrived.
    """
    videos = run.config.data.videos_per_batch
    my_videos = len(slots_of_rank(videos, run.world.rank, run.world.size))
    batches = Aside(lambda: begin_stream(run), request)
    try:
        while run.step < run.num_steps:
            start = time.perf_counter()
            batch = batches.next()
            if run.world.any(batch is None):
                yield None
            assert batch is not None
            seconds = time.perf_counter() - start if run.world.is_idle() else 0.0
            progress.waited(seconds, num_clips=len(batch) // my_videos * videos)
            yield batch.to(run.world.device)
    finally:
        batches.close()


def begin_stream(run: Run) -> Iterator[Batch]:
    """This rank's batches from the run's step on; call it in the thread that reads them."""
    run.world.enter_thread()
    return iter(
        build_stream(
            run.data,
            run.config.data,
            run.task.draw_clips,
            seed=run.config.seed,
            rank=run.world.rank,
            world_size=run.world.size,
            start_sample=run.samples_consumed,
            num_batches=run.num_steps - run.step,
            positions=run.positions,
            min_frames=run.task.min_frames,
        )
    )


def compute_gradients(run: Run, batch: Batch) -> tuple[Objective, Tensor, dict[str, Tensor]]:
    """Set the learning rate, then forward and backward for one batch.

    Returns:
        The loss, the norm of the gradient over all parameters, and this rank's counts of right and wrong answers.
    """
    set_learning_rate(run.optimizer, learning_rate(run.config.optimizer, run.step, run.num_steps))
    run.optimizer.zero_grad()
    with autocast(choose_precision(run.config.precision, run.world.device), run.world.device):
        outputs = run.forward(prepare_clips(batch))
    objective = combine(run.task.losses(outputs, batch), run.world)
    torch.autograd.backward(objective.loss)
    gradients = [parameter.grad for parameter in run.model.parameters() if parameter.grad is not None]
    with torch.no_grad():
        return objective, nn.utils.get_total_norm(gradients), run.task.count(outputs, batch)


def summarise(run: Run, interval: Interval) -> Record:
    """The interval as a line of metrics.jsonl, without the speed."""
    rate = learning_rate(run.config.optimizer, run.step - 1, run.num_steps)
    metrics = run.task.compute_metrics(interval.counts())
    moved = interval.traffic()
    return {"step": run.step, "epoch": run.epoch, **interval.losses(), **metrics, "learning_rate": rate, **moved}


def validate_held_out(run: Run, write: Write, progress: Progress, request: StopRequest) -> None:
    """Validate with the main process's BatchNorm statistics; write and show the result.

    Raises Stopped after a signal; the continued run then begins with this validation.
    """
    assert run.held_out is not None
    run.world.copy_from_main(run.model.buffers())
    result = validate(run.model, run.task, run.held_out, run.config, step=run.step, world=run.world, request=request)
    if result is None:
        stop(run, request)
    if run.world.is_main:
        write_validation(run.folder.path, result)
    named = {f"{VALIDATION_PREFIX}{name}": value for name, value in result.figures.items()}
    write({"step": run.step, "epoch": run.epoch, **named})
    accuracies = describe_accuracies(result.figures, run.task.guesses(result.figures))
    progress.tell(f"step {run.step}/{run.num_steps}  held out  {'  '.join(accuracies)}")
    run.world.do_on_main(lambda: publish(run))


def validation_is_missing(run: Run) -> bool:
    """Whether the run stopped during the validation of its last step; the same on every rank."""
    if not run.step or not run.validation_is_due():
        return False

    def is_missing() -> bool:
        names = {name for record in read_metrics(run.folder.path) if record["step"] == run.step for name in record}
        return not any(name.startswith(VALIDATION_PREFIX) for name in names)

    return bool(run.world.from_main(run.world.do_on_main(is_missing)))


def save(run: Run, begun: dict[str, Any] | None = None) -> None:
    """Write a checkpoint, on the main process; `begun` holds sums for the next record.

    Raises WorkError if a weight is not a finite number, or nothing can be saved.
    """
    if not all(bool(parameter.isfinite().all()) for parameter in run.model.parameters()):
        raise WorkError(f"step {run.step}: a weight is not a finite number, so training stopped; {last_good(run)}")
    checkpoint = Checkpoint(
        step=run.step,
        model=run.model.state_dict(),
        optimizer=run.optimizer.state_dict(),
        identity=run.identity,
        interval=begun or {},
    )

    def write() -> None:
        publish(run)  # first, so that the metrics are never older than the checkpoint
        run.checkpoints.save(checkpoint)

    run.world.do_on_main(write)
    run.saved_step = run.step


def stop(run: Run, request: StopRequest, interval: Interval | None = None) -> NoReturn:
    """Save the steps since the last checkpoint, and the interval since the last record; then raise Stopped.

    So the next run's record sums up the same steps as without the stop.
    """
    if run.step > run.saved_step:
        begun = interval.state() if interval else {}
        if interval and begun:
            interval.require_finite(advice=lambda: last_good(run))
        save(run, begun)
    name = requested_by(run, request)
    assert name is not None
    run.say(f"stopped by {name} after step {run.step} of {run.num_steps}; the same command continues")
    raise Stopped(name)


def requested_by(run: Run, request: StopRequest) -> str | None:
    """The signal that asked any rank to stop; the same on every rank."""
    return next((name for name in run.world.gather(request.signal_name) if name is not None), None)


def last_good(run: Run) -> str:
    """The end of a broken run's message: where the last good state is, and what to do."""
    steps = run.checkpoints.steps()
    last = (
        f"the last good checkpoint is {run.checkpoints.location(steps[-1])}" if steps else "there is no checkpoint yet"
    )
    return f"{last}. Lower optimizer.learning_rate, or train in float32 (precision), and start a new run"


def finish(run: Run) -> None:
    """Export the weights and draw the curves."""
    out = run.folder.path
    metadata = {
        "network": run.network.model_dump(mode="json"),
        "data_set.name": run.data.name,
        "class_names": {name: list(names) for name, names in run.task.class_names().items()},
        "crop": run.config.data.crop,
        "num_frames": run.task.num_frames,
        "step": run.step,
        **run.identity,
    }
    if isinstance(run.config, PretrainConfig):
        metadata |= {"task": run.config.task.model_dump(mode="json"), "labels": list(run.data.classes)}
    export_weights(out / BACKBONE_NAME, run.model.backbone, metadata)
    export_weights(out / NETWORK_NAME, run.model, metadata)
    records = read_metrics(out)
    metrics = {name.removeprefix(VALIDATION_PREFIX): value for record in records for name, value in record.items()}
    asked = f"{run.config.task.kind.replace('_', ' ')}, " if isinstance(run.config, PretrainConfig) else ""
    title = f"{asked}{run.network.kind}, {counted(run.num_samples, 'video')}, {counted(run.config.epochs, 'epoch')}"
    draw_curves(records, out / CURVES_NAME, title, run.task.guesses(metrics))
    publish(run)
    run.say(f"{run.config.out}: {BACKBONE_NAME}, {NETWORK_NAME}, {CURVES_NAME}")
