"""Evaluations that take a second: a tiny C3D on a small data set of numbered JPEGs with classes and source groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch.nn.functional as F
from helpers_datasets import write_dataset
from torch import Tensor, nn

from eval.config import EvalConfig
from eval.judging.config import JudgingConfig
from eval.judging.setting import Setting, settings_of
from shardify.config import validate_config
from stream_train.training.distributed import World

LENGTHS = ((20, 16, 31, 61, 25, 40, 33, 22), (70, 24, 28, 36, 5, 16, 64, 30), (17, 62, 5, 23, 45, 26, 21, 16))
"""Frames of the 24 videos, shard by shard."""
SPLITS = (("train1", "test2"), ("train1", "train2"), ("test1", "train2"))
NUM_CLASSES = 2


def ucf_keys(shards: tuple[tuple[int, ...], ...] = LENGTHS, num_classes: int = NUM_CLASSES) -> list[str]:
    """Keys like UCF101's; a shard holds groups of its own, two videos each: v_Class0_g01_c01 ... v_Class1_g06_c02."""
    keys: list[str] = []
    first_group = 1
    for lengths in shards:
        seen = [0] * num_classes
        for _ in lengths:
            label = len(keys) % num_classes
            group, clip = divmod(seen[label], 2)
            keys.append(f"v_Class{label}_g{first_group + group:02d}_c{clip + 1:02d}")
            seen[label] += 1
        first_group += -(-max(seen) // 2)
    return keys


def write_eval_dataset(folder: Path, **changes: Any) -> Path:
    """Three shards of eight videos: train1 and train2 have 16 of them, test1 and test2 the other 8; two classes.

    Every split has videos of 5 and of 16 frames, of 61 and more. `changes` go to `write_dataset`.
    """
    values: dict[str, Any] = {"splits": SPLITS, "keys": ucf_keys(), "num_classes": NUM_CLASSES}
    return write_dataset(folder, LENGTHS, **values | changes)


def tiny_eval_values(shards: Path, out: Path | str, **changes: Any) -> dict[str, Any]:
    """Config values: one C3D of width 0.05 with random weights, 4 videos a batch, 1 epoch; `data__crop=16` is nested.

    `sections__epochs=2` and the like change every evaluation that trains.
    """
    fits = ("transfer", "probe", "sync", "before_after")
    values: dict[str, Any] = {
        "shards": str(shards),
        "splits": [1],
        "seeds": [3],
        "networks": {"random": {"kind": "random", "network": {"kind": "c3d", "width": 0.05}}},
        "out": str(out),
        "data": {"crop": 16, "videos_per_batch": 4, "max_test_clips": 16, "num_workers": 0},
        "device": "cpu",
        "threads": 1,
        "log_every_steps": 2,
        "checkpoint": {"every_steps": 100, "keep": 1},
        **{name: {"epochs": 1, "optimizer": {"learning_rate": 1e-3}} for name in fits},
    }
    values["probe"] |= {"linear": ["100%", 1], "knn": ["100%", 1], "low_label_seeds": [0, 1]}
    for key, value in changes.items():
        for section in fits if key.startswith("sections__") else (None,):
            *parents, last = (key if section is None else key.replace("sections", section, 1)).split("__")
            node = values
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = value
    return values


def tiny_eval_config(shards: Path, out: Path, **changes: Any) -> EvalConfig:
    """The config of :func:`tiny_eval_values`."""
    return validate_config(EvalConfig, tiny_eval_values(shards, out, **changes), "tiny")


def tiny_setting(
    config: JudgingConfig, name: str | None = None, world: World | None = None, said: list[str] | None = None
) -> Setting:
    """The first setting of a config, or of one of its networks; what it says goes to `said`."""
    say = (lambda _: None) if said is None else said.append
    return next(settings_of(config, None if name is None else (name,), world or World(), say))


def telling_jpeg(video: int, frame: int) -> bytes:
    """One colour all over: red is 3 * frame, green 60 or 180 for the class `video % 2`, blue 10 * video."""
    pixels = np.empty((48, 64, 3), dtype=np.uint8)
    pixels[:] = 3 * frame, 60 + 120 * (video % NUM_CLASSES), 10 * video
    return bytes(simplejpeg.encode_jpeg(pixels, quality=100, colorspace="RGB", colorsubsampling="444"))


class Oracle(nn.Module):
    """Stands for a trained model: answers what a function says of the frames and classes that it reads off the pixels.

    Args:
        head: of the question.
        answer: frame numbers int64 (N, 16) and class numbers int64 (N,) -> logits (R, classes).
    """

    def __init__(self, head: str, answer: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.head = head
        self.answer = answer

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        assert not self.training
        assert clips.shape[1:] == (3, 16, 16, 16)
        red, green, _ = ((clips + 1) * 127.5).mean(dim=(3, 4)).unbind(dim=1)
        return {self.head: self.answer((red / 3).round().long(), (green[:, 0] > 120).long())}


def logits_of(answers: Tensor, num_classes: int) -> Tensor:
    """Logits whose largest is the answer's."""
    return 5 * F.one_hot(answers, num_classes).float()
