"""Playback rates: what the network sees, the frames that it is to paint, and where errors weigh most."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers_tasks import batch_of_task, seen_pixels, task_of_kind
from torch import Tensor

from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips
from stream_train.tasks.base import HeadWidth
from stream_train.tasks.playback_rate import PlaybackRate, motion_weights


def rate_task(**changes: object) -> PlaybackRate:
    task = task_of_kind("playback_rate", **changes)
    assert isinstance(task, PlaybackRate)
    return task


def batch_with_both(task: PlaybackRate) -> Batch:
    """Of short videos, so that stride 1 is among the clips."""
    batch = batch_of_task(task, (30, 30, 125, 125, 35, 130), flip_scope="clip")
    assert {0, 3} <= set(batch.targets["rate"].tolist())
    return batch


def test_the_network_sees_every_second_frame() -> None:
    task = rate_task()
    batch = batch_with_both(task)
    clips = prepare_clips(batch)
    seen = task.select_frames(clips)
    assert task.num_frames == 16
    assert seen.shape == (6, 3, 16, 32, 32)
    assert all(torch.equal(seen[:, :, time], clips[:, :, 2 * time]) for time in range(16))
    steps = np.diff(batch.indices.numpy()[:, ::2], axis=1)
    assert np.array_equal(steps, 2 ** batch.targets["rate"].numpy()[:, None].repeat(15, axis=1))


def test_the_decoder_is_to_paint_the_frames_seen_and_those_between() -> None:
    task = rate_task(decoded_pixels=32)
    batch = batch_with_both(task)
    pixels = torch.from_numpy(seen_pixels(batch)).permute(0, 4, 1, 2, 3) / 255
    true = task._true_frames(batch)
    assert true.shape == (6, 3, 32, 32, 32)
    for clip, rate in enumerate(batch.targets["rate"].tolist()):
        torch.testing.assert_close(true[clip, :, ::2], pixels[clip, :, ::2])
        for time in range(1, 32, 2):
            between = pixels[clip, :, time]
            if rate == 0:
                between = (pixels[clip, :, time - 1] + pixels[clip, :, min(time + 1, 31)]) / 2
            torch.testing.assert_close(true[clip, :, time], between)


def test_decoded_frames_are_averages_of_the_crop() -> None:
    whole, half = (rate_task(decoded_pixels=pixels) for pixels in (32, 16))
    batch = batch_with_both(whole)
    blocks = whole._true_frames(batch).unfold(3, 2, 2).unfold(4, 2, 2).mean(dim=(5, 6))
    torch.testing.assert_close(half._true_frames(batch), blocks)
    large = rate_task(decoded_pixels=200)  # of a crop of 32
    assert torch.equal(large._true_frames(batch), whole._true_frames(batch))
    decoder = large.build_heads(HeadWidth(features=3, maps=(8, 1, 2, 2), crop=32))["frames"]
    assert decoder(torch.zeros(2, 8, 1, 2, 2)).shape == (2, 3, 32, 32, 32)


def changing_clip(row: int, column: int, side: int = 56, size: int = 8) -> Tensor:
    """(1, 3, 32, side, side): still but for a square of noise."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.full((1, 3, 32, side, side), 0.5)
    frames[:, :, :, row : row + size, column : column + size] = torch.rand((1, 3, 32, size, size), generator=generator)
    return frames


