"""Features without a network, as a baseline.

In: clips. Out: one vector per clip, from its colours or from the places that change.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HISTOGRAM_BINS = 16
GRID = 14


def colour_features(clips: Tensor, *, num_bins: int = HISTOGRAM_BINS) -> Tensor:
    """Mean colour and a histogram of each colour channel, over all pixels of a clip; ignores order and position.

    Args:
        clips: uint8 (N, T, H, W, 3) RGB.
        num_bins: bins of equal width over 0..255; a divisor of 256.

    Returns:
        float32 (N, 3 + 3 * num_bins): the means of R, G and B in [0, 1], then for each the share of pixels in each bin,
        dark to light.

    Raises:
        ValueError: if the clips have another shape or type, or `num_bins` does not divide 256.
    """
    _require_clips(clips)
    if num_bins < 1 or 256 % num_bins:
        raise ValueError(f"num_bins = {num_bins} does not divide 256")
    pixels = clips.flatten(1, 3)  # (N, P, 3)
    num_clips, num_pixels, num_channels = pixels.shape
    means = pixels.double().mean(dim=1) / 255
    rows = torch.arange(num_clips * num_channels, device=clips.device).reshape(num_clips, 1, num_channels)
    bins = rows * num_bins + pixels.long() // (256 // num_bins)
    counts = torch.bincount(bins.flatten(), minlength=num_clips * num_channels * num_bins)
    shares = counts.reshape(num_clips, -1).double() / num_pixels
    return torch.cat((means, shares), dim=1).float()


def difference_features(clips: Tensor, *, grid: int = GRID) -> Tensor:
    """Where a clip changes: the mean absolute difference of consecutive frames, on a coarse grid; ignores their order.

    Args:
        clips: uint8 (N, T, H, W, 3), T >= 2.
        grid: cells per side; a cell averages the pixels that it touches.

    Returns:
        float32 (N, grid * grid) in [0, 1], row by row, averaged over time and colour.

    Raises:
        ValueError: if the clips have another shape or type, or only one frame.
    """
    _require_clips(clips)
    if clips.shape[1] < 2:
        raise ValueError("differences need clips of at least 2 frames")
    frames = clips.float() / 255
    changes = (frames[:, 1:] - frames[:, :-1]).abs().mean(dim=(1, 4))
    return nn.functional.adaptive_avg_pool2d(changes, grid).flatten(1)


def _require_clips(clips: Tensor) -> None:
    if clips.dtype != torch.uint8 or clips.dim() != 5 or clips.shape[-1] != 3 or 0 in clips.shape:
        raise ValueError(f"clips must be uint8 (N, T, H, W, 3), not {clips.dtype} {tuple(clips.shape)}")
