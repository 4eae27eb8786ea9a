"""The config of a training run, and the keys that may change when a run continues."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from shardify.config import StrictModel
from shardify.storage.locations import HomeExpanded, Location, WritableLocation
from stream_train.data.config import DataConfig
from stream_train.networks.config import NetworkConfig
from stream_train.tasks.config import TaskConfig, TransformationsConfig

DeviceChoice = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16"]
Beta = Annotated[float, Field(ge=0, lt=1)]

CONFIG_NAME = "config.yaml"
"""The resolved config, saved in the run's folder."""

NEUTRAL_KEYS = (
    "shards",
    "out",
    "device",
    "threads",
    "log_every_steps",
    "checkpoint",
    "validation",
    "accept_changed_data",
    "init.path",
    "init.weights",
    "data.num_workers",
    "data.prefetch_batches",
    "data.reader.access",
    "data.reader.cache",
    "data.reader.ahead_batches",
    "data.reader.on_damage",
)
"""Keys (with all keys below them) that change neither the clips nor what is computed from them."""


class OptimizerConfig(StrictModel):
    """AdamW and its schedule."""

    learning_rate: PositiveFloat = 3e-4
    """Learning rate of the first step; it falls along a cosine."""
    final_factor: float = Field(default=1e-3, ge=0, le=1)
    """Learning rate after the last step, as a share of the first."""
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 1e-4
    """The paper's value; `decay_rule` defines its meaning."""
    decay_rule: Literal["decoupled", "paper"] = "decoupled"
    """`decoupled`: a step shrinks weights by the share weight_decay, which follows the cosine but is not multiplied by
    the learning rate (the released code). `paper`: by weight_decay * learning rate, as PyTorch reads the number."""

    @property
    def torch_weight_decay(self) -> float:
        """Weight decay for PyTorch's AdamW, which multiplies it by the learning rate."""
        return self.weight_decay / self.learning_rate if self.decay_rule == "decoupled" else self.weight_decay


class CheckpointConfig(StrictModel):
    """When to save the state of a run."""

    every_steps: PositiveInt = 500
    """A killed run repeats at most this many steps; the end of the run is always saved."""
    keep: PositiveInt = 2
    """How many of the newest checkpoints to keep."""


class ValidationConfig(StrictModel):
    """How to validate a network on held-out videos, with the same draws every time."""

    split: str | None
    """Held-out split of the same shards; null is every sample."""
    draws_per_video: PositiveInt = 2
    """How often to use each video, each time with other clips."""
    every_epochs: NonNegativeInt = 0
    """Validate each time this many epochs end; 0: only on `stream-train validate`."""


class RunConfig(StrictModel):
    """The keys that training runs and evaluations share: location of data and results, and how to compute."""

    shards: HomeExpanded
    """The data set: the folder or URL that `shardify build` wrote."""
    out: WritableLocation
    """Folder, or URL such as s3://bucket/run, for all results; the same command continues there."""
    device: DeviceChoice = "auto"
    """Where to compute; auto uses a GPU if there is one."""
    precision: Precision = "auto"
    """Arithmetic of the network; auto is bfloat16 autocast on a GPU and float32 on a CPU."""
    sync_batchnorm: Literal["auto"] | bool = "auto"
    """Whether BatchNorm computes its statistics over all ranks (GPUs only) instead of each rank's clips; auto does so
    if a rank has fewer than 4 videos a batch: too few clips for statistics that also hold in evaluation mode."""
    threads: int = Field(default=0, ge=0, le=1024)
    """CPU threads of each process; 0 is PyTorch's choice. Bit-identical repeats need equal numbers."""
    log_every_steps: PositiveInt = 20
    """Steps in each line of metrics.jsonl."""
    checkpoint: CheckpointConfig = CheckpointConfig()

    def run_keys(self) -> dict[str, Any]:
        """The values of all these keys."""
        return {name: getattr(self, name) for name in RunConfig.model_fields}


class TrainConfig(RunConfig):
    """The config of any training run: a pretext task's, or an evaluation's fine-tuning."""

    split: str | None = None
    """Split to train on, such as train1; null is every sample."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the initial weights, the order of the videos, and all their draws."""
    epochs: PositiveInt
    """How often every video is used."""
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    validation: ValidationConfig | None = None
    """Validation on held-out videos; null: none."""
    accept_changed_data: bool = False
    """Continue a run even if its data set has changed."""

    def num_steps(self, num_samples: int) -> int:
        """Optimiser steps of the whole run; batches continue across epochs."""
        return -(-self.epochs * num_samples // self.data.videos_per_batch)

    def identity(self) -> dict[str, Any]:
        """The settings that define this run, as dotted keys, without NEUTRAL_KEYS.

        "auto" of `sync_batchnorm` counts as False: a run may continue on another number of ranks.
        """
        values = without_neutral(self.model_dump(mode="json"))
        return flatten(values | {"sync_batchnorm": self.sync_batchnorm is True})


class InitOptions(StrictModel):
    """The keys of all initial weights. A continued run reads the file again; the run's identity holds its sha256."""

    parts: Literal["all", "convolutions"] = "all"
    """`convolutions` leaves the fully connected layers random, for a network that was trained on another crop."""


class InitCheckpoint(InitOptions):
    """A network that this program trained."""

    kind: Literal["checkpoint"] = "checkpoint"
    path: Location
    """File or URL of its backbone.safetensors, or the folder or URL of the run that holds it."""


class InitTorchvision(InitOptions):
    """Weights of torchvision's r3d_18 or r2plus1d_18. They expect `network.input_statistics=kinetics400`."""

    kind: Literal["torchvision"]
    weights: HomeExpanded
    """A file with the state dict, or a name such as KINETICS400_V1 that torchvision downloads."""


class InitSafetensors(InitOptions):
    """Weights of another program, as safetensors."""

    kind: Literal["safetensors"]
    path: Location
    """File or URL."""
    rename: dict[str, str] = Field(default_factory=dict)
    """Regular expressions and their replacements, applied in order to each tensor's name, to get the names of our
    network; a tensor whose name becomes empty is dropped. Example: `{"^encoder[.]": "", "^head[.].*": ""}`."""


InitConfig = Annotated[InitCheckpoint | InitTorchvision | InitSafetensors, Field(discriminator="kind")]


class PretrainConfig(TrainConfig):
    """One pre-training run."""

    recipes: ClassVar[str] = "pretrain"
    task: TaskConfig = TransformationsConfig()
    network: NetworkConfig
    init: InitConfig | None = None
    """Weights to begin with, instead of random ones. The heads of the task are always new."""

    @field_validator("init", mode="before")
    @classmethod
    def _usual_kind(cls, init: Any) -> Any:
        return {"kind": "checkpoint"} | init if isinstance(init, dict) else init


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def without_neutral(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings without NEUTRAL_KEYS; `prefix`, such as `data.`, precedes the keys of `values`."""
    return {
        key: without_neutral(value, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in values.items()
        if f"{prefix}{key}" not in NEUTRAL_KEYS
    }
