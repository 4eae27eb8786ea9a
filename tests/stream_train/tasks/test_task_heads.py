"""The heads that several clips share, against slow references; sizes of the decoder."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from stream_train.tasks.base import HeadWidth
from stream_train.tasks.heads import ConcatenationHead, DecoderHead, DifferencesHead, PairsHead, gather_rows

WIDTH = HeadWidth(features=6, maps=(32, 1, 4, 4))


def features(rows: int = 12) -> Tensor:
    return torch.randn((rows, WIDTH.features), generator=torch.Generator().manual_seed(0))


def assert_all_learn(head: nn.Module, output: Tensor) -> None:
    """Every parameter has a gradient that is not zero."""
    torch.manual_seed(1)
    torch.autograd.backward((output * torch.randn_like(output)).sum())
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("size", [2, 3, 4])
def test_features_of_a_tuple_are_concatenated_in_order(size: int) -> None:
    torch.manual_seed(0)
    head = ConcatenationHead(WIDTH, size, 5)
    output = head(features())
    assert output.shape == (12 // size, 5)
    for row in range(12 // size):
        joined = torch.cat([features()[row * size + clip] for clip in range(size)])
        torch.testing.assert_close(output[row], head.linear.weight @ joined + head.linear.bias)
    assert_all_learn(head, output)


@pytest.mark.parametrize("size", [2, 3, 6])
def test_differences_are_summed_over_all_pairs(size: int) -> None:
    torch.manual_seed(0)
    head = DifferencesHead(WIDTH, size, 5)
    output = head(features())
    assert output.shape == (12 // size, 5)
    for row in range(12 // size):
        clips = features()[row * size : (row + 1) * size]
        total = sum((clips[i] - clips[j] for i, j in itertools.combinations(range(size), 2)), torch.zeros(6))
        torch.testing.assert_close(output[row], head.linear.weight @ total + head.linear.bias)
    assert_all_learn(head, output)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_each_pair_goes_through_the_same_hidden_layer(size: int) -> None:
    torch.manual_seed(0)
    head = PairsHead(WIDTH, size, 5, units=7, dropout=0.5).eval()
    output = head(features())
    assert output.shape == (12 // size, 5)
    for row in range(12 // size):
        clips = features()[row * size : (row + 1) * size]
        hidden = [
            (head.hidden.weight @ torch.cat((clips[i], clips[j])) + head.hidden.bias).clamp(min=0)
            for i, j in itertools.combinations(range(size), 2)
        ]
        torch.testing.assert_close(output[row], head.linear.weight @ torch.cat(hidden) + head.linear.bias)
    assert_all_learn(head, output)
    head.train()
    assert not torch.equal(head(features()), head(features())), "dropout draws anew"


@pytest.mark.parametrize("maps", [(32, 1, 4, 4), (64, 2, 7, 7), (16, 1, 1, 1), (8, 1, 2, 2)])
@pytest.mark.parametrize("pixels", [56, 16])
def test_the_decoder_grows_to_the_frames(maps: tuple[int, int, int, int], pixels: int) -> None:
    """It never goes below the size of the maps, and each step at most doubles."""
    head = DecoderHead(HeadWidth(features=3, maps=maps), num_frames=32, pixels=pixels)
    steps = [layer for layer in head.layers if isinstance(layer, nn.Upsample)]
    assert len(steps) == head.STEPS == 5
    before: tuple[int, ...] = (min(maps[1], 32), min(maps[2], pixels), min(maps[3], pixels))
    for number, step in enumerate(steps):
        assert isinstance(step.size, tuple)
        assert all(size >= old for size, old in zip(step.size, before, strict=True))
        assert number == 0 or all(size <= 2 * old for size, old in zip(step.size, before, strict=True))
        before = step.size
    assert before == (32, pixels, pixels)
    if pixels == 16:
        output = head(torch.randn(2, *maps))
        assert output.shape == (2, 3, 32, 16, 16)
        assert_all_learn(head, output)


def test_one_process_has_its_own_rows_alone() -> None:
    rows = features()
    assert gather_rows(rows) is rows
