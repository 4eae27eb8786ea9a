"""Trained networks as files: weights in safetensors, with the description that builds the network again.

In: a module and its description; later, the file or its URL. Out: the network with its weights, and the description.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from shardify.errors import UsageError, WorkError, one_line
from shardify.storage import open_store
from shardify.storage.folder_store import FolderStore
from shardify.storage.locations import is_url, join_location
from shardify.storage.work_folder import downloaded
from stream_train.networks import build_backbone
from stream_train.networks.base import Backbone
from stream_train.networks.config import NetworkConfig
from stream_train.tasks import build_model, build_task
from stream_train.tasks.base import ClipModel
from stream_train.tasks.config import TaskConfig

BACKBONE_NAME = "backbone.safetensors"
NETWORK_NAME = "network.safetensors"
METADATA_KEY = "temporal_ssl"
"""Key of the file's metadata: one JSON text, because safetensors does not keep the order of several texts."""


def export_weights(path: Path, module: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Write a module's weights as safetensors, atomically; equal weights and metadata give equal bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    data = serialise(tensors, metadata={METADATA_KEY: json.dumps(metadata)})
    FolderStore(path.parent).write(path.name, data)


def load_backbone(location: str | Path, name: str | None = None) -> tuple[Backbone, dict[str, Any]]:
    """Build the network of a `backbone.safetensors` (file or URL); messages call it `name`, by default its location.

    Returns:
        The backbone in evaluation mode, and the file's metadata (network, crop, num_frames, data_set, step ...).

    Raises:
        UsageError: if there is no such file.
        WorkError: if it is damaged, or not an export of this program.
    """
    with _reading_export(location, BACKBONE_NAME, name) as (metadata, state):
        backbone = _described_backbone(metadata)
        backbone.load_state_dict(state)
    backbone.metadata = metadata
    return backbone.eval(), metadata


def load_model(location: str | Path) -> tuple[ClipModel, dict[str, Any]]:
    """Build the network with its heads from `network.safetensors`; otherwise as :func:`load_backbone`."""
    with _reading_export(location, NETWORK_NAME) as (metadata, state):
        if any(name.startswith("added.") for name in state):
            raise UsageError(
                f"{location} has fully connected layers between backbone and head that it does not describe; give a "
                "run of `stream-train pretrain` or `video-eval transfer`"
            )
        model = _described_model(metadata, state)
        model.load_state_dict(state)
    return model.eval(), metadata


def read_metadata(run: str | Path) -> dict[str, Any]:
    """The metadata of the `backbone.safetensors` in a run's folder or URL, without its weights; {} without the file.

    Raises WorkError if the file is damaged, or not an export of this program.
    """
    store = open_store(run)
    if not store.exists(BACKBONE_NAME):
        return {}
    try:
        (num_bytes,) = struct.unpack("<Q", store.read_range(BACKBONE_NAME, 0, 8))
        num_bytes = min(num_bytes, store.size(BACKBONE_NAME) - 8)  # of a damaged file, it may be any number
        header = json.loads(store.read_range(BACKBONE_NAME, 8, num_bytes))
        metadata: dict[str, Any] = json.loads(header["__metadata__"][METADATA_KEY])
    except (WorkError, ValueError, TypeError, LookupError) as error:
        name = join_location(run, BACKBONE_NAME)
        raise WorkError(f"{name} is damaged, or was not exported by this program ({one_line(error)[:200]})") from None
    return metadata


def network_config(metadata: Mapping[str, Any]) -> NetworkConfig:
    """The architecture in the metadata of an export. KeyError or ValidationError if it describes none."""
    network: NetworkConfig = TypeAdapter(NetworkConfig).validate_python(metadata["network"])
    return network


def frame_size_of(metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of the training frames before the crop, from the metadata of an export; None if they varied."""
    if metadata.get("data.scale") or "data_set.height" not in metadata:
        return None
    height, width = metadata.get("data.resize") or (metadata["data_set.height"], metadata["data_set.width"])
    return height, width


def resize_words(metadata: Mapping[str, Any]) -> str:
    """What follows advice to set the crop of an export: the frame size that the crop may need; "" if it varied."""
    size = frame_size_of(metadata)
    return f" (and data.resize=[{size[0]},{size[1]}], unless the frames have that size)" if size else ""


def _described_model(metadata: Mapping[str, Any], state: Mapping[str, Tensor]) -> ClipModel:
    """A pretext task's model, or a backbone with linear heads of the weights' sizes."""
    if (described := metadata.get("task")) is not None:
        task = build_task(TypeAdapter(TaskConfig).validate_python(described), metadata["labels"])
        return build_model(network_config(metadata), task, crop=metadata["crop"])
    weights = {name.split(".")[1]: value for name, value in state.items() if _HEAD_WEIGHT.fullmatch(name)}
    heads = {name: nn.Linear(weight.shape[1], weight.shape[0]) for name, weight in weights.items()}
    return ClipModel(_described_backbone(metadata), heads)


_HEAD_WEIGHT = re.compile(r"heads\.\w+\.weight")


@contextmanager
def _reading_export(
    location: str | Path, usual_name: str, name: str | None = None
) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """Yields metadata and weights; errors while they are used also name the file."""
    name = name or str(location)
    absent = UsageError(f"there is no file {name}; give the {usual_name} of a finished run")
    if not is_url(location) and not Path(location).is_file():
        raise absent
    try:
        with downloaded(location) as path:
            with safe_open(path, framework="pt") as file:
                metadata: dict[str, Any] = json.loads((file.metadata() or {})[METADATA_KEY])
            yield metadata, load_file(path)
    except FileNotFoundError:
        raise absent from None
    except (SafetensorError, OSError, KeyError, ValueError, ValidationError, RuntimeError) as error:
        raise WorkError(f"{name} is damaged, or was not exported by this program ({one_line(error)[:200]})") from None


def _described_backbone(metadata: Mapping[str, Any]) -> Backbone:
    return build_backbone(network_config(metadata), crop=metadata["crop"], num_frames=metadata["num_frames"])