@pytest.mark.parametrize(("row", "column"), [(0, 0), (20, 40), (48, 3)])
def test_errors_weigh_most_where_the_clip_changes(row: int, column: int) -> None:
    weights = motion_weights(changing_clip(row, column), 0.8, 2.0)
    assert weights.shape == (1, 1, 1, 56, 56)
    assert weights.min().item() == pytest.approx(0.8)
    assert weights.max().item() == pytest.approx(2.0)
    highest = int(weights.flatten().argmax())
    # the window of 14 pixels, at every third, holds the whole square
    assert abs(highest // 56 - (row + 3.5)) <= 7
    assert abs(highest % 56 - (column + 3.5)) <= 7


def test_weights_equal_a_slow_reference() -> None:
    """A Gaussian around the window with the largest changes between four frames, from the lowest to the highest."""
    frames = torch.rand((2, 3, 32, 16, 16), generator=torch.Generator().manual_seed(1))
    found = motion_weights(frames, 0.5, 3.0)
    for clip in range(2):
        best, centre = -1.0, (0.0, 0.0)
        for top in range(13):
            for left in range(13):
                parts = [frames[clip, :, time, top : top + 4, left : left + 4] for time in (0, 10, 21, 31)]
                change = sum((b - a).square().mean().item() for a, b in pairwise(parts))
                if change > best:
                    best, centre = change, (top + 1.5, left + 1.5)
        bump = np.array(
            [
                [math.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * 2**2)) for x in range(16)]
                for y in range(16)
            ]
        )
        expected = 0.5 + 2.5 * (bump - bump.min()) / np.ptp(bump)
        np.testing.assert_allclose(found[clip, 0, 0].numpy(), expected, rtol=1e-5)


def test_weights_of_a_still_clip_are_finite() -> None:
    weights = motion_weights(torch.zeros(1, 3, 32, 8, 8), 0.8, 2.0)
    assert weights.isfinite().all()


def test_losses_and_metrics_equal_a_slow_reference() -> None:
    task = rate_task(decoded_pixels=16, rate_weight=0.2, mask=(0.5, 1.5))
    batch = batch_with_both(task)
    generator = torch.Generator().manual_seed(0)
    true = task._true_frames(batch)
    outputs = {"rate": torch.randn((6, 4), generator=generator), "frames": torch.rand(true.shape, generator=generator)}
    terms = task.losses(outputs, batch)
    weights = motion_weights(true, 0.5, 1.5).expand_as(true)
    squares = (outputs["frames"] - true) ** 2
    expected = sum(float((weights[clip] * squares[clip]).sum()) / squares[clip].numel() for clip in range(6))
    assert terms["frames"].total.item() == pytest.approx(expected, rel=1e-5)
    assert (int(terms["frames"].count), terms["frames"].weight) == (6, 1.0)
    picked = outputs["rate"].log_softmax(dim=1)[range(6), batch.targets["rate"]]
    assert terms["rate"].total.item() == pytest.approx(-float(picked.sum()), rel=1e-5)
    assert (int(terms["rate"].count), terms["rate"].weight) == (6, 0.2)
    metrics = task.compute_metrics(task.count(outputs, batch))
    variance = (true - true.mean(dim=(2, 3, 4), keepdim=True)).square().sum()
    assert metrics["frames_explained"] == pytest.approx(1 - float(squares.sum() / variance), rel=1e-5)
    perfect = task.compute_metrics(task.count(outputs | {"frames": true}, batch))
    assert perfect["frames_explained"] == 1.0


def test_the_best_guess_of_the_stride_knows_the_length() -> None:
    """16 to 31 frames allow stride 1 alone, 63 to 124 strides 1, 2 and 4, more allow all."""
    task = rate_task()
    batch = batch_of_task(task, (16,) * 5)
    lengths, rates = torch.tensor([31, 16, 63, 124, 125]), torch.tensor([0, 0, 2, 2, 3])
    counts = task.count_baselines(replace(batch, targets={"rate": rates}), lengths)
    assert counts["rate_by_length"].tolist() == [[2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
    metrics = task.compute_metrics(counts | {"rate": torch.eye(4)})
    assert metrics == {"rate_accuracy": 1.0, "rate_best_constant": 0.4, "rate_best_from_length": 1.0}
    assert task.guesses(metrics) == {"rate_accuracy": 1.0, "frames_explained": 0.0}
    assert task.guesses({}) == {"frames_explained": 0.0}


def test_an_answer_without_painted_frames_is_counted() -> None:
    """Observers of an audit give no frames."""
    task = rate_task()
    batch = batch_with_both(task)
    counts = task.count({"rate": torch.eye(4)[batch.targets["rate"]]}, batch)
    assert task.compute_metrics(counts) == {"rate_accuracy": 1.0}


def test_the_defaults_are_the_original_s() -> None:
    config = rate_task().config
    assert (config.rate_weight, config.mask) == (0.1, (0.8, 2.0))
