"""From shards to a pretrained network: samples, clips, batches, training. Imports shardify, never eval.

    from stream_train import PretrainConfig, clips_of, embed, from_pretrained, pretrain

A public name imports its module when it is first used, so that commands start quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_train.pretrained import clips_of, embed, from_pretrained
    from stream_train.training.config import PretrainConfig
    from stream_train.training.loop import pretrain

__all__ = ["PretrainConfig", "clips_of", "embed", "from_pretrained", "pretrain"]

_HOMES = {
    "PretrainConfig": "stream_train.training.config",
    "clips_of": "stream_train.pretrained",
    "embed": "stream_train.pretrained",
    "from_pretrained": "stream_train.pretrained",
    "pretrain": "stream_train.training.loop",
}
"""Public name -> its module."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
