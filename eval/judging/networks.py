"""The networks to evaluate: their weights, and the data and task that they were trained on.

In: an entry of a config's `networks`. Out: a :class:`Network`, which builds new copies of the backbone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from eval.judging.config import CheckpointWeights, RandomWeights, TorchvisionWeights, WeightsConfig
from eval.results.rows import OTHER_TASK
from shardify.errors import UsageError
from shardify.storage import open_store
from shardify.storage.folder_store import file_sha256
from shardify.storage.locations import absolute_location, is_url, split_location
from shardify.storage.work_folder import downloaded
from stream_train.networks import build_backbone
from stream_train.networks.base import Backbone
from stream_train.networks.config import C3DConfig, NetworkConfig
from stream_train.tasks.config import TaskConfig
from stream_train.training.config import InitTorchvision, PretrainConfig
from stream_train.training.exports import BACKBONE_NAME, frame_size_of, load_backbone, network_config, resize_words
from stream_train.training.initial_weights import export_location, find_torchvision, read_initial
from stream_train.transformations.sequences import CLIP_LENGTH

LABELS_TASK = "action_labels"
"""`pretraining["question"]` of pre-training on action labels."""
SPEED_TASK = "pace"
"""The paper's task without motions: the row "Speed" of Table 1."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A backbone's description and weights."""

    name: str
    """Its name in the config."""
    config: NetworkConfig
    crop: int
    """Height and width of its clips, in pixels."""
    state: Mapping[str, Tensor] | None
    """The backbone's state dict; None for random weights, which :meth:`build` draws."""
    weights: str
    """sha256 of the weights' file, or torchvision's name for them; empty for random weights."""
    pretraining: dict[str, Any] | None
    """Task and data that the weights were trained on; None for random weights."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The metadata of the export."""

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """Height and width of the training frames before the crop; None if unknown, or if they varied."""
        return frame_size_of(self.metadata)

    def build(self, seed: int) -> Backbone:
        """A new copy in training mode. `seed` seeds torch's generator, also for heads that are built next."""
        torch.manual_seed(seed)
        backbone = build_backbone(self.config, crop=self.crop, num_frames=CLIP_LENGTH)
        if self.state is not None:
            backbone.load_state_dict(dict(self.state))
        return backbone.train()


def open_network(name: str, networks: Mapping[str, WeightsConfig], *, crop: int) -> Network:
    """Load the network of the entry `name`, for clips of `crop` x `crop` pixels.

    Raises:
        UsageError: if there is no such entry or file, its weights do not fit, or the network needs another crop.
        WorkError: if a file is damaged.
    """
    entry = entry_of(name, networks)
    if isinstance(entry, CheckpointWeights):
        return open_checkpoint(entry.path, name=name, key=f"networks.{name}.path", crop=crop)
    if isinstance(entry, RandomWeights):
        config = entry.network or _architecture_of(name, entry, networks, crop)
        build_backbone(config, crop=crop, num_frames=CLIP_LENGTH)  # raises if the crop is too small
        return Network(name=name, config=config, crop=crop, state=None, weights="", pretraining=None)
    if isinstance(entry, TorchvisionWeights):
        return _open_torchvision(name, entry, crop)
    raise UsageError(
        f"networks.{name} is {entry.features} features without a network; they serve retrieval and the linear and knn "
        "probes only"
    )


def require_networks(names: Iterable[str], networks: Mapping[str, WeightsConfig], *, but_below: str = "") -> None:
    """Raise UsageError if an entry of `names`, or its file, is missing.

    Files below `but_below`, a folder or URL, may be missing: evaluations create them.
    """
    for judged in names:
        judged_entry = entry_of(judged, networks)
        like = judged_entry.like if isinstance(judged_entry, RandomWeights) else None
        name = like or judged
        entry = entry_of(name, networks)
        if isinstance(entry, TorchvisionWeights) and not Path(entry.weights).is_file():
            find_torchvision(entry.weights, entry.network)
        if isinstance(entry, CheckpointWeights) and not (but_below and _is_below(entry.path, but_below)):
            folder, file = split_location(export_location(entry.path))
            if not (is_url(folder) or Path(folder).is_dir()) or not open_store(folder).exists(file):
                raise _no_export(f"networks.{name}.path", entry.path)


def _is_below(place: str, folder: str) -> bool:
    return absolute_location(place).startswith(absolute_location(folder).rstrip("/") + "/")


def _no_export(key: str, path: str) -> UsageError:
    return UsageError(
        f"{key} = {path}: there is no {export_location(path)}; give the folder of a finished `stream-train pretrain` "
        f"or `video-eval transfer` run, or its {BACKBONE_NAME}"
    )


