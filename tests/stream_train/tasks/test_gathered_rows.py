"""Candidates of all ranks: several real processes have the loss and the gradient of one with all videos."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_pretext import batch_of
from helpers_processes import SECONDS
from helpers_tasks import task_of_kind
from torch import Tensor, nn

from stream_train.data.order import slots_of_rank
from stream_train.tasks.base import ClipModel, HeadWidth
from stream_train.tasks.heads import gather_rows
from stream_train.training.distributed import joined_world
from stream_train.training.objective import combine

pytestmark = pytest.mark.slow

NUM_VIDEOS, NUM_BLOCKS, RANKS = 7, 5, 3
ROWS = 2 * 2 * 2
"""Rows of scores for a video: two steps of 2 x 2 positions."""


class Maps(nn.Module):
    """Stands for a backbone without BatchNorm, so that ranks and one process must agree."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(3, 6, kernel_size=1)

    def conv_features(self, clips: Tensor) -> Tensor:
        return torch.relu(self.layer(clips))


def learn(rank: int, size: int, port: int, out: Path) -> None:
    """One process of several: loss, gradient and counts for its slice of one fixed batch."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    with joined_world("cpu") as world:
        task = task_of_kind("dense_prediction", num_blocks=NUM_BLOCKS)
        torch.manual_seed(0)
        heads = task.build_heads(HeadWidth(features=1, maps=(6, 2, 2, 2)))
        model = ClipModel(Maps(), heads, task.select_frames, task.merge_maps)  # type: ignore[arg-type]
        clips = torch.randn(NUM_VIDEOS * NUM_BLOCKS, 3, 2, 2, 2)
        videos: range = slots_of_rank(NUM_VIDEOS, world.rank, world.size)
        mine = clips[NUM_BLOCKS * videos.start : NUM_BLOCKS * videos.stop]
        forward = world.distribute(model)
        for _ in range(2):  # DistributedDataParallel rearranges its buckets after the first step
            model.zero_grad()
            outputs = forward(mine)
            objective = combine(task.losses(outputs, batch_of([0], [0])), world)
            torch.autograd.backward(objective.loss)
        counts = world.add_up(task.count(outputs, batch_of([0], [0])))
        rows = torch.arange(videos.start, videos.stop).double()[:, None]
        values = {name: value.grad for name, value in model.named_parameters()}
        torch.save(
            {
                "value": objective.value,
                "gradients": values,
                "counts": counts["prediction"],
                "shape": tuple(outputs["prediction"].shape),
                "rows": gather_rows(rows)[:, 0],
            },
            out / f"{size}-{rank}.pt",
        )


def test_the_loss_and_the_gradient_are_those_of_one_process(tmp_path: Path) -> None:
    """7 videos over 3 ranks: unequal numbers of rows."""
    context = torch.multiprocessing.get_context("spawn")
    port = 29500 + (os.getpid() + 250) % 1000
    processes = [context.Process(target=learn, args=(rank, RANKS, port, tmp_path)) for rank in range(RANKS)]
    processes.append(context.Process(target=learn, args=(0, 1, port, tmp_path)))
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
        assert process.exitcode == 0
    whole = torch.load(tmp_path / "1-0.pt")
    assert whole["shape"] == (NUM_VIDEOS * ROWS, NUM_VIDEOS * ROWS)
    assert any(gradient.any() for gradient in whole["gradients"].values())
    for rank in range(RANKS):
        result: dict[str, Any] = torch.load(tmp_path / f"{RANKS}-{rank}.pt")
        videos = slots_of_rank(NUM_VIDEOS, rank, RANKS)
        assert result["shape"] == (len(videos) * ROWS, NUM_VIDEOS * ROWS)
        assert result["rows"].tolist() == [(videos.start + number) % NUM_VIDEOS for number in range(NUM_VIDEOS)]
        torch.testing.assert_close(result["value"], whole["value"], rtol=1e-6, atol=0)
        torch.testing.assert_close(result["counts"], whole["counts"])
        for name, gradient in whole["gradients"].items():
            torch.testing.assert_close(result["gradients"][name], gradient, msg=f"rank {rank}: {name}")
