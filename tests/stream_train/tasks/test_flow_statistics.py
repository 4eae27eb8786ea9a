"""Motion and appearance statistics: flow, patterns, directions and colours that are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers_tasks import batch_of_task, noise_jpeg, task_of_kind

from shardify.arrays import FloatArray, ImageArray
from stream_train.tasks.flow_statistics import (
    SIZES,
    appearance_statistics,
    measure_statistics,
    motion_statistics,
    optical_flow,
    patterns,
)

SIDE = 64
NUM_BLOCKS = (16, 4, 8)
MIRRORED_SQUARES = {4 * row + column + 1: 4 * row + 3 - column + 1 for row in range(4) for column in range(4)}
MIRRORED_TRIANGLES = {block + 1: (3 - block) % 8 + 1 for block in range(8)}
MIRRORED = (MIRRORED_SQUARES, {block: block for block in range(1, 5)}, MIRRORED_TRIANGLES)
MIRRORED_DIRECTION_OF_U = {direction + 1: -direction % 8 + 1 for direction in range(8)}
"""Left and right change places and u its sign: the derivative to the right stays, that downwards changes its sign."""
MIRRORED_DIRECTION_OF_V = {direction + 1: (4 - direction) % 8 + 1 for direction in range(8)}


def texture(side: int, seed: int = 0) -> FloatArray:
    """Smooth noise, float64 (side, side, 3) from 0 to 255, which may wrap around."""
    noise = np.random.default_rng(seed).normal(size=(side, side, 3))
    waves = np.fft.fftfreq(side)
    smooth = np.exp(-((waves[:, None] ** 2 + waves**2) * 150))[..., None]
    values = np.fft.ifft2(np.fft.fft2(noise, axes=(0, 1)) * smooth, axes=(0, 1)).real
    scaled: FloatArray = (values - values.min()) / np.ptp(values) * 255
    return scaled


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, -2), (-1, 3)])
def test_the_flow_of_a_shifted_texture_is_the_shift(right: int, down: int) -> None:
    whole = texture(96).astype(np.uint8)
    frames = np.stack([np.roll(whole, (time * down, time * right), axis=(0, 1))[16:80, 16:80] for time in range(4)])
    flow = optical_flow(frames)
    assert flow.shape == (3, SIDE, SIDE, 2)
    inside = flow[:, 12:-12, 12:-12]
    assert np.abs(np.median(inside, axis=(1, 2)) - (right, down)).max() < 0.15


@pytest.mark.parametrize("side", [112, 64, 32, 40, 17])
def test_patterns_divide_the_square(side: int) -> None:
    squares, rings, triangles = patterns(side)
    areas = [np.bincount(blocks.ravel()) for blocks in (squares, rings, triangles)]
    assert tuple(map(len, areas)) == NUM_BLOCKS
    assert all(area.sum() == side**2 and area.min() > 0 for area in areas)
    if side % 8 == 0:
        assert (areas[0] == side**2 / 16).all()
        assert np.array_equal(areas[1], np.array([1, 3, 5, 7]) * (side // 4) ** 2)
        assert np.abs(areas[2] - side**2 / 8).max() <= side / 2
    assert np.array_equal(rings, rings[:, ::-1])
    assert np.array_equal(rings, rings.T)


def test_blocks_are_numbered_as_they_are_said_to_be() -> None:
    squares, rings, triangles = patterns(112)
    assert [squares[row, column] for row, column in ((0, 0), (0, 111), (27, 28), (28, 27), (111, 111))] == [
        0,
        3,
        1,
        4,
        15,
    ]
    assert [rings[55, column] for column in (55, 42, 41, 28, 27, 14, 13, 0)] == [0, 0, 1, 1, 2, 2, 3, 3]
    for block in range(8):  # clockwise from the right: rows count downwards
        angle = (block + 0.5) * np.pi / 4
        assert triangles[round(55.5 + 40 * np.sin(angle)), round(55.5 + 40 * np.cos(angle))] == block


def slope(angle: float) -> FloatArray:
    """(SIDE, SIDE) values that increase in this direction, from the right clockwise."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    values: FloatArray = columns * np.cos(angle) + rows * np.sin(angle)
    return values


@pytest.mark.parametrize("offset", [-20, 0, 20])
def test_directions_are_those_nearest_to_the_angle(offset: float) -> None:
    for u, v in itertools.product(range(8), (1, 6)):
        components = [slope(np.deg2rad(45 * direction + offset)) for direction in (u, v)]
        numbers = motion_statistics(np.stack(components, axis=-1)[None].repeat(3, axis=0))
        assert numbers[[1, 5, 9]].tolist() == [u + 1] * 3
        assert numbers[[3, 7, 11]].tolist() == [v + 1] * 3


