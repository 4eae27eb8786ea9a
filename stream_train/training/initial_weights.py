"""Weights that a run begins with, instead of random ones: this program's, torchvision's, or any safetensors file.

In: the config's `init` section. Out: a state dict of the backbone, and the sha256 that the run's identity records.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from shardify.errors import UsageError, WorkError, one_line
from shardify.storage.folder_store import file_sha256
from shardify.storage.locations import is_url, join_location
from shardify.storage.work_folder import downloaded
from stream_train.networks.base import BEHIND_CONVOLUTIONS, Backbone
from stream_train.networks.config import NetworkConfig
from stream_train.training.config import InitCheckpoint, InitConfig, InitTorchvision
from stream_train.training.exports import BACKBONE_NAME, load_backbone, network_config, resize_words

TORCHVISION_NAMES = {"r3d18": "r3d_18", "r2plus1d18": "r2plus1d_18"}
_CLASSIFIER_KEYS = ("fc.weight", "fc.bias")
"""torchvision's last layer, which our backbones do not have."""

_USUAL_ADVICE = (
    "give `network` and data.crop as in that training, init.parts=convolutions to leave out the fully connected "
    "layers, or, for weights of another program, init.rename"
)
_TORCHVISION_ADVICE = (
    "give the state dict of torchvision.models.video.r3d_18 for a network of kind r3d18, or that of r2plus1d_18 for "
    "kind r2plus1d18, both with variant torchvision and width 1"
)


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """A state dict for a backbone."""

    state: Mapping[str, Tensor]
    digest: str
    """sha256 of the file, or torchvision's name of the weights."""
    origin: str
    """What messages call them."""
    convolutions_only: bool = False
    advice: str = _USUAL_ADVICE
    """What to do if they do not fit."""

    def load_into(self, backbone: Backbone) -> None:
        """Copy the weights.

        Raises UsageError if one is missing, left over or of another shape; names the first, and copies nothing.
        """
        wanted, given = self._chosen(backbone.state_dict()), self._chosen(self.state)
        for name, value in wanted.items():
            if name not in given:
                raise UsageError(f"{self.origin} has no {name}, which the network needs; {self.advice}")
            if given[name].shape != value.shape:
                shapes = f"{tuple(given[name].shape)}, but the network needs {tuple(value.shape)}"
                raise UsageError(f"{self.origin}: {name} has shape {shapes}; {self.advice}")
        left_over = next((name for name in given if name not in wanted), None)
        if left_over is not None:
            raise UsageError(f"{self.origin} holds {left_over}, which the network does not have; {self.advice}")
        backbone.load_state_dict(given, strict=not self.convolutions_only)

    def _chosen(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        left_out = BEHIND_CONVOLUTIONS if self.convolutions_only else ()
        return {name: value for name, value in state.items() if name.partition(".")[0] not in left_out}


def read_initial(config: InitConfig, network: NetworkConfig) -> InitialWeights:
    """Read the weights that a config names.

    Raises:
        UsageError: if there is no such file, or a pattern of `rename` is wrong.
        WorkError: if the file is damaged.
    """
    convolutions_only = config.parts == "convolutions"
    if isinstance(config, InitTorchvision):
        state, digest = _read_torchvision(config.weights, network)
        return InitialWeights(
            state={name: value for name, value in state.items() if name not in _CLASSIFIER_KEYS},
            digest=digest,
            origin=config.weights,
            convolutions_only=convolutions_only,
            advice=_TORCHVISION_ADVICE,
        )
    location = config.path
    if isinstance(config, InitCheckpoint):
        location = export_location(location)
    try:
        with downloaded(location) as path:
            digest = file_sha256(path)
            if isinstance(config, InitCheckpoint):
                backbone, metadata = load_backbone(path, name=location)
                state, advice = (
                    dict(backbone.state_dict()),
                    _fitting(metadata, any_crop=convolutions_only or backbone.fully_connected is None),
                )
            else:
                state, advice = renamed(load_file(path), config.rename), _USUAL_ADVICE
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        wanted = f"a run (it writes {BACKBONE_NAME} when it is finished), its {BACKBONE_NAME}, or its URL"
        raise UsageError(f"init.path = {config.path}: there is no file {location}; give {wanted}") from None
    except SafetensorError as error:
        raise WorkError(f"{location} is damaged, or no safetensors file ({one_line(error)[:200]})") from None
    return InitialWeights(
        state=state, digest=digest, origin=location, convolutions_only=convolutions_only, advice=advice
    )


def _fitting(metadata: Mapping[str, Any], *, any_crop: bool) -> str:
    """The settings that an export fits; `any_crop`: its weights do not depend on the crop."""
    network = network_config(metadata)
    changed = {"kind": network.kind} | network.model_dump(exclude_defaults=True)
    fitting = f"--set 'network={yaml.safe_dump(changed, default_flow_style=True, width=math.inf).strip()}'"
    if any_crop:
        return f"the file fits {fitting}"
    return (
        f"the file fits {fitting} --set data.crop={metadata['crop']}{resize_words(metadata)}; with another "
        "crop, or clips of another length, add --set init.parts=convolutions, which leaves out the fully connected "
        "layers"
    )


def renamed(state: Mapping[str, Tensor], rename: Mapping[str, str]) -> dict[str, Tensor]:
    """Apply every pattern, in order, to each tensor's name; a name that becomes empty is dropped.

    Raises UsageError for a wrong pattern, or if two tensors get the same name.
    """
    result: dict[str, Tensor] = {}
    for old, tensor in state.items():
        new = old
        for pattern, replacement in rename.items():
            try:
                new = re.sub(pattern, replacement, new)
            except (re.error, IndexError) as error:
                raise UsageError(f"init.rename: {pattern!r} -> {replacement!r} cannot be applied: {error}") from None
        if new in result:
            raise UsageError(f"init.rename gives two tensors the name {new}, one of them is {old}; make it stricter")
        if new:
            result[new] = tensor
    return result


def export_location(run: str) -> str:
    """The backbone's file of a run, or `run` itself if it is a file. A URL that ends in .safetensors is a file."""
    is_file = run.endswith(".safetensors") if is_url(run) else not Path(run).is_dir()
    return run if is_file else join_location(run, BACKBONE_NAME)


def find_torchvision(weights: str, network: NetworkConfig) -> Any:
    """torchvision's weights of a name. Raises UsageError if there are none."""
    import torchvision

    function = TORCHVISION_NAMES.get(network.kind, network.kind)
    try:
        return torchvision.models.get_model_weights(function)[weights]
    except (KeyError, ValueError):
        raise UsageError(
            f"{weights} is neither a file nor weights of torchvision's {function}; give the path of a state "
            "dict, or a name such as KINETICS400_V1"
        ) from None


def _read_torchvision(weights: str, network: NetworkConfig) -> tuple[dict[str, Tensor], str]:
    """torchvision's state dict, from a file or by name, and its sha256 or name."""
    path = Path(weights)
    if not path.is_file():
        chosen = find_torchvision(weights, network)
        try:
            state = chosen.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)
        except (OSError, RuntimeError) as error:
            raise WorkError(
                f"torchvision's {weights} cannot be downloaded ({one_line(error)}); download {chosen.url} "
                "elsewhere and give the file's path"
            ) from None
        return state, str(chosen)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 (torch.load raises many types for a foreign file)
        raise WorkError(f"{path} is no file of weights that torch loads ({one_line(error)[:200]})") from None
    if not isinstance(state, dict):
        raise WorkError(f"{path} holds a {type(state).__name__}, not a state dict")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WorkError(
                f"{path} holds {name!r} of type {type(value).__name__}; a state dict holds only names and tensors; "
                "write the file with torch.save(model.state_dict(), FILE)"
            )
    return state, file_sha256(path)
