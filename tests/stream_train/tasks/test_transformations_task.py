"""The pretext task: which loss on which clips, every subset of Table 1, and metrics that mean what they say."""

from __future__ import annotations

import itertools
import math
import pickle
from dataclasses import dataclass

import pytest
import torch
from helpers_pretext import batch_of, full_batch, slice_of, task_of
from torch import Tensor, nn

from shardify.errors import UsageError
from stream_train.draws import SampleDraws
from stream_train.networks.config import C3DConfig
from stream_train.tasks import build_model, build_task
from stream_train.tasks.base import HeadWidth, LossTerm
from stream_train.tasks.transformations import Transformations
from stream_train.training.distributed import World
from stream_train.training.objective import combine

SUBSETS = [subset for size in range(4) for subset in itertools.combinations(("random", "periodic", "warp"), size)]


def random_outputs(task: Transformations, clips: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(clips, size, generator=generator) for name, size in sizes_of(task).items()}


def sizes_of(task: Transformations) -> dict[str, int]:
    """The number of classes of each head."""
    heads = task.build_heads(HeadWidth(features=3, maps=(1, 1, 1, 1)))
    return {name: head.out_features for name, head in heads.items() if isinstance(head, nn.Linear)}


def slow_cross_entropy(logits: list[float], target: int) -> float:
    return math.log(sum(math.exp(value) for value in logits)) - logits[target]


@pytest.mark.parametrize("motion_weight", [1.0, 4.0])
def test_loss_equals_a_slow_reference(motion_weight: float) -> None:
    task, batch = task_of(motion_weight=motion_weight), full_batch()
    outputs = random_outputs(task, 28)
    objective = combine(task.losses(outputs, batch), World())
    motion = [slow_cross_entropy(outputs["motion"][clip].tolist(), clip % 4) for clip in range(27)]  # 27 is masked
    speed = [slow_cross_entropy(outputs["speed"][4 * video].tolist(), video % 4) for video in range(7)]
    expected = motion_weight * sum(motion) / 27 + sum(speed) / 7
    assert objective.loss.item() == pytest.approx(expected, rel=1e-6)
    assert objective.value.item() == pytest.approx(expected, rel=1e-6)
    assert objective.totals["motion"].tolist() == pytest.approx([sum(motion), 27], rel=1e-6)
    assert objective.totals["speed"].tolist() == pytest.approx([sum(speed), 7], rel=1e-6)


