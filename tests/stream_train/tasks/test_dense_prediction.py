"""Dense predictive coding: where the right candidates lie, the recurrent network, the chance of a guess."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers_pretext import batch_of
from helpers_tasks import task_of_kind
from torch import Tensor, nn

from stream_train.tasks.base import HeadWidth
from stream_train.tasks.heads import PredictiveHead

CHANNELS = 24
VIDEOS, BLOCKS, PREDICTED, SIDE = 3, 5, 2, 2


def head_of(num_blocks: int = BLOCKS, num_predicted: int = PREDICTED) -> PredictiveHead:
    torch.manual_seed(0)
    width = HeadWidth(features=7, maps=(CHANNELS, 2, SIDE, SIDE))
    return PredictiveHead(width, num_blocks=num_blocks, num_predicted=num_predicted)


def seeing_ahead(monkeypatch: pytest.MonkeyPatch, head: PredictiveHead) -> PredictiveHead:
    """The head, with a recurrent network that knows that each block is the one before, rolled by a channel."""
    monkeypatch.setattr(head, "_updated", lambda _state, seen: seen.roll(1, dims=1))
    head.predict = nn.Sequential()
    return head


def rolling_maps() -> Tensor:
    """(VIDEOS * BLOCKS, CHANNELS, 2, SIDE, SIDE); the mean over the two frames is rolled from block to block."""
    generator = torch.Generator().manual_seed(3)
    first = F.normalize(torch.rand((VIDEOS, CHANNELS, SIDE, SIDE), generator=generator) ** 3, dim=1)
    blocks = torch.stack([first.roll(block, dims=1) for block in range(BLOCKS)], dim=1)
    noise = torch.rand((VIDEOS, BLOCKS, CHANNELS, SIDE, SIDE), generator=generator)
    return torch.stack((blocks + noise, blocks - noise), dim=3).flatten(end_dim=1)


def test_the_right_candidate_of_each_row_is_the_one_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same video, step and position: a perfect prediction scores best on the diagonal."""
    scores = seeing_ahead(monkeypatch, head_of())(rolling_maps())
    rows = VIDEOS * PREDICTED * SIDE * SIDE
    assert scores.shape == (rows, rows)
    assert scores.argmax(dim=1).tolist() == list(range(rows))
    torch.testing.assert_close(scores.diagonal(), torch.ones(rows))
    task = task_of_kind("dense_prediction")
    counts = task.count({"prediction": scores}, batch_of([0], [0]))
    assert task.compute_metrics(counts) == {"prediction_accuracy": 1.0, "prediction_by_guessing": 1 / rows}


def test_scores_equal_a_slow_reference() -> None:
    """Position by position, with the gates written out."""
    head, maps = head_of().requires_grad_(requires_grad=False), rolling_maps()
    means = maps.mean(dim=2).reshape(VIDEOS, BLOCKS, CHANNELS, SIDE, SIDE)

    def layer(conv: nn.Module, values: Tensor) -> Tensor:
        assert isinstance(conv, nn.Conv3d)
        assert conv.bias is not None
        return conv.weight[:, :, 0, 0, 0] @ values + conv.bias

    def updated(state: Tensor, seen: Tensor) -> Tensor:
        gates = torch.sigmoid(layer(head.gates, torch.cat((seen, state))))
        update, reset = gates[:CHANNELS], gates[CHANNELS:]
        candidate = torch.tanh(layer(head.candidate, torch.cat((seen, reset * state))))
        return state + update * (candidate - state)

    predicted, true = [], []
    for video in range(VIDEOS):
        for step in range(PREDICTED):
            for row in range(SIDE):
                for column in range(SIDE):
                    at = means[video, :, :, row, column]
                    state = torch.zeros(CHANNELS)
                    for block in range(BLOCKS - PREDICTED):
                        state = updated(state, at[block])
                    for number in range(step + 1):
                        prediction = layer(head.predict[2], layer(head.predict[0], state).clamp(min=0))
                        if number < step:
                            state = updated(state, prediction.clamp(min=0))
                    predicted.append(prediction)
                    true.append(at[BLOCKS - PREDICTED + step])
    expected = torch.stack([torch.stack([one @ other for other in true]) for one in predicted])
    torch.testing.assert_close(head(maps), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_predicted", [1, 2, 4])
def test_predictions_never_see_the_blocks_that_they_predict(num_predicted: int) -> None:
    head = head_of(num_predicted=num_predicted)
    maps = rolling_maps().requires_grad_()
    rows = VIDEOS * num_predicted * SIDE * SIDE
    scores = head(maps)
    assert scores.shape == (rows, rows)
    first = scores[0, -1]  # of the first video against the last one's map
    (gradient,) = torch.autograd.grad(first, maps)
    seen = gradient.reshape(VIDEOS, BLOCKS, -1).abs().sum(dim=2) > 0
    context = BLOCKS - num_predicted
    assert seen[0].tolist() == [True] * context + [False] * num_predicted
    assert not seen[1].any()
    assert seen[2].tolist() == [False] * (BLOCKS - 1) + [True]


def test_the_loss_is_a_cross_entropy_over_all_candidates_of_all_ranks() -> None:
    """Candidates may be more than rows: those of other ranks follow."""
    task = task_of_kind("dense_prediction")
    scores = torch.randn((4, 10), generator=torch.Generator().manual_seed(0))
    batch = batch_of([0], [0])
    term = task.losses({"prediction": scores}, batch)["prediction"]
    expected = sum(float(row.exp().sum().log() - row[number]) for number, row in enumerate(scores))
    assert term.total.item() == pytest.approx(expected, rel=1e-6)
    assert int(term.count) == 4
    whole = torch.zeros(4, 10)
    whole[range(4), [0, 3, 2, 9]] = 1.0
    metrics = task.compute_metrics(task.count({"prediction": whole}, batch))
    assert metrics == pytest.approx({"prediction_accuracy": 0.5, "prediction_by_guessing": 0.1})
    assert task.guesses(metrics) == {"prediction_accuracy": metrics["prediction_by_guessing"]}
