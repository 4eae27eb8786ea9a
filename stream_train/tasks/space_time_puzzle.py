"""Space-time cubic puzzles (Kim et al., AAAI 2019): the order of four pieces of a video, in space or in time.

In space: one piece from each quarter of the crop, all from the same 16 frames. In time: a piece from each of four
successive blocks of 16 frames, all from the same quarter. A piece is a random window of its quarter, enlarged to the
crop's size, so that no edge continues in its neighbour; by default it shows one random colour channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from stream_train.data.plans import ClipPlan, Window
from stream_train.draws import Purpose, SampleDraws
from stream_train.tasks.base import HeadWidth
from stream_train.tasks.config import SpaceTimePuzzleConfig
from stream_train.tasks.drawing import draw_start, frames_from, names_of, orders
from stream_train.tasks.heads import ConcatenationHead
from stream_train.tasks.question import Question
from stream_train.transformations.sequences import CLIP_LENGTH

NUM_PIECES = 4
ORDERS = orders(NUM_PIECES)
QUARTERS = ((0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.5, 0.5))
"""Top and left of each quarter, row by row, as shares of the crop."""


@dataclass(frozen=True)
class SpaceTimePuzzle(Question):
    """See :class:`SpaceTimePuzzleConfig`. Clip i of a video shows piece ORDERS[answer][i]."""

    config: SpaceTimePuzzleConfig
    head = "order"
    classes = names_of(ORDERS)

    @property
    def min_frames(self) -> int:
        return CLIP_LENGTH if self.config.layout == "space" else NUM_PIECES * CLIP_LENGTH

    @property
    def clips_per_answer(self) -> int:
        return NUM_PIECES

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        choices = draws.stream(Purpose.TASK_CHOICE)
        in_space = choices.boolean() if self.config.layout == "both" else self.config.layout == "space"
        quarter = choices.integer(0, NUM_PIECES)
        start = draw_start(num_frames, CLIP_LENGTH if in_space else NUM_PIECES * CLIP_LENGTH, draws)
        answer = draws.stream(Purpose.TASK_ORDER).integer(0, len(ORDERS))
        plans = []
        for number, piece in enumerate(ORDERS[answer]):
            pixels = draws.stream(Purpose.TASK_PIXELS, number)
            top, left = QUARTERS[piece if in_space else quarter]
            side = self.config.piece / 2
            down, right = pixels.uniform(0, 0.5 - side), pixels.uniform(0, 0.5 - side)
            channel = pixels.integer(0, 3)
            plans.append(
                ClipPlan(
                    indices=frames_from(start + (0 if in_space else piece * CLIP_LENGTH)),
                    targets={"order": answer},
                    view=0,
                    window=Window(top=top + down, left=left + right, side=side),
                    channels=np.full(CLIP_LENGTH, channel) if self.config.one_channel else None,
                )
            )
        return tuple(plans)

    def build_heads(self, width: HeadWidth) -> dict[str, nn.Module]:
        return {"order": ConcatenationHead(width, NUM_PIECES, len(ORDERS))}
