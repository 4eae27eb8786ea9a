"""Several real processes: one loss and one gradient over the global batch, exact resume, the same validation."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers_pretext import full_batch, slice_of, task_of
from helpers_processes import SECONDS, finish, kill_when, start
from helpers_training import VALIDATED, assert_same_run, records, tiny_values
from torch import nn

from shardify.errors import UsageError, WorkError
from shardify.process import leave
from stream_train.data.batch import Batch
from stream_train.data.order import slots_of_rank
from stream_train.tasks.base import ClipModel, HeadWidth
from stream_train.training.checkpoint import checkpoint_name
from stream_train.training.distributed import World, check_convolutions, joined_world
from stream_train.training.objective import combine

pytestmark = pytest.mark.slow

NUM_VIDEOS = 7


class Features(nn.Module):
    """Stands for a backbone without BatchNorm, so that ranks and one process must agree exactly."""

    feature_dim = 5
    conv_dim = (1, 1, 1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, self.feature_dim)

    def conv_features(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer(inputs)  # type: ignore[no-any-return]

    def features_from_conv(self, conv: torch.Tensor) -> torch.Tensor:
        return torch.tanh(conv)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.features_from_conv(self.conv_features(inputs))


def gradients(rank: int, size: int, port: int, out: Path) -> None:
    """One process of several: the loss and the averaged gradient for its slice of one fixed batch."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    with joined_world("cpu") as world:
        task = task_of()
        torch.manual_seed(0)
        model = ClipModel(Features(), task.build_heads(HeadWidth(features=5, maps=(1, 1, 1, 1))))  # type: ignore[arg-type]
        inputs, batch = torch.randn(4 * NUM_VIDEOS, 6), full_batch(NUM_VIDEOS)
        mine: range = slots_of_rank(NUM_VIDEOS, world.rank, world.size)
        forward = world.distribute(model)
        part: Batch = slice_of(batch, 4 * mine.start, 4 * mine.stop)
        objective = combine(task.losses(forward(inputs[4 * mine.start : 4 * mine.stop]), part), world)
        torch.autograd.backward(objective.loss)
        counts = world.add_up({"clips": torch.tensor([len(part)])} if rank else {})
        values = {name: value.grad for name, value in model.named_parameters()}
        torch.save({"value": objective.value, "gradients": values, "counts": counts}, out / f"{size}-{rank}.pt")
    leave(0)  # as a command under torchrun does


def test_one_gradient_whatever_the_number_of_ranks(tmp_path: Path) -> None:
    """7 videos over 3 ranks: unequal slices, one masked clip on the last, and DDP's own averaging."""
    size = 3
    context = torch.multiprocessing.get_context("spawn")
    port = 29500 + os.getpid() % 1000
    processes = [context.Process(target=gradients, args=(rank, size, port, tmp_path)) for rank in range(size)]
    processes.append(context.Process(target=gradients, args=(0, 1, port, tmp_path)))
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
        assert process.exitcode == 0
    whole = torch.load(tmp_path / "1-0.pt")
    for rank in range(size):
        result: dict[str, Any] = torch.load(tmp_path / f"{size}-{rank}.pt")
        torch.testing.assert_close(result["value"], whole["value"], rtol=1e-6, atol=0)
        for name, gradient in whole["gradients"].items():
            torch.testing.assert_close(result["gradients"][name], gradient, msg=f"rank {rank}: {name}")
        assert result["counts"]["clips"].item() == 28 - 4 * len(slots_of_rank(NUM_VIDEOS, 0, size))


def lose_a_peer(rank: int, port: int, out: Path) -> None:
    """One process of two: rank 1 is killed in its second backward pass, before it has sent its gradients."""
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    try:
        with joined_world("cpu") as world:
            forward = world.distribute(Features())
            for step in range(2):
                outputs = forward(torch.ones(3, 6))
                if rank and step:
                    os.kill(os.getpid(), signal.SIGKILL)
                outputs.sum().backward()
    except WorkError as error:
        (out / "error").write_text(str(error))
    leave(0)


