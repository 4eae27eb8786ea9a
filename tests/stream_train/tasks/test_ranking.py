"""TransRank: the loss against a slow loop, masked clips, and what counts as a right answer."""

from __future__ import annotations

import pytest
import torch
from helpers_pretext import full_batch
from helpers_tasks import task_of_kind
from torch import Tensor

from stream_train.tasks.ranking import Ranking


def ranking(**changes: object) -> Ranking:
    task = task_of_kind("ranking", **changes)
    assert isinstance(task, Ranking)
    return task


def outputs(videos: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn((4 * videos, 4), generator=generator) for name in ("motion", "speed")}


@pytest.mark.parametrize("margin", [0.1, 0.5, 2.0])
def test_the_loss_equals_a_slow_loop_without_masked_clips(margin: float) -> None:
    """Each clip of a video against each other one, in the score of the first one's class."""
    task, batch, found = ranking(margin=margin, motion_weight=3), full_batch(3), outputs(3)
    term = task.losses(found, batch)["motion"]
    total, count = 0.0, 0
    for video in range(3):
        scores = found["motion"][4 * video : 4 * video + 4].tolist()
        present = [clip for clip in range(4) if (video, clip) != (2, 3)]
        for clip in present:
            for other in present:
                if other != clip:
                    total += max(0.0, margin - scores[clip][clip] + scores[other][clip])
                    count += 1
    assert count == 12 + 12 + 6
    assert term.total.item() == pytest.approx(total, rel=1e-6)
    assert (int(term.count), term.weight) == (count, 3.0)


def test_the_speed_loss_is_that_of_the_paper_s_task() -> None:
    batch, found = full_batch(), outputs(7)
    ranked, classified = (task_of_kind(kind).losses(found, batch) for kind in ("ranking", "transformations"))
    assert list(ranked) == list(classified) == ["motion", "speed"]
    assert torch.equal(ranked["speed"].total, classified["speed"].total)
    assert list(ranking(speed_loss=False).losses({"motion": found["motion"]}, batch)) == ["motion"]


def test_masked_clips_have_no_gradient() -> None:
    task, batch, found = ranking(margin=100), full_batch(2), outputs(2)
    found["motion"].requires_grad_()
    torch.autograd.backward(task.losses(found, batch)["motion"].total)
    gradient = found["motion"].grad
    assert gradient is not None
    assert gradient[:7].any(dim=1).all()
    assert not gradient[7].any()
    assert not gradient[4:7, 3].any(), "nobody is compared in the masked clip's class"


@pytest.mark.parametrize("motions", [("random",), ("periodic", "warp"), ("warp",)])
def test_a_subset_of_motions_is_ranked_among_itself(motions: tuple[str, ...]) -> None:
    task = ranking(sampling={"motions": motions}, margin=1.0)
    classes = len(motions) + 1
    keep = [
        clip for clip in range(8) if clip % 4 in {0, *({"random": 1, "periodic": 2, "warp": 3}[one] for one in motions)}
    ]
    batch = full_batch(2)
    targets = {name: value[keep] for name, value in batch.targets.items()}
    parts = {name: getattr(batch, name)[keep] for name in ("frames", "flip", "label", "sample", "indices")}
    smaller = type(batch)(targets=targets, **parts)
    scores = torch.randn((2 * classes, classes), generator=torch.Generator().manual_seed(0))
    term = task.losses({"motion": scores}, smaller)["motion"]
    masked = "warp" in motions
    pairs = [(0, i, j) for i in range(classes) for j in range(classes) if i != j]
    pairs += [(1, i, j) for i in range(classes - masked) for j in range(classes - masked) if i != j]
    total = sum(
        max(0.0, 1 - float(scores[v * classes + i, i]) + float(scores[v * classes + j, i])) for v, i, j in pairs
    )
    assert int(term.count) == len(pairs)
    assert term.total.item() == pytest.approx(total, rel=1e-6)


def test_the_answer_is_the_clip_with_the_highest_score_of_its_video() -> None:
    """A constant that is added to a class's scores of a video changes nothing; the masked clip is no candidate."""
    task, batch = ranking(), full_batch(2)
    scores = torch.eye(4).repeat(2, 1)
    scores[1, 0] = 2.0  # the random clip of the first video looks more like speed than the speed clip
    scores[7] = 9.0
    expected = [[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
    for offset in (0.0, 5.0):
        shifted = scores.clone()
        shifted[:4, 2] += offset
        counts = task.count({"motion": shifted}, batch)
        assert counts["motion"].tolist() == expected
    metrics = task.compute_metrics(counts)
    assert metrics == {"motion_accuracy": 6 / 7, "nonrandom_motion_accuracy": 4 / 5}


def test_clips_of_other_videos_are_never_compared() -> None:
    task, batch, found = ranking(), full_batch(2), outputs(2)
    before = task.losses(found, batch)["motion"].total
    found["motion"][:4] += 100.0  # all scores of a video alike
    torch.testing.assert_close(task.losses(found, batch)["motion"].total, before, rtol=1e-4, atol=1e-4)
