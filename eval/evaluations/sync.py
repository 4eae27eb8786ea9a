"""Synchronisation: the shift between two overlapping clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from eval.evaluations.base import Evaluation, FrozenSection

if TYPE_CHECKING:
    from eval.evaluations.base import Run


class SyncSection(FrozenSection):
    """The shift between two overlapping clips (Table 3)."""

    stride: PositiveInt = 1
    """Frames from one frame of a clip to the next; the shift is a multiple of this."""
    frozen: bool = True
    """Whether the convolutions keep their weights."""


def _load() -> Run:
    from eval.evaluations.sync_rows import evaluate_sync

    return evaluate_sync


SYNC = Evaluation(
    name="sync",
    title="Synchronisation: by how many frames are two clips shifted?",
    short="Synchronisation",
    question="Two overlapping clips of one video; the offset is one of 13 (Table 3 of the paper).",
    help="By how many frames two overlapping clips are shifted (Table 3).",
    section=SyncSection,
    load=_load,
)
