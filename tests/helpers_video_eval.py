"""The command video-eval on tiny data: configs on disk, what a folder holds, deaths in the middle of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml
from click.testing import CliRunner, Result
from helpers_eval import tiny_eval_values, write_eval_dataset
from helpers_training import run_tiny

from eval.cli import main
from stream_train.metrics import Interval

PRETRAINED = {"kind": "checkpoint"}
RANDOM = {"kind": "random", "network": {"kind": "c3d", "width": 0.05}}


def invoke(*arguments: object) -> Result:
    """`video-eval` with these words, in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_error(result: Result, exit_code: int, *parts: str) -> None:
    """The command ended with one clear line, after whatever it had said before, and printed no result."""
    assert result.exit_code == exit_code, (result.output, result.exception)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], result.stderr
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in lines[-1]


def make_world(folder: Path) -> tuple[Path, Path]:
    """A small data set and a network pretrained on its train1 for a moment; returns the folders of both."""
    shards, run = write_eval_dataset(folder / "data"), folder / "pretraining"
    run_tiny(shards, run, epochs=1)
    return shards, run


def two_networks(run: Path) -> dict[str, Any]:
    """Entries for a run's network and one of random weights."""
    return {"pretrained": PRETRAINED | {"path": str(run)}, "random": {"kind": "random", "like": "pretrained"}}


def write_config(path: Path, shards: Path, out: Path, **changes: Any) -> Path:
    """A config file of :func:`helpers_eval.tiny_eval_values`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tiny_eval_values(shards, out, **changes), sort_keys=False))
    return path


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder, with the time it was written, but for the locks of trainings."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def torchvision_file(path: Path) -> Path:
    """The state dict of torchvision's r3d_18 with random weights, as torchvision saves it."""
    torch.manual_seed(5)
    torch.save(torchvision.models.video.r3d_18(weights=None).state_dict(), path)
    return path


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the process die in the middle of a training step, after `step` whole ones."""
    original, done = Interval.add, [0]

    def add(self: Interval, *arguments: Any) -> None:
        done[0] += 1
        if done[0] > step:
            raise Killed
        original(self, *arguments)

    monkeypatch.setattr(Interval, "add", add)