@pytest.mark.parametrize("pattern", range(3))
def test_the_block_that_moves_is_found(pattern: int) -> None:
    blocks = patterns(SIDE)[pattern]
    rng = np.random.default_rng(1)
    for u in range(NUM_BLOCKS[pattern]):
        v = (u + 1) % NUM_BLOCKS[pattern]
        flow = rng.normal(size=(5, SIDE, SIDE, 2)) * np.stack((blocks == u, blocks == v), axis=-1)
        numbers = motion_statistics(flow)
        assert numbers.shape == (SIZES["motion"],)
        assert numbers[4 * pattern] == u + 1
        assert numbers[4 * pattern + 2] == v + 1


def test_the_largest_mean_counts_not_the_largest_sum() -> None:
    flow = np.random.default_rng(1).normal(size=(2, SIDE, SIDE, 2))
    flow *= np.where(patterns(SIDE)[1] == 0, 2, 1)[..., None]  # the outer rings are 3 to 7 times as large
    assert motion_statistics(flow)[[4, 6]].tolist() == [1, 1]


def test_the_frames_with_the_largest_boundaries_are_found() -> None:
    flow = np.random.default_rng(1).normal(size=(15, SIDE, SIDE, 2))
    flow[6, ..., 0] *= 2
    flow[14, ..., 1] *= 2
    flow[3] += 50  # much motion, but no boundary
    assert motion_statistics(flow)[12:].tolist() == [7, 15]


def test_opposite_boundaries_cancel_over_time() -> None:
    """Derivatives are summed before their size is taken."""
    flow = np.zeros((2, SIDE, SIDE, 2))
    once, twice = (patterns(SIDE)[0] == block for block in (2, 9))
    noise = np.random.default_rng(1).normal(size=(SIDE, SIDE))
    flow[0, ..., 0], flow[1, ..., 0] = noise * once + 3 * noise * twice, -3 * noise * twice
    assert motion_statistics(flow)[0] == 3


def moving_square(row: int, column: int, right: int, down: int) -> ImageArray:
    """16 frames of a still texture, on which a textured square of 16 pixels moves."""
    frames = np.repeat(texture(SIDE, 1)[None] * 0.3, 16, axis=0)
    for time in range(16):
        top, left = row + down * time // 8, column + right * time // 8
        frames[time, top : top + 16, left : left + 16] = texture(16, 2) * 0.5 + 127
    pixels: ImageArray = frames.astype(np.uint8)
    return pixels


def test_a_moving_square_is_found() -> None:
    motion = measure_statistics(moving_square(33, 34, 7, 6))["motion"]
    squares, _, triangles = patterns(SIDE)
    inside = (slice(33, 60), slice(34, 63))
    assert {motion[0] - 1, motion[2] - 1} <= set(squares[inside].ravel().tolist())
    assert {motion[8] - 1, motion[10] - 1} <= set(triangles[inside].ravel().tolist())


def mirror_motion(numbers: FloatArray) -> list[float]:
    """The motion numbers of the mirrored clip."""
    mirrored = []
    for pattern, blocks in enumerate(MIRRORED):
        u, u_direction, v, v_direction = numbers[4 * pattern : 4 * pattern + 4].tolist()
        mirrored += [blocks[u], MIRRORED_DIRECTION_OF_U[u_direction], blocks[v], MIRRORED_DIRECTION_OF_V[v_direction]]
    return [*mirrored, *numbers[12:].tolist()]


def mirror_appearance(numbers: FloatArray) -> list[float]:
    mirrored = []
    for pattern, blocks in enumerate(MIRRORED):
        most, colour, least, other = numbers[4 * pattern : 4 * pattern + 4].tolist()
        mirrored += [blocks[most], colour, blocks[least], other]
    return [*mirrored, *numbers[12:].tolist()]


@pytest.mark.parametrize("seed", range(6))
def test_a_mirrored_flow_has_mirrored_statistics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles, place = rng.uniform(0, 2 * np.pi, 2), rng.integers(0, SIDE - 12, 2)
    flow = np.zeros((3, SIDE, SIDE, 2))
    window = (slice(None), slice(place[0], place[0] + 12), slice(place[1], place[1] + 12))
    flow[window] = np.stack([slope(angle)[:12, :12] for angle in angles], axis=-1) * rng.uniform(1, 2, (3, 1, 1, 1))
    flow += 0.2 * rng.normal(size=flow.shape)
    mirrored = flow[:, :, ::-1] * (-1, 1)
    assert motion_statistics(mirrored).tolist() == mirror_motion(motion_statistics(flow))


