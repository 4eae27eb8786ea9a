"""The state of a run on disk: saved whole or not at all, found again, compared, and exported.

A checkpoint holds tensors and plain values only, so that it loads with `weights_only`. The settings and the data that
it belongs to are saved inside it: a run is never continued with other ones by accident.
"""

from __future__ import annotations

import json
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from shardify.errors import UsageError, WorkError, one_line
from shardify.storage import FolderStore
from stream_train.networks import Backbone, NetworkConfig, build_backbone
from stream_train.task import ClipModel

FORMAT_VERSION = 1
DATA_KEYS = ("split", "data_set.fingerprint", "data_set.num_samples", "data_set.height", "data_set.width")
"""Identity keys that `accept_changed_data` lets differ."""

METADATA_KEY = "temporal_ssl"
_NAME = re.compile(r"checkpoint-(\d{8,})\.pt")


def checkpoint_name(step: int) -> str:
    """`checkpoint-00001234.pt`."""
    return f"checkpoint-{step:08d}.pt"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that continuing a run needs; the schedule and the stream follow from the step."""

    step: int
    """Optimiser steps done."""
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    identity: dict[str, Any]
    """Settings and data that the state belongs to, as dotted keys."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFolder:
    """The checkpoints of one run, the newest few."""

    folder: Path
    keep: int = 2
    skipped: list[str] = field(default_factory=list)
    """Files that :meth:`newest` could not read, with the reason."""

    def steps(self) -> list[int]:
        """Steps of all complete checkpoints, increasing."""
        if not self.folder.is_dir():
            return []
        matches = (_NAME.fullmatch(name) for name in FolderStore(self.folder).names())
        return sorted(int(match[1]) for match in matches if match)

    def path(self, step: int) -> Path:
        return self.folder / checkpoint_name(step)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint atomically and durably, then remove the oldest beyond `keep`.

        Files of later steps, which could not be read when the run was taken up, neither count nor go.

        Raises:
            WorkError: if the disk is full; the earlier checkpoints stay.
        """
        store = FolderStore(self.folder)
        name = checkpoint_name(checkpoint.step)
        with store.temporary(name) as path:
            with path.open("wb") as file:
                _save_to(file, {"format_version": FORMAT_VERSION, **vars(checkpoint)})
            store.write_file(name, path)
        for step in [step for step in self.steps() if step <= checkpoint.step][: -self.keep]:
            store.delete(checkpoint_name(step))

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that can be read, None if there are no files; unreadable ones go to `skipped`.

        Raises:
            WorkError: if there are checkpoints but none can be read.
        """
        for step in reversed(self.steps()):
            try:
                return read_checkpoint(self.path(step))
            except WorkError as error:
                self.skipped.append(str(error))
        if self.skipped:
            raise WorkError(
                f"none of the {len(self.skipped)} checkpoints in {self.folder} can be read, the newest: "
                f"{self.skipped[0]}; delete them to start the run anew"
            )
        return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, on the CPU, after checking every byte against the file's own checksums.

    Raises:
        WorkError: if the file is missing, damaged, or not a checkpoint of this program.
    """
    try:
        values = _read_checked(path)
    except FileNotFoundError:
        raise WorkError(f"there is no checkpoint {path}") from None
    except _DAMAGE as error:
        raise WorkError(f"{path} is damaged or no checkpoint ({one_line(error)[:200]})") from None
    if not isinstance(values, dict) or "format_version" not in values:
        raise WorkError(f"{path} is not a checkpoint of this program")
    if values.pop("format_version") != FORMAT_VERSION:
        raise WorkError(f"{path} was written by another version of this program")
    try:
        _require_types(values)
        return Checkpoint(**values)
    except (TypeError, ValueError) as error:
        raise WorkError(f"{path} is not a checkpoint of this program ({one_line(error)[:200]})") from None


def _require_types(values: Mapping[str, Any]) -> None:
    step = values.get("step")
    if not isinstance(step, int) or step < 0:
        raise ValueError(f"its step is {step!r}")
    for name in ("model", "optimizer", "identity"):
        if not isinstance(values.get(name), dict) or not all(isinstance(key, str) for key in values[name]):
            raise ValueError(f"its {name} is not a mapping with names")


def restore_model(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Give a model the weights of a checkpoint.

    Raises:
        WorkError: if they do not fit.
    """
    try:
        model.load_state_dict(dict(state))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise WorkError(f"the weights of {origin} do not fit the network ({one_line(error)[:200]})") from None


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any], origin: str) -> None:
    """Give an optimiser the state of a checkpoint.

    Raises:
        WorkError: if it does not fit.
    """
    try:
        optimizer.load_state_dict(dict(state))
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise WorkError(f"the optimiser's state in {origin} does not fit ({one_line(error)[:200]})") from None