def entry_of(name: str, networks: Mapping[str, WeightsConfig]) -> WeightsConfig:
    """The entry of a name. Raises UsageError if there is none."""
    if name not in networks:
        raise UsageError(f"networks has no entry {name!r}; it has: {', '.join(networks) or 'none'}")
    return networks[name]


def open_checkpoint(path: str, *, name: str, key: str, crop: int | None = None, crop_key: str = "data.crop") -> Network:
    """Load a network that this program trained.

    `path` is the file or URL of its backbone.safetensors, or the folder of its run; `crop` the size of its clips, by
    default as in training. Messages call the two `key` and `crop_key`.

    Raises:
        UsageError: if there is no such file, or the network needs another crop.
        WorkError: if the file is damaged.
    """
    location = export_location(path)
    try:
        with downloaded(location) as file:
            digest = file_sha256(file)
            backbone, metadata = load_backbone(file, name=location)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise _no_export(key, path) from None
    crop = crop or int(metadata["crop"])
    if metadata["crop"] != crop and backbone.fully_connected is not None:
        raise UsageError(
            f"{location} was trained on crops of {metadata['crop']} pixels, which its fully connected layers demand, "
            f"but {crop_key} is {crop}; set {crop_key}={metadata['crop']}{resize_words(metadata)}"
        )
    return Network(
        name=name,
        config=network_config(metadata),
        crop=crop,
        state=backbone.state_dict(),
        weights=digest,
        pretraining=pretraining_of(metadata),
        metadata=metadata,
    )


def pretraining_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Task and data that an exported network was trained on, in the keys of `Row.pretraining`."""
    task = metadata.get("task.kind", "transformations")
    if task == SPEED_TASK:
        speed = {"task.kind": "transformations", "task.sampling.motions": [], "task.speed_loss": True}
        return pretraining_of({**metadata, **speed})
    own = task if task in ("transformations", LABELS_TASK) else f"{OTHER_TASK}{task}"
    question = metadata.get("question.evaluation", own)
    if metadata.get("question.weights"):
        question += " after pre-training"  # the paper's supervised network learnt from labels only
    summary = {
        "question": question,
        "data_set": metadata.get("data_set.name", "unknown"),
        "split": metadata.get("split"),
        "epochs": metadata.get("epochs"),
        "step": metadata.get("step"),
    }
    if "task.sampling.motions" in metadata:
        summary["motions"] = list(metadata["task.sampling.motions"])
        summary["speed_loss"] = metadata["task.speed_loss"]
    if "task.sampling.motions" in metadata or own.startswith(OTHER_TASK):
        summary["changes"] = _changes_to_the_recipe(metadata, task)
    elif "question.evaluation" in metadata:
        summary["learning_rate"] = metadata.get("optimizer.learning_rate")
    return summary


def _changes_to_the_recipe(metadata: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The settings of a pre-training that differ from the defaults, which are the paper's.

    Other tasks have the defaults of their own keys, and any number of videos a step: they give other numbers of clips.
    """
    try:
        default: TaskConfig = TypeAdapter(TaskConfig).validate_python({"kind": task})
    except ValidationError:  # a task of another version
        return {}
    usual = PretrainConfig(shards="none", out="none", epochs=1, network=C3DConfig(), task=default).identity()
    told_anyway = ["task.sampling.motions", "task.speed_loss"]
    told_anyway += ["data.videos_per_batch"] if task != "transformations" else []
    return {
        key: value
        for key, value in metadata.items()
        if key.startswith(("data.", "task.", "optimizer.", "init.")) and not key.startswith("data.reader.")
        if key not in told_anyway and value != usual.get(key, value)
    }


def _architecture_of(
    name: str, entry: RandomWeights, networks: Mapping[str, WeightsConfig], crop: int
) -> NetworkConfig:
    assert entry.like is not None
    other = entry_of(entry.like, networks)
    if isinstance(other, RandomWeights) and other.network is None:
        raise UsageError(f"networks.{name} is like {entry.like}, which names no architecture itself")
    return open_network(entry.like, networks, crop=crop).config


def _open_torchvision(name: str, entry: TorchvisionWeights, crop: int) -> Network:
    config = entry.network.model_copy(update={"input_statistics": "kinetics400"})
    initial = read_initial(InitTorchvision(kind="torchvision", weights=entry.weights), config)
    backbone = build_backbone(config, crop=crop, num_frames=CLIP_LENGTH)
    initial.load_into(backbone)
    return Network(
        name=name,
        config=config,
        crop=crop,
        state=backbone.state_dict(),
        weights=initial.digest,
        pretraining={"question": "torchvision", "data_set": "kinetics400", "weights": entry.weights},
    )
