"""Batches, and their flips, scaling and colour on the device against slow references."""

from __future__ import annotations

import colorsys

import pytest
import torch

from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips


def make_batch(colour: torch.Tensor | None = None, flip: tuple[bool, ...] = (False, True, False)) -> Batch:
    generator = torch.Generator().manual_seed(0)
    numbers = dict.fromkeys(("label", "sample"), torch.zeros(3, dtype=torch.int64))
    return Batch(
        frames=torch.randint(0, 256, (3, 2, 5, 6, 3), dtype=torch.uint8, generator=generator),
        flip=torch.tensor(flip),
        indices=torch.zeros(3, 2, dtype=torch.int32),
        targets={"motion": numbers["label"]},
        colour=colour,
        **numbers,
    )


def test_clips_are_scaled_mirrored_and_laid_out_for_the_network() -> None:
    batch = make_batch()
    clips = prepare_clips(batch)
    assert clips.shape == (3, 3, 2, 5, 6)
    assert clips.is_contiguous(memory_format=torch.channels_last_3d)
    for clip, flipped in enumerate([False, True, False]):
        frames = batch.frames[clip].flip(2) if flipped else batch.frames[clip]
        expected = frames.permute(3, 0, 1, 2).double() * 2 / 255 - 1
        torch.testing.assert_close(clips[clip].double(), expected, atol=1e-6, rtol=0)


def test_identity_colour_changes_nothing() -> None:
    identity = torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(3, 2, 4)
    torch.testing.assert_close(
        prepare_clips(make_batch(colour=identity)), prepare_clips(make_batch()), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("first", [0.0, 1.0])
@pytest.mark.parametrize(("brightness", "saturation"), [(0.1, 0.5), (-0.12, 1.5), (0.0, 1.4)])
def test_colour_equals_hsv_arithmetic(brightness: float, saturation: float, first: float) -> None:
    colour = torch.tensor([brightness, saturation, first, 0.0]).expand(3, 2, 4)
    batch = make_batch(colour=colour, flip=(False, False, False))
    clips = prepare_clips(batch)

    def saturate(rgb: tuple[float, ...]) -> tuple[float, ...]:
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        return colorsys.hsv_to_rgb(h, min(s * saturation, 1.0), v)

    for clip, frame, row, column in [(0, 0, 0, 0), (1, 1, 2, 3), (2, 0, 4, 5), (0, 1, 3, 1)]:
        rgb = tuple(value / 255 for value in batch.frames[clip, frame, row, column].tolist())
        if first:
            expected = tuple(value + brightness for value in saturate(rgb))
        else:
            shifted = tuple(value + brightness for value in rgb)
            if min(shifted) < 0:
                continue  # a negative value has no saturation in the HSV sense
            expected = saturate(shifted)
        clipped = torch.tensor([min(max(value, 0.0), 1.0) * 2 - 1 for value in expected])
        torch.testing.assert_close(clips[clip, :, frame, row, column], clipped, atol=1e-4, rtol=0)


def test_grey_frames_have_one_colour() -> None:
    colour = torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat(3, 2, 1)
    colour[1, 1, 3] = 1.0
    clips = prepare_clips(make_batch(colour=colour))
    assert clips[1, :, 1].std(0).max() < 1e-6
    assert clips[1, :, 0].std(0).max() > 0.1


@pytest.mark.parametrize(
    ("name", "value"),
    [("frames", torch.zeros(3, 2, 5, 6, 3)), ("label", torch.zeros(2)), ("colour", torch.zeros(3, 2, 3))],
)
def test_batches_check_their_shapes(name: str, value: torch.Tensor) -> None:
    batch = make_batch()
    with pytest.raises(ValueError, match=f"{name} must"):
        Batch(**{field: getattr(batch, field) for field in batch.__dataclass_fields__} | {name: value})


def test_a_batch_prints_shapes_and_no_numbers() -> None:
    text = repr(make_batch(colour=torch.zeros(3, 2, 4)))
    assert "frames=uint8[3, 2, 5, 6, 3]" in text
    assert "colour=float32[3, 2, 4]" in text
    assert "tensor(" not in text
