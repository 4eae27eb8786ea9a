"""A training run that takes a second: a tiny C3D on the numbered JPEGs of the small data set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from shardify.config import validate_config
from stream_train.training.checkpoint import CheckpointFolder
from stream_train.training.config import PretrainConfig
from stream_train.training.loop import pretrain
from stream_train.training.metrics import TRAFFIC_PREFIX, Record

VALIDATED = {"split": "train1", "draws_per_video": 1, "every_epochs": 1}
"""The key `validation` of runs that are validated after each epoch."""
TIMINGS = ("clips_per_second", "data_wait_share")


def tiny_values(shards: Path | str, out: Path | str, **changes: Any) -> dict[str, Any]:
    """Config values: 23 videos, 5 a batch, 2 epochs: 10 steps, a record every 3, a checkpoint every 4."""
    values: dict[str, Any] = {
        "shards": str(shards),
        "split": "train1",
        "out": str(out),
        "seed": 3,
        "epochs": 2,
        "data": {"crop": 16, "videos_per_batch": 5, "num_workers": 0},
        "network": {"kind": "c3d", "width": 0.05},
        "optimizer": {"learning_rate": 1e-3},
        "device": "cpu",
        "threads": 1,
        "log_every_steps": 3,
        "checkpoint": {"every_steps": 4, "keep": 2},
    }
    for key, value in changes.items():
        *parents, last = key.split("__")
        node = values
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return values


def tiny_config(shards: Path | str, out: Path | str, **changes: Any) -> PretrainConfig:
    """The config of :func:`tiny_values`; `data__num_workers=1` changes a nested key."""
    return validate_config(PretrainConfig, tiny_values(shards, out, **changes), "tiny")


@contextmanager
def without_rendering() -> Iterator[None]:
    """Figures are built, but saved as one grey pixel: rendering takes longer than a tiny training."""

    def save_pixel(_figure: Figure, path: Path, **_options: Any) -> None:
        Image.new("L", (1, 1)).save(path, format="png")

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(Figure, "savefig", save_pixel)
        yield


def run_tiny(
    shards: Path | str, out: Path | str, *, said: list[str] | None = None, rendered: bool = False, **changes: Any
) -> list[str]:
    """Train; returns what was said, and also puts it into `said`, for runs that do not end well.

    What is said of every run alike, how its data are read and how much of them, is left out. Pictures are one grey
    pixel unless they are to be `rendered`.
    """
    said = [] if said is None else said

    def say(line: str) -> None:
        if not line.startswith(("reading ", "in all: ")):
            said.append(line)

    with nullcontext() if rendered else without_rendering():
        pretrain(tiny_config(shards, out, **changes), say)
    return said


def records(out: Path, *, traffic: bool = False) -> list[Record]:
    """The lines of metrics.jsonl without the timings, and without what object stores moved unless that is asked for."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]

    def is_kept(name: str) -> bool:
        return name not in TIMINGS and (traffic or not name.startswith(TRAFFIC_PREFIX))

    return [{name: value for name, value in line.items() if is_kept(name)} for line in lines]


def assert_same_run(left: Path, right: Path) -> None:
    """Bit-identical weights, optimiser state and figures."""
    one, other = (CheckpointFolder(folder=out).newest() for out in (left, right))
    assert one is not None
    assert other is not None
    assert one.step == other.step
    assert one.model.keys() == other.model.keys()
    for name, value in one.model.items():
        assert torch.equal(value, other.model[name]), name
    assert one.optimizer["param_groups"] == other.optimizer["param_groups"]
    for number, state in one.optimizer["state"].items():
        for name, value in state.items():
            assert torch.equal(value, other.optimizer["state"][number][name]), (number, name)
    assert records(left) == records(right)