def require_same(
    saved: Mapping[str, Any], current: Mapping[str, Any], *, origin: str, accept_changed_data: bool = False
) -> None:
    """Refuse to continue what was started with other settings or other data.

    Args:
        saved: identity that the files in the way carry.
        current: identity of the run that is asked for.
        origin: what carries `saved`; starts the message.
        accept_changed_data: let DATA_KEYS differ.

    Raises:
        UsageError: naming every difference.
    """
    keys = sorted(set(saved) | set(current))
    differing = [key for key in keys if saved.get(key) != current.get(key)]
    if accept_changed_data:
        differing = [key for key in differing if key not in DATA_KEYS]
    if not differing:
        return
    listed = "; ".join(f"{key} was {_shown(saved, key)}, now {_shown(current, key)}" for key in differing)
    advice = "give another out for a new run, or restore them to continue"
    if set(differing) <= set(DATA_KEYS):
        advice = "give another out for a new run, or --set accept_changed_data=true to continue on other data"
    raise UsageError(f"{origin} belongs to a run with other settings ({listed}); {advice}")


def export_weights(path: Path, module: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Write a module's weights as safetensors, atomically; equal weights and metadata give equal bytes.

    The metadata is one JSON text under METADATA_KEY: safetensors keeps several in no particular order.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    data = serialise(tensors, metadata={METADATA_KEY: json.dumps(metadata)})
    FolderStore(path.parent).write(path.name, data)


def load_backbone(path: Path) -> tuple[Backbone, dict[str, Any]]:
    """Build the network that `backbone.safetensors` describes, with its weights.

    Returns:
        The backbone in evaluation mode, and the file's metadata (network, crop, num_frames, data_set, step ...).

    Raises:
        UsageError: if there is no such file.
        WorkError: if it is damaged, or not an export of this program.
    """
    with _reading_export(path, "backbone.safetensors"):
        metadata, state = _read_export(path)
        backbone = _described_backbone(metadata)
        backbone.load_state_dict(state)
    return backbone.eval(), metadata


def load_model(path: Path) -> tuple[ClipModel, dict[str, Any]]:
    """Build the network with its heads that `network.safetensors` describes; otherwise as :func:`load_backbone`."""
    with _reading_export(path, "network.safetensors"):
        metadata, state = _read_export(path)
        backbone = _described_backbone(metadata)
        if any(name.startswith("added.") for name in state):
            raise UsageError(
                f"{path} has fully connected layers between backbone and head that it does not describe; give a run of "
                "`stream-train pretrain` or `video-eval transfer`"
            )
        weights = {
            name.split(".")[1]: value for name, value in state.items() if re.fullmatch(r"heads\.\w+\.weight", name)
        }
        model = ClipModel(backbone, {name: len(weight) for name, weight in weights.items()}, "torch")
        model.load_state_dict(state)
    return model.eval(), metadata


@contextmanager
def _reading_export(path: Path, usual_name: str) -> Iterator[None]:
    if not path.is_file():
        raise UsageError(f"there is no file {path}; give the {usual_name} of a finished run")
    try:
        yield
    except (SafetensorError, OSError, KeyError, ValueError, ValidationError, RuntimeError) as error:
        raise WorkError(f"{path} is damaged, or was not exported by this program ({one_line(error)[:200]})") from None


def _read_export(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, Any] = json.loads((file.metadata() or {})[METADATA_KEY])
    return metadata, load_file(path)


def _described_backbone(metadata: Mapping[str, Any]) -> Backbone:
    network: NetworkConfig = TypeAdapter(NetworkConfig).validate_python(metadata["network"])
    return build_backbone(network, crop=metadata["crop"], num_frames=metadata["num_frames"])


_DAMAGE = (
    *(OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError),
    *(zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError),
)
"""What zipfile and torch.load raise on bytes that are not what they expect."""


def _read_checked(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} does not match its checksum")
    return torch.load(path, map_location="cpu", weights_only=True)


def _save_to(file: Any, values: dict[str, Any]) -> None:
    """`torch.save`, with a full disk reported as the OSError that it is."""
    try:
        torch.save(values, file)
    except RuntimeError as error:  # the zip writer hides the OSError of the write below it
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        raise cause or error from None


def _shown(identity: Mapping[str, Any], key: str) -> str:
    if key not in identity:
        return "not set"
    text = repr(identity[key])
    return text if len(text) <= 60 else f"{text[:12]}..."
