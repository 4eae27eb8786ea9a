"""Sorting sequences (OPN; Lee et al., ICCV 2017): the order of four pieces of a clip, up to reversal.

The network sees one clip of 16 frames: four pieces of four frames, in a random order. An order and its reversal are
one answer, because many motions can be played either way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shardify.arrays import IntArray
from stream_train.data.plans import ClipPlan
from stream_train.draws import Purpose, SampleDraws
from stream_train.tasks.config import OrderPredictionConfig
from stream_train.tasks.drawing import draw_start, frames_from, names_of, orders
from stream_train.tasks.question import Question
from stream_train.transformations.sequences import CLIP_LENGTH

NUM_PIECES = 4
PIECE_LENGTH = CLIP_LENGTH // NUM_PIECES
ORDERS = tuple(order for order in orders(NUM_PIECES) if order[0] < order[-1])
"""One of each order and its reversal."""


@dataclass(frozen=True)
class OrderPrediction(Question):
    """See :class:`OrderPredictionConfig`."""

    config: OrderPredictionConfig
    head = "order"
    classes = names_of(ORDERS)

    @property
    def min_frames(self) -> int:
        return CLIP_LENGTH + (NUM_PIECES - 1) * self.config.gap

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        start = draw_start(num_frames, self.min_frames, draws)
        order = tuple(draws.stream(Purpose.TASK_ORDER).permutation(NUM_PIECES).tolist())
        answer = ORDERS.index(order if order in ORDERS else order[::-1])
        pieces = [frames_from(start + piece * (PIECE_LENGTH + self.config.gap), 1, PIECE_LENGTH) for piece in order]
        jitter, channels = self._changes(draws)
        return (ClipPlan(indices=np.concatenate(pieces), targets={"order": answer}, jitter=jitter, channels=channels),)

    def _changes(self, draws: SampleDraws) -> tuple[IntArray | None, IntArray | None]:
        """Each frame's jitter, int64 (16, 2), and colour channel, int64 (16,)."""
        pixels, most = draws.stream(Purpose.TASK_PIXELS), self.config.jitter
        jitter = pixels.integers(-most, most + 1, 2 * CLIP_LENGTH).reshape(CLIP_LENGTH, 2) if most else None
        return jitter, pixels.integers(0, 3, CLIP_LENGTH) if self.config.one_channel else None
