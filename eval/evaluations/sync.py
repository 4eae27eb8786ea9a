"""Synchronisation: the shift between two overlapping clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from eval.evaluations.base import Clips, Evaluation, FrozenSection

if TYPE_CHECKING:
    from collections.abc import Container

    from eval.config import EvalConfig
    from eval.evaluations.base import Run
    from shardify.arrays import IntArray


class SyncSection(FrozenSection):
    """The shift between two overlapping clips (Table 3)."""

    stride: PositiveInt = 1
    """Frames from one frame of a clip to the next; the shift is a multiple of this."""
    frozen: bool = True
    """Whether the convolutions keep their weights."""


def _load() -> Run:
    from eval.evaluations.sync_rows import evaluate_sync

    return evaluate_sync


def _clips(config: EvalConfig, train: IntArray, test: IntArray, _: Container[str]) -> Clips:
    from eval.evaluations.sync_rows import OFFSETS

    trained = {"frozen" if config.sync.frozen else "trained": 2 * config.sync.epochs * len(train)}
    return Clips(**trained, tested=2 * len(OFFSETS) * len(test), num_trainings=1, num_results=1)


SYNC = Evaluation(
    name="sync",
    title="Synchronisation: by how many frames are two clips shifted?",
    short="Synchronisation",
    question="Two overlapping clips of one video; the offset is one of 13 (Table 3 of the paper).",
    help="How far two overlapping clips are shifted (Table 3).",
    section=SyncSection,
    load=_load,
    clips=_clips,
)
