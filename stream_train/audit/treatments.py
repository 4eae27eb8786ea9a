"""What is done to clips before the network sees them, to learn what its score needs.

In: prepared clips float32 (N, 3, T, H, W), as the task would give them to the network. Out: changed clips, same shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

NOISE = 2 / 127.5
"""Standard deviation: two grey levels, invisible, but no two frames stay the same."""


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """A change of clips, and how to read the score under it."""

    name: str
    reading: str
    change: Callable[[Tensor, torch.Generator], Tensor]
    """Clips, random numbers (on the CPU) -> changed clips."""


def repeat_one_frame(clips: Tensor, _: torch.Generator) -> Tensor:
    """The middle frame, T times."""
    middle = clips.shape[2] // 2
    return clips[:, :, middle : middle + 1].expand_as(clips).contiguous()


def shuffle_frames(clips: Tensor, random: torch.Generator, length: int = 1) -> Tensor:
    """Pieces of `length` neighbouring frames in a random order, another one for each clip."""
    num_pieces = clips.shape[2] // length
    orders = torch.stack([torch.randperm(num_pieces, generator=random) for _ in range(len(clips))])
    frames = (orders[:, :, None] * length + torch.arange(length)).flatten(start_dim=1).to(clips.device)
    rest = torch.arange(num_pieces * length, clips.shape[2], device=clips.device).expand(len(clips), -1)
    index = torch.cat((frames, rest), dim=1)[:, None, :, None, None]
    return clips.gather(2, index.expand(-1, clips.shape[1], -1, *clips.shape[3:]))


def first_frames(clips: Tensor, count: int) -> Tensor:
    """The first `count` frames; the last of them stands for all that follow."""
    shown = torch.arange(clips.shape[2], device=clips.device).clamp(max=count - 1)
    return clips[:, :, shown]


def break_duplicates(clips: Tensor, random: torch.Generator) -> Tensor:
    """A little noise, so that no two frames are exactly alike."""
    return clips + NOISE * torch.randn(clips.shape, generator=random).to(clips.device)


def treatments(num_frames: int) -> tuple[Treatment, ...]:
    """All treatments of clips of `num_frames` frames, the untouched clips first."""
    parts = [
        Treatment(
            name=f"first {count} frames",
            reading=f"later frames repeat frame {count}: how early the answer is clear",
            change=lambda clips, _, count=count: first_frames(clips, count),  # type: ignore[misc]
        )
        for count in (4, 8, 12)
        if count < num_frames
    ]
    return (
        Treatment(name="as in training", reading="the score to explain", change=lambda clips, _: clips),
        Treatment(
            name="one frame repeated",
            reading="what a single picture tells; above guessing means that appearance gives answers away",
            change=repeat_one_frame,
        ),
        Treatment(
            name="pairs only",
            reading="neighbouring frames stay together, pairs are shuffled: what motion between two frames tells",
            change=lambda clips, random: shuffle_frames(clips, random, 2),
        ),
        Treatment(
            name="order destroyed",
            reading="the same pictures in any order: at guessing, the score comes from their order",
            change=shuffle_frames,
        ),
        *parts,
        Treatment(
            name="duplicates broken",
            reading="a little noise: a fall means that the network looks for exactly equal frames",
            change=break_duplicates,
        ),
    )
