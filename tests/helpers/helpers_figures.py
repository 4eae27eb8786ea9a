"""What tests of charts and of pictures share: long names, and which texts cover each other."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
LONG_NAMES = ("BodyWeightSquats", "BoxingPunchingBag", "HandstandPushups", "HandstandWalking", "RockClimbingIndoor")


def overlapping(boxes: Sequence[tuple[str, Box]]) -> list[tuple[str, str]]:
    """Pairs of texts that cover each other, by (left, top, right, bottom)."""
    pairs = []
    for i, (one, (left, top, right, bottom)) in enumerate(boxes):
        for other, box in boxes[i + 1 :]:
            if min(right, box[2]) - max(left, box[0]) > 0.5 and min(bottom, box[3]) - max(top, box[1]) > 0.5:
                pairs.append((one, other))
    return pairs