def test_the_speed_loss_can_include_the_periodic_clips() -> None:
    batch = full_batch()
    outputs = random_outputs(task_of(), 28)
    paper = task_of(speed_loss_on="speed").losses(outputs, batch)["speed"]
    code = task_of(speed_loss_on="speed_and_periodic").losses(outputs, batch)["speed"]
    assert (int(paper.count), int(code.count)) == (7, 14)
    rows = [clip for clip in range(28) if clip % 4 in (0, 2)]
    expected = sum(slow_cross_entropy(outputs["speed"][clip].tolist(), clip // 4 % 4) for clip in rows)
    assert code.total.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("motions", SUBSETS)
@pytest.mark.parametrize("speed_loss", [True, False])
def test_every_row_of_table_1(motions: tuple[str, ...], speed_loss: bool) -> None:
    if not motions and not speed_loss:
        with pytest.raises(UsageError, match="nothing is left to learn"):
            task_of(motions, speed_loss=speed_loss)
        return
    task = task_of(motions, speed_loss=speed_loss)
    clips = task.draw_clips(200, SampleDraws(1, 0, 0))
    batch = batch_of([int(clip.targets["motion"]) for clip in clips], [int(clip.targets["speed"]) for clip in clips])
    names = (["motion"] if motions else []) + (["speed"] if speed_loss else [])
    assert sizes_of(task) == {name: {"motion": 1 + len(motions), "speed": 4}[name] for name in names}
    losses = task.losses(random_outputs(task, len(clips)), batch)
    assert {name: int(term.count) for name, term in losses.items()} == {
        name: {"motion": len(clips), "speed": 1}[name] for name in names
    }
    if motions:  # the classes are numbered without gaps, in the order of the clips
        assert task.motion_targets(batch).tolist() == list(range(len(clips)))
        assert list(task.class_names()["motion"]) == ["speed", *motions]
        assert task.guesses({})["motion_accuracy"] == 1 / len(clips)
    model = build_model(C3DConfig(width=0.02), task, crop=16)
    assert {name: head.out_features for name, head in model.heads.named_children()} == sizes_of(task)


@dataclass(frozen=True, kw_only=True)
class RankOfSome(World):
    """A rank that already knows what all ranks sum up to."""

    total: Tensor

    def sum(self, value: Tensor) -> Tensor:  # noqa: ARG002 (the interface of World)
        return self.total


@pytest.mark.parametrize("cuts", [[28], [8, 28], [8, 16, 28], [4, 8, 12, 16, 20, 24, 28]])
def test_ranks_average_to_the_loss_and_gradient_of_the_global_batch(cuts: list[int]) -> None:
    """Also with unequal slices, and with clips that are masked out on one rank only."""
    task, batch = task_of(), full_batch()
    outputs = {name: value.requires_grad_() for name, value in random_outputs(task, 28).items()}
    whole = combine(task.losses(outputs, batch), World())
    torch.autograd.backward(whole.loss)
    wanted = {name: value.grad for name, value in outputs.items()}
    starts = [0, *cuts[:-1]]
    total = torch.stack([whole.totals["motion"], whole.totals["speed"]])
    leaves = {name: value.detach().clone().requires_grad_() for name, value in outputs.items()}
    losses = []
    for rank, (start, stop) in enumerate(zip(starts, cuts, strict=True)):
        part = {name: value[start:stop] for name, value in leaves.items()}
        world = RankOfSome(rank=rank, size=len(cuts), total=total)
        objective = combine(task.losses(part, slice_of(batch, start, stop)), world)
        assert objective.value.item() == pytest.approx(whole.value.item(), rel=1e-6)
        torch.autograd.backward(objective.loss / len(cuts))  # what DistributedDataParallel's mean does
        losses.append(objective.loss.item())
    assert sum(losses) / len(cuts) == pytest.approx(whole.loss.item(), rel=1e-6)
    for name, leaf in leaves.items():
        torch.testing.assert_close(leaf.grad, wanted[name])


def test_a_batch_without_any_clip_of_a_term_gives_no_nan() -> None:
    task = task_of()
    batch = batch_of([1, 3], [-1, -1], [False, False])
    outputs = {name: value.requires_grad_() for name, value in random_outputs(task, 2).items()}
    objective = combine(task.losses(outputs, batch), World())
    assert objective.loss.item() == 0.0
    torch.autograd.backward(objective.loss)
    assert all(value.grad is not None and not value.grad.any() for value in outputs.values())


def test_counts_are_confusion_matrices_without_masked_clips() -> None:
    task, batch = task_of(), full_batch(videos=2)  # the second video's warp is masked
    outputs = {name: torch.zeros(8, size) for name, size in sizes_of(task).items()}
    answers = [0, 1, 3, 3, 2, 1, 2, 0]
    outputs["motion"][torch.arange(8), answers] = 1.0
    outputs["speed"][:, 1] = 1.0
    counts = task.count(outputs, batch)
    assert counts["motion"].tolist() == [[1, 0, 1, 0], [0, 2, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
    assert counts["speed"].tolist() == [[0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    metrics = task.compute_metrics(counts)
    assert metrics == {
        "motion_accuracy": 5 / 7,
        "nonrandom_motion_accuracy": 3 / 5,
        "speed_accuracy": 1 / 2,
    }


def test_recognising_random_clips_alone_gives_a_half_of_all_clips_and_a_third_of_the_others() -> None:
    confusion = torch.tensor([[10, 0, 10, 10], [0, 30, 0, 0], [10, 0, 10, 10], [10, 0, 10, 10]])
    metrics = task_of().compute_metrics({"motion": confusion})
    assert metrics["motion_accuracy"] == 0.5
    assert metrics["nonrandom_motion_accuracy"] == pytest.approx(1 / 3)
    assert task_of().guesses({})["nonrandom_motion_accuracy"] == pytest.approx(1 / 3)


def test_speed_baselines_know_the_length_but_not_the_frames() -> None:
    """Videos of 16-30 frames can only be speed 0; of 121 and more, any."""
    task = task_of()
    batch = batch_of([0, 0, 0, 0, 0, 1], [0, 0, 3, 3, 2, -1])
    lengths = torch.tensor([16, 30, 121, 500, 121, 500])
    table = task.count_baselines(batch, lengths)["speed_by_length"]
    assert table.tolist() == [[2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 2]]
    metrics = task.compute_metrics({"speed_by_length": table})
    assert metrics == {"speed_best_constant": 2 / 5, "speed_best_from_length": 4 / 5}


def test_workers_draw_the_same_clips() -> None:
    task = task_of(("random",))
    draw = pickle.loads(pickle.dumps(task.draw_clips))
    again = draw(50, SampleDraws(3, 1, 2))
    assert [clip.indices.tolist() for clip in again] == [
        clip.indices.tolist() for clip in task.draw_clips(50, SampleDraws(3, 1, 2))
    ]
    assert build_task(task.config) == task  # type: ignore[arg-type]


def test_a_loss_term_is_two_scalars() -> None:
    with pytest.raises(ValueError, match="two scalars"):
        LossTerm(total=torch.zeros(2), count=torch.tensor(2))
