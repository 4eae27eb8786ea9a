"""Videos to frames to shards: the offline stage. Imports nothing from stream_train or eval.

    from shardify import BuildConfig, build_shards, load_config, open_shards

A public name imports its module when it is first used, so that commands start quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shardify.build.config import BuildConfig
    from shardify.build.run import build as build_shards
    from shardify.config import load_config
    from shardify.shards.reading import open_shards

__version__ = "0.1.0"
__all__ = ["BuildConfig", "__version__", "build_shards", "load_config", "open_shards"]

_HOMES = {
    "BuildConfig": ("shardify.build.config", "BuildConfig"),
    "build_shards": ("shardify.build.run", "build"),
    "load_config": ("shardify.config", "load_config"),
    "open_shards": ("shardify.shards.reading", "open_shards"),
}
"""Public name -> its module, and its name there."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
