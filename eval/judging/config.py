"""The config keys that all evaluations share: data, networks, training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationInfo, field_validator, model_validator

from shardify.config import StrictModel
from shardify.storage.locations import HomeExpanded, Location, is_url, join_location, split_location
from stream_train.data.config import DataConfig, IndexedReaderConfig
from stream_train.networks.config import NetworkConfig
from stream_train.training.config import OptimizerConfig, RunConfig, TrainConfig

FrozenNorm = Literal["evaluation", "training"]


class SplitPair(StrictModel):
    """A training and a test split that belong together."""

    train: str | None
    """null is every sample."""
    test: str | None


class EvalDataConfig(DataConfig):
    """How clips are read and batched; the defaults suit fine-tuning (section 5 of the method)."""

    videos_per_batch: int = Field(default=24, ge=1, le=8192)
    """Videos in the global training batch; each gives one clip."""
    reader: IndexedReaderConfig = IndexedReaderConfig()
    """Shards need indexes, because tests and probes read chosen videos."""
    max_test_clips: PositiveInt = 64
    """Maximum number of clips in a test batch, per rank."""


class FineTuneOptimizer(OptimizerConfig):
    """AdamW as in pre-training, with a smaller learning rate."""

    learning_rate: PositiveFloat = 5e-5


class FitConfig(TrainConfig):
    """A training run of an evaluation."""

    question: dict[str, Any]
    """All other settings that the result depends on; part of the run's identity."""


class TrainableWeights(StrictModel):
    """The keys of every network that evaluations can train."""

    learning_rate: PositiveFloat | None = None
    """Its own learning rate, instead of the one in the evaluation's `optimizer`. By default, such a network takes part
    only in evaluations that train all layers."""


class CheckpointWeights(TrainableWeights):
    """A network that this program trained."""

    kind: Literal["checkpoint"] = "checkpoint"
    path: Location
    """File or URL of its backbone.safetensors, or the folder of the run that holds it."""
    below_out: bool = False
    """Whether a relative path starts at the config's `out`; for a network that an evaluation trains."""


class RandomWeights(TrainableWeights):
    """Newly initialised weights, for training from scratch or as a baseline."""

    kind: Literal["random"]
    network: NetworkConfig | None = None
    """The architecture."""
    like: str | None = None
    """Instead of `network`: the name of another entry, whose architecture is used."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.network is None) == (self.like is None):
            raise ValueError("give `network` (an architecture) or `like` (another entry's name), and only one of them")
        return self


class TorchvisionWeights(TrainableWeights):
    """Weights of torchvision's r3d_18 or r2plus1d_18."""

    kind: Literal["torchvision"]
    network: NetworkConfig
    """r3d18 or r2plus1d18, with variant torchvision and width 1."""
    weights: HomeExpanded
    """A file with the state dict, or a name such as KINETICS400_V1 that torchvision downloads."""


class TrivialFeatures(StrictModel):
    """No network: simple statistics of the pixels, as a baseline for retrieval and for the probes on features."""

    kind: Literal["trivial"]
    features: Literal["colour", "difference"]
    """`colour`: mean colour and histograms. `difference`: a map of the differences between frames."""


WeightsConfig = Annotated[
    CheckpointWeights | RandomWeights | TorchvisionWeights | TrivialFeatures, Field(discriminator="kind")
]


class JudgingConfig(RunConfig):
    """The config keys that all evaluations share: data, networks, and how results are computed."""

    test_shards: HomeExpanded | None = None
    """The data set of the test splits, if it differs from `shards`; it must have the same classes."""
    splits: tuple[SplitPair, ...] = (SplitPair(train="train1", test="test1"),)
    """Pairs of splits to train and test on, one after the other; `[1, 2]` is short for train1/test1, train2/test2."""
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0,), min_length=1)
    """Seeds of new weights, order and draws; one row per seed."""
    networks: dict[str, WeightsConfig]
    """The networks to evaluate, by name. The tables compare the network `pretrained` with the paper."""
    data: EvalDataConfig = EvalDataConfig()

    @model_validator(mode="before")
    @classmethod
    def _out_beside_checkpoint(cls, values: Any) -> Any:
        """The default of `out`: the folder `eval` below the run of the network `pretrained`."""
        networks = values.get("networks") if isinstance(values, dict) else None
        entry = networks.get("pretrained") if isinstance(networks, dict) else None
        path = entry.get("path") if isinstance(entry, dict) else None
        if not isinstance(path, str) or not path or values.get("out") is not None:
            return values
        run = split_location(path)[0] if path.endswith(".safetensors") else path
        return values | {"out": join_location(run, "eval")}

    @field_validator("splits", mode="before")
    @classmethod
    def _numbered(cls, splits: Any) -> Any:
        if not isinstance(splits, (list, tuple)) or not splits:
            raise ValueError("give a list such as [1] or [{train: train1, test: test1}]")
        return [{"train": f"train{s}", "test": f"test{s}"} if type(s) is int else s for s in splits]  # not bool

    @field_validator("networks")
    @classmethod
    def _names_are_folders(cls, networks: dict[str, WeightsConfig]) -> dict[str, WeightsConfig]:
        bad = [name for name in networks if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name)]
        if bad or not networks:
            raise ValueError(f"names are letters, digits and _ . + -, at least one entry; not allowed: {bad}")
        return networks

    @field_validator("networks")
    @classmethod
    def _spell_out_paths(cls, networks: dict[str, WeightsConfig], info: ValidationInfo) -> dict[str, WeightsConfig]:
        out = info.data.get("out")  # validated before `networks`; missing if invalid
        return {name: entry if out is None else _placed(entry, out) for name, entry in networks.items()}


def _placed(entry: WeightsConfig, out: str) -> WeightsConfig:
    """The entry; a path below `out` becomes a whole path."""
    if not isinstance(entry, CheckpointWeights) or not entry.below_out:
        return entry
    is_whole = is_url(entry.path) or Path(entry.path).is_absolute()
    path = entry.path if is_whole else join_location(out, *Path(entry.path).parts)
    return entry.model_copy(update={"path": path, "below_out": False})