def test_no_step_is_taken_with_gradients_that_never_came(tmp_path: Path) -> None:
    context = torch.multiprocessing.get_context("spawn")
    port = 29500 + (os.getpid() + 500) % 1000
    processes = [context.Process(target=lose_a_peer, args=(rank, port, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
    assert [process.exitcode for process in processes] == [0, -signal.SIGKILL]
    assert "rank 0 lost another process of this run" in (tmp_path / "error").read_text()


def write_config(folder: Path, shards: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    values = tiny_values(shards, folder / "run", validation=VALIDATED, **changes)
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return folder / "config.yaml"


def test_kill_9_and_the_same_command_again_is_bit_identical(small_dataset: Path, tmp_path: Path) -> None:
    """Losses, weights and optimiser state over three ranks, where sums depend on their order."""
    ranks = 3
    whole = write_config(tmp_path / "whole", small_dataset, epochs=6)
    broken = write_config(tmp_path / "broken", small_dataset, epochs=6)
    process = start("stream_train", "pretrain", whole, ranks=ranks)
    _, output = finish(process)
    assert process.returncode == 0, output
    assert "Warning" not in output
    kill_when(start("stream_train", "pretrain", broken, ranks=ranks), broken.parent / "run" / checkpoint_name(8))
    process = start("stream_train", "pretrain", broken, ranks=ranks)
    _, output = finish(process)
    assert process.returncode == 0, output
    assert "continuing" in output
    assert_same_run(broken.parent / "run", whole.parent / "run")
    assert [line["step"] for line in records(whole.parent / "run")][-1] == 28
    assert output.count("backbone.safetensors") == 1  # only the main process speaks
    assert not list((broken.parent / "run").glob("*.tmp"))


def test_the_judgement_does_not_depend_on_the_ranks(small_dataset: Path, tmp_path: Path) -> None:
    """A run of three ranks, judged by its three ranks while training and by one process afterwards."""
    config = write_config(tmp_path, small_dataset)
    process = start("stream_train", "pretrain", config, ranks=3)
    _, output = finish(process)
    assert process.returncode == 0, output
    trained = json.loads((tmp_path / "run" / "validation.json").read_text())
    again = subprocess.run(
        [sys.executable, "-m", "stream_train", "validate", str(tmp_path / "run"), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    judged = json.loads(again.stdout)
    own = {name: value for name, value in judged["figures"].items() if not name.endswith("_batch_statistics")}
    assert judged | {"figures": own} == trained
    assert sum(map(sum, trained["counts"]["speed"])) == 23


def test_more_ranks_than_videos_is_a_usage_error(small_dataset: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, small_dataset)
    process = start("stream_train", "pretrain", config, "--set", "data.videos_per_batch=2", ranks=3)
    _, output = finish(process)
    assert process.returncode != 0
    assert "error: 3 ranks share data.videos_per_batch = 2 videos" in output
    assert not (tmp_path / "run").exists()


def test_alone_every_sum_is_the_value_itself() -> None:
    world = World()
    value = torch.tensor([1.0, 2.0])
    assert world.sum(value) is value
    assert world.from_main("x") == "x"
    assert world.add_up({"a": value})["a"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("local_rank", [0, 2])
def test_more_processes_than_gpus_are_refused_by_each_of_them(local_rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by the first, which speaks for all."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in {"LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": 3}.items():
        monkeypatch.setenv(name, str(value))
    message = "3 processes of this machine would share its 2 GPUs; start at most one process a GPU"
    with pytest.raises(UsageError, match=message), joined_world("auto"):
        pass


def test_pytorch_that_fails_at_3d_convolutions_is_refused_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    for version in ("2.9.0+cu130", "2.9.1"):
        monkeypatch.setattr(torch, "__version__", version)
        with pytest.raises(UsageError, match=rf"PyTorch {re.escape(version)} with cuDNN 9.10 "), joined_world("auto"):
            pass
        with joined_world("cpu"):
            pass
    with pytest.raises(UsageError):
        check_convolutions("2.9.0", 91500)
    for version, cudnn in (("2.9.1", 91500), ("2.8.0", 91002), ("2.11.0+cu130", 91002)):
        check_convolutions(version, cudnn)
