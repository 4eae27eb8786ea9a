"""The processes of a training run: this process's rank, and what they exchange.

Without `torchrun` there is one process, and every exchange returns its input. Under `torchrun` the processes, on one
machine or many, exchange data with gloo, on GPUs also with nccl. Each process uses the GPU of its local rank.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from shardify.errors import UsageError, UserFacingError, WorkError, one_line
from stream_train.training.config import DeviceChoice
from stream_train.training.preemption import stopping_with_launcher

Value = TypeVar("Value")

PEER_TIMEOUT = timedelta(hours=24)
"""How long processes wait for each other: long, because the main process may build shards or draw pictures meanwhile.
torchrun notices a dead process; on another machine its connections break."""

_BROKEN = re.compile(r"Connection (closed|reset|refused)|Broken pipe|gloo|NCCL|ncclRemoteError", re.IGNORECASE)
"""Part of torch's error if another process is gone."""


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among the processes of its run."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def on_main(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """`say` on the main process, silence on the others."""
        return say if self.is_main else lambda _: None

    def enter_thread(self) -> None:
        """Let a new thread use this process's GPU, if there is one."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)

    def is_idle(self) -> bool:
        """Whether the device has finished all queued work; a CPU always has."""
        return self.device.type == "cpu" or torch.cuda.current_stream(self.device).query()

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all ranks, equal on every rank. All ranks must give the same shape and dtype."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def add_up(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums of named tensors over the ranks, on the CPU; a rank may lack some names."""
        gathered = self.gather({name: value.cpu() for name, value in counts.items()})
        names = sorted({name for one in gathered for name in one})
        return {name: torch.stack([one[name] for one in gathered if name in one]).sum(dim=0) for name in names}

    def gather(self, value: Value) -> list[Value]:
        """Every rank's value (any picklable object), in the order of the ranks."""
        gathered = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(gathered, value)
        return gathered

    def copy_from_main(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors, in place, with the main process's tensors."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def from_main(self, value: Any) -> Any:
        """The main process's value (any picklable object), on every rank."""
        if self.size == 1:
            return value
        holder = [value]
        dist.broadcast_object_list(holder, src=0)
        return holder[0]

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on any rank; never waits for a GPU."""
        return bool(self.sum(torch.tensor(int(flag))).item())

    def do_on_main(self, action: Callable[[], Value]) -> Value | None:
        """Run an action on the main process while the others wait; returns its result, or None on the other ranks.

        Raises:
            UserFacingError: on the main process, if the action fails; the others end with its exit code.
        """
        result, problem = None, None
        if self.is_main:
            try:
                result = action()
            except UserFacingError as error:
                problem = error
        exit_code = self.from_main(problem and problem.exit_code)
        if problem is not None:
            raise problem
        if exit_code is not None:
            raise SystemExit(exit_code)
        return result

    def distribute(self, model: nn.Module) -> nn.Module:
        """The model in DistributedDataParallel, which averages gradients over ranks; the model itself for one rank."""
        if self.size == 1:
            return model
        if self.device.type == "cuda":
            return DistributedDataParallel(model, device_ids=[self.device])
        parallel = DistributedDataParallel(model)
        # a lambda, because DDP refuses a hook with string annotations
        parallel.register_comm_hook(self.size, lambda size, bucket: _mean_in_rank_order(size, bucket))  # noqa: PLW0108
        return parallel


def _mean_in_rank_order(size: int, bucket: Any) -> torch.futures.Future[Tensor]:
    """The mean of all ranks' gradients, summed in the order of the ranks.

    Gloo's order depends on an element's position in its bucket, and DDP rearranges the buckets after a process's first
    step. So with three or more ranks, the last bits of a continued run would differ.
    """
    mine = bucket.buffer()
    gathered = [torch.empty_like(mine) for _ in range(size)]

    def add(done: torch.futures.Future[Any]) -> Tensor:
        done.value()  # raises if another process is gone
        total = gathered[0]
        for other in gathered[1:]:
            total += other
        return total.div_(size)

    work = dist.all_gather(gathered, mine, async_op=True)
    return cast("torch.futures.Future[Tensor]", work.get_future().then(add))


@contextmanager
def joined_world(choice: DeviceChoice, threads: int = 0) -> Iterator[World]:
    """Join the processes that `torchrun` started, if any, until the block ends; stop if torchrun is gone.

    `choice` and `threads` are those of `RunConfig`.

    Raises:
        UsageError: if `choice` is cuda without a GPU, there are more local processes than GPUs, or this PyTorch fails
            at 3D convolutions (:func:`check_convolutions`).
        WorkError: if another process is gone.
    """
    rank, size, local_rank = rank_of_process(), _from_torchrun("WORLD_SIZE", 1), _from_torchrun("LOCAL_RANK", 0)
    device = _choose_device(choice, local_rank, _from_torchrun("LOCAL_WORLD_SIZE", local_rank + 1))
    if threads:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # all batches have one shape
    if size == 1:
        yield World(device=device)
        return
    if device.type == "cuda":  # gloo for tensors in the CPU's memory
        dist.init_process_group("cpu:gloo,cuda:nccl", device_id=device, timeout=PEER_TIMEOUT)
    else:
        dist.init_process_group("gloo", timeout=PEER_TIMEOUT)
    try:
        with stopping_with_launcher():
            yield World(rank=rank, size=size, device=device)
    except (RuntimeError, dist.DistError) as error:
        if not _BROKEN.search(str(error)):
            raise
        raise WorkError(
            f"rank {rank} lost another process of this run ({one_line(error)[:200]}); see its last lines for the "
            "reason; run the same command again to continue"
        ) from None
    finally:
        dist.destroy_process_group()


def rank_of_process() -> int:
    """This process's rank under `torchrun`, else 0; usable before :func:`joined_world`."""
    return _from_torchrun("RANK", 0)


def _from_torchrun(variable: str, default: int) -> int:
    return int(os.environ.get(variable, str(default)))


def _choose_device(choice: DeviceChoice, local_rank: int, num_local: int) -> torch.device:
    available = torch.cuda.is_available()
    if choice == "cpu" or (choice == "auto" and not available):
        return torch.device("cpu")
    if not available:
        raise UsageError("device is cuda, but PyTorch finds no GPU here; set device to auto or cpu")
    if num_local > torch.cuda.device_count():
        raise UsageError(
            f"{num_local} processes of this machine would share its {torch.cuda.device_count()} GPUs; start at most "
            "one process a GPU (torchrun --nproc_per_node, make GPUS=...)"
        )
    check_convolutions(torch.__version__, torch.backends.cudnn.version() or 0)  # type: ignore[no-untyped-call]
    return torch.device("cuda", local_rank)


def check_convolutions(torch_version: str, cudnn_version: int) -> None:
    """Refuse PyTorch 2.9 with a cuDNN (91500 is 9.15.0) whose 3D convolutions it cannot use on GPUs.

    It then computes them without cuDNN: 4 to 20 times slower, and once wrong. Raises UsageError.
    """
    if torch_version.startswith("2.9.") and (torch_version.startswith("2.9.0") or cudnn_version < 91500):
        raise UsageError(
            f"PyTorch {torch_version} with cuDNN {cudnn_version // 10000}.{cudnn_version // 100 % 100} computes 3D "
            "convolutions on GPUs many times slower, and once gave wrong results; install another PyTorch, or 2.9.1 "
            "with cuDNN 9.15 or later (pip install 'nvidia-cudnn-cu12>=9.15'), or set device to cpu"
        )
