"""Synchronisation: the shift between two overlapping clips of a video (section 4, Table 3).

In: a network. Out: the accuracy over the 13 offsets -6 to 6, and the mean absolute error of the offset in steps. The
difference of both clips' last convolution goes through three new fully connected layers.

The paper leaves these open; our choices: stride 1; frozen convolutions; the same crop and flip for both clips, no
change of colours; every offset is tested once per video; videos too short for the largest offset are left out, so all
13 offsets are equally likely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eval.config import EvalConfig
from eval.evaluations.sync import SYNC
from eval.evaluations.temporal import TemporalQuestion, temporal_row
from eval.judging.setting import Say, settings_of
from eval.results.rows import Row
from stream_train.data.config import DataConfig
from stream_train.data.plans import ClipPlan
from stream_train.draws import Purpose, SampleDraws
from stream_train.tasks.question import Question
from stream_train.training.distributed import World
from stream_train.transformations.sequences import CLIP_LENGTH

MAX_OFFSET = 6
OFFSETS = tuple(range(-MAX_OFFSET, MAX_OFFSET + 1))


def frames_needed_to_shift(stride: int) -> int:
    """Length of the shortest video that fits every offset, in frames: 16 + 6 at stride 1."""
    return (CLIP_LENGTH - 1 + MAX_OFFSET) * stride + 1


def pair_plans(num_frames: int, offset: int, draws: SampleDraws, stride: int) -> tuple[ClipPlan, ClipPlan]:
    """Two clips at a random position; the second starts `offset` steps (in OFFSETS) of `stride` frames after the first.

    The video has at least :func:`frames_needed_to_shift` frames.
    """
    span = (CLIP_LENGTH - 1) * stride + 1
    room = num_frames - span - abs(offset) * stride
    earliest = draws.stream(Purpose.SYNC_START, offset + MAX_OFFSET).integer(0, room + 1)
    starts = (earliest + max(0, -offset) * stride, earliest + max(0, offset) * stride)
    first, second = (
        ClipPlan(
            indices=start + np.arange(CLIP_LENGTH, dtype=np.int64) * stride, targets={SYNC.name: offset + MAX_OFFSET}
        )
        for start in starts
    )
    return first, second


@dataclass(frozen=True, kw_only=True)
class SyncTask(Question):
    """One pair of clips per video, at a random offset."""

    stride: int
    head: str = SYNC.name
    classes: tuple[str, ...] = tuple(f"{offset:+d}" if offset else "0" for offset in OFFSETS)

    @property
    def min_frames(self) -> int:
        return frames_needed_to_shift(self.stride)

    @property
    def clips_per_answer(self) -> int:
        return 2

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        offset = draws.stream(Purpose.SYNC_OFFSET).integer(-MAX_OFFSET, MAX_OFFSET + 1)
        return pair_plans(num_frames, offset, draws, self.stride)

    def merge_maps(self, maps: Tensor) -> Tensor:
        """psi(v1) - psi(v2) of each pair (section 4)."""
        return maps[0::2] - maps[1::2]


@dataclass(frozen=True, kw_only=True)
class SyncTests:
    """One pair of clips for every offset; a `DrawClips`."""

    stride: int

    def __call__(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        return tuple(plan for offset in OFFSETS for plan in pair_plans(num_frames, offset, draws, self.stride))


def evaluate_sync(config: EvalConfig, world: World, say: Say) -> list[Row]:
    """Train and test the classifier of the offset for each setting: the left half of Table 3."""
    section = config.sync
    question = TemporalQuestion(
        evaluation=SYNC.name,
        section=section,
        task=SyncTask(stride=section.stride),
        tests=SyncTests(stride=section.stride),
        measure=_hits_and_errors,
        # the constant answer with the smallest expected error is 0
        chance={"accuracy": 1 / len(OFFSETS), "mae": sum(map(abs, OFFSETS)) / len(OFFSETS)},
        data=_one_view_a_pair,
    )
    settings = settings_of(config, section.networks, world, say, with_own_rate=not section.frozen)
    return [temporal_row(setting, question) for setting in settings]


def _hits_and_errors(answers: Tensor, right: Tensor) -> Tensor:
    errors = (answers - right).abs()
    return torch.stack((errors == 0, errors), dim=1)


def _one_view_a_pair(data: DataConfig) -> DataConfig:
    flip_scope = "none" if data.flip_scope == "none" else "video"
    return data.model_copy(update={"crop_scope": "video", "flip_scope": flip_scope, "colour": "none"})
