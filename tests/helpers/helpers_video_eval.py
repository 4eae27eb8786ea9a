"""The command video-eval on tiny data: configs on disk, what a folder holds, deaths in the middle of a training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
import torchvision
import yaml
from click.testing import CliRunner, Result
from helpers_datasets import numbered_jpeg
from helpers_eval import tiny_eval_values, write_eval_dataset
from helpers_training import run_tiny
from torch import Tensor

from eval.cli import main
from eval.features.vectors import Vectors
from stream_train.training.metrics import Interval

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
    """A small data set, a part of UCF101 by its name, and a network pretrained on its train1 for a moment.

    Returns:
        The folders of both.
    """
    shards, run = write_eval_dataset(folder / "ucf101-tiny"), folder / "pretraining"
    run_tiny(shards, run, epochs=1, seed=11)  # the evaluations' seeds are others, and so are their random weights
    return shards, run


def two_networks(run: Path) -> dict[str, Any]:
    """Entries for a run's network and one of random weights."""
    return {"pretrained": PRETRAINED | {"path": str(run)}, "random": {"kind": "random", "like": "pretrained"}}


def write_config(path: Path, shards: Path, out: Path | str, **changes: Any) -> Path:
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


def slow_clips(video: int, num_frames: int, starts: Sequence[int], stride: int, crop: int) -> Tensor:
    """The centre crops of some clips of a numbered video, frame by frame: float32 (N, 3, 16, crop, crop) in [-1, 1].

    Args:
        video: its number in the data set, which its pixels tell.
        num_frames: its length; a video of fewer than 16 frames begins anew.
        starts: first frames of the clips.
        stride: wanted steps; the largest that fits into the video is taken.
        crop: height and width, of frames of 48 by 64.
    """
    while stride > 1 and 15 * stride + 1 > num_frames:
        stride -= 1
    top, left = (48 - crop) // 2, (64 - crop) // 2
    clips = []
    for start in starts:
        frames = [simplejpeg.decode_jpeg(numbered_jpeg(video, (start + i * stride) % num_frames)) for i in range(16)]
        clips.append([frame[top : top + crop, left : left + crop] / 127.5 - 1 for frame in frames])
    return torch.tensor(np.array(clips), dtype=torch.float32).permute(0, 4, 1, 2, 3).contiguous()


def read_vectors(path: Path) -> Vectors:
    """The vectors of an .npz file, read as any program would."""
    with np.load(path, allow_pickle=False) as arrays:
        return Vectors(
            keys=tuple(arrays["names"].tolist()),
            labels=arrays["labels"],
            values=arrays["vectors"],
            classes=tuple(arrays["classes"].tolist()),
            metadata=json.loads(str(arrays["metadata"])),
        )


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
