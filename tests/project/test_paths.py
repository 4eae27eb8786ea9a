"""Paths in configs: every one of them takes a `~`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from shardify.config import StrictModel

PATHS = {
    "videos",
    "lists",
    "out",
    "shards",
    "test_shards",
    "path",
    "folder",
    "source",
    "checkpoint",
    "label_map",
    "ffmpeg",
    "picture",
    "weights",
}
CONFIGS = (
    "eval.config",
    "eval.features.config",
    "eval.study.config",
    "shardify.build.config",
    "shardify.synthetic.videos",
)


def models(base: type[StrictModel]) -> Iterator[type[StrictModel]]:
    for model in base.__subclasses__():
        yield model
        yield from models(model)


def test_every_path_of_every_config_takes_a_tilde() -> None:
    for name in CONFIGS:
        importlib.import_module(name)  # with all that they import, these are all configs
    found = {
        (model.__name__, name): field
        for model in models(StrictModel)
        if model.__module__.startswith(("shardify.", "stream_train.", "eval."))
        for name, field in model.model_fields.items()
        if name in PATHS
    }
    assert {name for _, name in found} == PATHS
    plain = [str, Path, str | None, Path | None]
    assert [key for key, field in found.items() if field.annotation in plain and not field.metadata] == []
