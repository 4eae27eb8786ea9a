"""Training for an evaluation; it resumes after a kill at any moment.

In: a setting and a :class:`Fit`. Out: the trained model, in evaluation mode, equal on every rank.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from eval.judging.config import FineTuneOptimizer, FitConfig, FrozenNorm
from eval.judging.models import JudgedModel
from eval.judging.samples import Samples
from eval.judging.setting import Setting, weights_of
from shardify.arrays import IntArray
from stream_train.data import open_data
from stream_train.data.config import DataConfig
from stream_train.tasks.base import ClipTask
from stream_train.training.config import ValidationConfig
from stream_train.training.loop import fit
from stream_train.training.preemption import Stopped
from stream_train.training.run import build_run


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One training of an evaluation."""

    evaluation: str
    variant: str
    task: ClipTask
    epochs: int
    optimizer: FineTuneOptimizer
    new_fully_connected: bool
    frozen: bool = False
    frozen_norm: FrozenNorm = "evaluation"
    positions: IntArray | None = None
    """Training videos to learn from; None is all."""
    data: DataConfig | None = None
    """How clips are read; None is as in the setting."""
    validate_every_epochs: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    """Other settings that the result depends on, as JSON values."""


def fit_model(setting: Setting, plan: Fit) -> JudgedModel:
    """Train, resume, or load a finished training.

    Raises:
        UsageError: if the folder holds a run with other settings.
        WorkError: if data cannot be read, or the loss is not finite.
        Stopped: after a stop request; the same command resumes this training.
    """
    network = setting.network

    def make_model() -> JudgedModel:
        return JudgedModel(
            network.build(setting.seed),
            network.config,
            plan.task,
            new_fully_connected=plan.new_fully_connected,
            frozen=plan.frozen,
            frozen_norm=plan.frozen_norm,
        )

    split = setting.train.split or "all"
    setting.say(f"{plan.evaluation} {plan.variant}: {setting.name} on {split}, seed {setting.seed}")
    config = fit_config(setting, plan)
    run = build_run(
        config,
        open_data(config.shards, config.split, config.data),
        plan.task,
        network.config,
        make_model,
        world=setting.world,
        say=setting.say,
        positions=plan.positions,
    )
    late_signal = fit(run)
    if late_signal is not None:
        setting.say(f"stopped by {late_signal} after this training; the same command continues")
        raise Stopped(late_signal)
    setting.world.copy_from_main(run.model.buffers())
    assert isinstance(run.model, JudgedModel)
    return run.model.eval()


def fit_config(setting: Setting, plan: Fit) -> FitConfig:
    """The config of the training run."""
    train, config = setting.train, setting.config
    validation = None
    if plan.validate_every_epochs and config.test_shards is None:
        validation = ValidationConfig(
            split=setting.test.split, draws_per_video=1, every_epochs=plan.validate_every_epochs
        )
    return FitConfig(
        **config.run_keys() | {"shards": train.shard_set.location, "out": setting.place(plan.evaluation, plan.variant)},
        split=train.split,
        seed=setting.seed,
        epochs=plan.epochs,
        data=plan.data or setting.data,
        optimizer=plan.optimizer,
        validation=validation,
        question={
            "evaluation": plan.evaluation,
            "variant": plan.variant,
            "weights": weights_of(setting),
            "architecture": setting.network.config.model_dump(mode="json"),
            "frozen": plan.frozen,
            "frozen_norm": plan.frozen_norm,
            "videos": None if plan.positions is None else _digest_of(train, plan.positions),
            **plan.details,
        },
    )


def _digest_of(samples: Samples, positions: IntArray) -> str:
    """The chosen videos as one line: their number, and the sha256 of their keys."""
    keys = "\n".join(samples.keys[position] for position in positions.tolist())
    return f"{len(positions)} of {len(samples)}, sha256 {hashlib.sha256(keys.encode()).hexdigest()}"