def test_mirrored_pixels_have_mirrored_targets() -> None:
    frames = moving_square(8, 40, -7, 14)
    here, there = measure_statistics(frames), measure_statistics(frames[:, :, ::-1].copy())
    assert there["motion"][[0, 2, 8, 10]].tolist() == [mirror_motion(here["motion"])[i] for i in (0, 2, 8, 10)]
    rng = np.random.default_rng(3)  # of blocks that do not vary at all, the first one counts: so all vary
    noisy = (frames * 0.5 + rng.integers(0, 128, frames.shape)).astype(np.uint8)
    mirrored = measure_statistics(noisy[:, :, ::-1].copy())["appearance"]
    assert mirrored.tolist() == mirror_appearance(measure_statistics(noisy)["appearance"])


def slow_appearance(frames: ImageArray) -> list[int]:
    """The 13 numbers in loops."""

    def colour(pixel: FloatArray) -> int:
        red, green, blue = (int(value >= 128) for value in pixel)
        return 4 * red + 2 * green + blue

    numbers, everything = [], np.zeros(8)
    for blocks in patterns(frames.shape[1]):
        variations, mains = [], []
        for block in range(int(blocks.max()) + 1):
            counts = np.zeros((len(frames), 8))
            for time, frame in enumerate(frames):
                for pixel in frame[blocks == block]:
                    counts[time, colour(pixel)] += 1
            shares = counts / (blocks == block).sum()
            variations.append(1 - shares.min(axis=0).sum() / shares.max(axis=0).sum())
            mains.append(int(counts.sum(axis=0).argmax()))
            everything += counts.sum(axis=0)
        most, least = int(np.argmax(variations)), int(np.argmin(variations))
        numbers += [most + 1, mains[most] + 1, least + 1, mains[least] + 1]
    return [*numbers, int(everything.argmax()) + 1]


def test_appearance_equals_a_slow_reference() -> None:
    rng = np.random.default_rng(4)
    frames = np.stack([rng.integers(0, 100 + 30 * time, (16, 16, 3)) for time in range(5)]).astype(np.uint8)
    assert appearance_statistics(frames).tolist() == slow_appearance(frames)


def test_the_blocks_that_vary_most_and_least_and_their_colours() -> None:
    """Noise all over, but for a corner that is always green, and another that is red, then blue, then blue."""
    frames = np.random.default_rng(4).integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)
    squares = patterns(SIDE)[0]
    frames[:, squares == 3] = (0, 255, 0)
    frames[0, squares == 12] = (255, 0, 0)
    frames[1:, squares == 12] = (0, 0, 255)
    numbers = appearance_statistics(frames)
    assert numbers[:4].tolist() == [13, 0b001 + 1, 4, 0b010 + 1]
    assert numbers[12] == 0b010 + 1
    assert appearance_statistics(np.full((2, 32, 32, 3), 255, np.uint8)).tolist() == [1, 8, 1, 8] * 3 + [8]


def test_losses_and_explained_shares_equal_a_slow_reference() -> None:
    task = task_of_kind("flow_statistics", appearance_weight=0.3)
    batch = batch_of_task(task, (16, 20, 33), jpeg=noise_jpeg)
    outputs = {name: batch.targets[name] + torch.linspace(-1, 1, size) for name, size in SIZES.items()}
    for name, term in task.losses(outputs, batch).items():
        errors = [
            [(guess - true) ** 2 for guess, true in zip(*rows, strict=True)]
            for rows in zip(outputs[name].tolist(), batch.targets[name].tolist(), strict=True)
        ]
        assert term.total.item() == pytest.approx(sum(sum(row) / len(row) for row in errors), rel=1e-5)
        assert int(term.count) == 3
        assert term.weight == {"motion": 1.0, "appearance": 0.3}[name]
    perfect = task.compute_metrics(task.count({name: batch.targets[name] for name in SIZES}, batch))
    assert perfect == {"motion_explained": 1.0, "appearance_explained": 1.0}
    means = {name: batch.targets[name].mean(dim=0).expand(3, -1) for name in SIZES}
    guessed = task.compute_metrics(task.count(means, batch))
    assert guessed == pytest.approx(task.guesses({}), abs=1e-6)
    assert guessed.keys() == perfect.keys()
