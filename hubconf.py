"""Networks for `torch.hub.load(CHECKOUT, NAME, source="local")`."""

from __future__ import annotations

from typing import Any

from stream_train.networks.base import Backbone

dependencies = ["torch", "numpy", "pydantic", "safetensors", "simplejpeg", "yaml"]


def from_pretrained(location: str) -> Backbone:
    """A trained network: `location` is a run, an export, a URL such as `s3://...`, or `hf://user/name`."""
    from stream_train.pretrained import from_pretrained as load

    return load(location)


def c3d(**options: Any) -> Backbone:
    """The paper's C3D with random weights; `crop`, `num_frames`, and the keys of the network's config are options."""
    return _build("c3d", options)


def c3d_large(**options: Any) -> Backbone:
    """The C3D of Tran et al.; options as for `c3d`."""
    return _build("c3d_large", options)


def r3d18(**options: Any) -> Backbone:
    """3D-ResNet-18; options as for `c3d`."""
    return _build("r3d18", options)


def r2plus1d18(**options: Any) -> Backbone:
    """R(2+1)D-18; options as for `c3d`."""
    return _build("r2plus1d18", options)


def _build(kind: str, options: dict[str, Any]) -> Backbone:
    from pydantic import TypeAdapter

    from stream_train.networks import build_backbone
    from stream_train.networks.config import NetworkConfig

    shape = {name: options.pop(name) for name in ("crop", "num_frames") if name in options}
    config: NetworkConfig = TypeAdapter(NetworkConfig).validate_python({"kind": kind, **options})
    return build_backbone(config, **shape).eval()
