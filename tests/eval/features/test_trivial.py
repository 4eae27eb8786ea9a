"""Features without a network, against clips small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from eval.features.trivial import GRID, HISTOGRAM_BINS, colour_features, difference_features


def random_clips(num_clips: int, *size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_clips, *size, 3), generator=generator, dtype=torch.uint8)


# Colour


def test_colour_by_hand() -> None:
    """One clip of two frames of one pixel: (0, 255, 64) and (255, 255, 191); four bins of 64 values.

    Means 1/2, 1 and (64 + 191) / 2 / 255 = 1/2. Red: one in the darkest bin and one in the lightest. Green: both in the
    lightest. Blue: 64 is the first of the second bin, 191 the last of the third.
    """
    clip = torch.tensor([[0, 255, 64], [255, 255, 191]], dtype=torch.uint8).reshape(1, 2, 1, 1, 3)
    features = colour_features(clip, num_bins=4)
    histograms = [0.5, 0, 0, 0.5, 0, 0, 0, 1, 0, 0.5, 0.5, 0]
    assert features.tolist() == [[0.5, 1, 0.5, *histograms]]
    assert features.dtype == torch.float32


def test_clips_do_not_mix() -> None:
    clips = random_clips(3, 4, 5, 6)
    features = colour_features(clips)
    assert features.shape == (3, 3 + 3 * HISTOGRAM_BINS)
    for clip, row in zip(clips, features, strict=True):
        assert torch.equal(colour_features(clip[None])[0], row)
    shares = features[:, 3:].reshape(3, 3, HISTOGRAM_BINS)
    torch.testing.assert_close(shares.sum(dim=2), torch.ones(3, 3))


def test_colour_is_blind_to_order_and_place_and_size() -> None:
    clips = random_clips(1, 4, 5, 6)
    features = colour_features(clips)
    assert torch.equal(features, colour_features(clips.flip(1).flip(2)))
    assert torch.equal(features, colour_features(clips.transpose(2, 3)))
    doubled = clips.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(features, colour_features(doubled))
    assert not torch.equal(features, colour_features(clips.flip(4)))  # but not to which channel is which


@pytest.mark.parametrize("num_bins", [0, 3, 512])
def test_bins_must_be_of_equal_width(num_bins: int) -> None:
    with pytest.raises(ValueError, match=f"num_bins = {num_bins} does not divide 256"):
        colour_features(random_clips(1, 2, 2, 2), num_bins=num_bins)


# Differences


def test_differences_by_hand() -> None:
    """Three frames of 2 x 4 pixels on a 2 x 2 grid: a cell is two pixels side by side.

    Top left: one pixel's channels go 0, 255, 0: differences of 1 both times, the other pixel rests: 1/2. Top right: one
    pixel's red alone goes 0, 51, 102: 0.2 a time, a third of that over the colours, half over the pixels: 1/30. Bottom
    left: both pixels fall from 255 to 0 once, in one of two differences: 1/2. Bottom right rests.
    """
    clip = torch.zeros(1, 3, 2, 4, 3, dtype=torch.uint8)
    clip[0, 1, 0, 0] = 255
    clip[0, 1:, 0, 3, 0] = torch.tensor([51, 102], dtype=torch.uint8)
    clip[0, :2, 1, :2] = 255
    features = difference_features(clip, grid=2)
    assert features.tolist() == [pytest.approx([0.5, 1 / 30, 0.5, 0])]
    assert features.dtype == torch.float32


def test_still_clips_have_no_differences() -> None:
    still = random_clips(2, 1, 30, 40).expand(-1, 16, -1, -1, -1)
    assert not difference_features(still).any()


def test_differences_are_blind_to_the_direction_of_time() -> None:
    clips = random_clips(2, 8, 20, 20)
    torch.testing.assert_close(difference_features(clips), difference_features(clips.flip(1)))


@pytest.mark.parametrize("size", [(14, 14), (112, 112), (128, 171), (7, 5)])
def test_frames_of_any_size_fill_the_grid(size: tuple[int, int]) -> None:
    """Everything changes from black to white and back: 1 in every cell."""
    clips = torch.zeros(2, 4, *size, 3, dtype=torch.uint8)
    clips[:, 1::2] = 255
    assert torch.equal(difference_features(clips), torch.ones(2, GRID * GRID))


def test_the_grid_runs_row_by_row() -> None:
    clip = torch.zeros(1, 2, 28, 28, 3, dtype=torch.uint8)
    clip[0, 1, 2:4, 10:12] = 255  # the cell in row 1, column 5
    features = difference_features(clip)[0]
    assert features.nonzero().flatten().tolist() == [1 * GRID + 5]
    assert features.max() == 1


def test_differences_need_two_frames() -> None:
    with pytest.raises(ValueError, match="at least 2 frames"):
        difference_features(random_clips(1, 1, 4, 4))


@pytest.mark.parametrize("features", [colour_features, difference_features])
@pytest.mark.parametrize(
    "clips",
    [
        torch.zeros(1, 2, 4, 4, 3),
        torch.zeros(2, 4, 4, 3, dtype=torch.uint8),
        torch.zeros(1, 3, 2, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 2, 0, 4, 3, dtype=torch.uint8),
    ],
    ids=["float", "one clip", "channels first", "no pixels"],
)
def test_other_clips_are_refused(features: Callable[[Tensor], Tensor], clips: Tensor) -> None:
    with pytest.raises(ValueError, match=r"clips must be uint8 \(N, T, H, W, 3\), not torch"):
        features(clips)
