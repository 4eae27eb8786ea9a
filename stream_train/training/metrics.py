"""What a run says about itself while it trains: lines of metrics.jsonl, TensorBoard scalars, and progress on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from shardify.errors import WorkError
from shardify.storage.folder_store import FolderStore
from shardify.storage.traffic import Traffic, traffic
from stream_train.training.distributed import World
from stream_train.training.objective import Objective

METRICS_NAME = "metrics.jsonl"
TRAFFIC_PREFIX = "data_"
TRAFFIC_NAMES = tuple(f"{TRAFFIC_PREFIX}{name}" for name in asdict(Traffic()))
"""Figures on what was moved to and from object stores. `data_wait_share` is another one: the share of its time that
training waited for batches, wherever they come from."""
Record = dict[str, float]
"""A line of metrics.jsonl: `step`, `epoch` and figures by name."""


class Interval:
    """What happened in the steps since the last record; everything stays on the device until it is asked for.

    Args:
        step: optimiser steps done.
        world: this process among its peers.
        begun: what :meth:`state` gave where the run was stopped in the middle of an interval.
        moved_before: this process's traffic that earlier records have counted; None is all until now.
    """

    def __init__(
        self,
        step: int,
        world: World,
        begun: Mapping[str, Any] | None = None,
        *,
        moved_before: Traffic | None = None,
    ) -> None:
        begun = begun or {"health": [], "totals": {}, "counts": {}}
        self._world = world
        self._first_step = step - len(begun["health"])
        self._health: list[Tensor] = [health.to(world.device) for health in begun["health"]]
        self._totals: dict[str, Tensor] = {name: total.to(world.device) for name, total in begun["totals"].items()}
        counts = begun["counts"] if world.is_main else {}  # they are of all ranks
        self._counts: dict[str, Tensor] = {name: count.to(world.device) for name, count in counts.items()}
        self._moved_before = traffic() if moved_before is None else moved_before
        self.moved_until = self._moved_before
        """This process's traffic that :meth:`traffic` has counted: saving and judging come after it, and so are of the
        next interval."""

    def state(self) -> dict[str, Any]:
        """What was summed up so far, over all ranks, on the CPU; for a checkpoint. Empty if nothing was."""
        if not self._health:
            return {}
        return {
            "health": [health.cpu() for health in self._health],
            "totals": {name: total.cpu() for name, total in self._totals.items()},
            "counts": self._world.add_up(self._counts),
        }

    def add(self, objective: Objective, gradient_norm: Tensor, counts: Mapping[str, Tensor]) -> None:
        """Take in a step: its loss over all ranks, the norm of the gradient, and this rank's counts."""
        self._health.append(torch.stack((objective.value, gradient_norm.double())))
        for name, total in objective.totals.items():
            self._totals[name] = self._totals[name] + total if name in self._totals else total
        for name, count in counts.items():
            self._counts[name] = self._counts[name] + count if name in self._counts else count

    def counts(self) -> dict[str, Tensor]:
        """Counts of right and wrong answers over all ranks, on the CPU."""
        return self._world.add_up(self._counts)

    def traffic(self) -> dict[str, Tensor]:
        """What all ranks and their workers moved in the interval, float64 () by `Traffic`'s names; empty if nothing."""
        self.moved_until = traffic()
        moved = self.moved_until - self._moved_before
        return self._world.add_up(as_counts(moved) if moved else {})

    def require_finite(self, advice: Callable[[], str]) -> None:
        """Stop at the first loss or gradient that is not a finite number.

        Args:
            advice: says where the last good state is and what to do; ends the message.

        Raises:
            WorkError: naming the step.
        """
        health = torch.stack(self._health).cpu()
        broken = (~health.isfinite()).nonzero()
        if len(broken):
            step, column = broken[0].tolist()
            what, value = ("loss", "norm of the gradient")[column], health[step, column].item()
            number = self._first_step + step + 1
            raise WorkError(f"step {number}: the {what} is {value}, so training stopped; {advice()}")

    def losses(self) -> Record:
        """Means over the interval: the loss, each of its terms, and the norm of the gradient."""
        health = torch.stack(self._health).mean(dim=0).tolist()
        terms = {f"loss_{name}": (total[0] / total[1].clamp(min=1)).item() for name, total in self._totals.items()}
        return {"loss": health[0], **terms, "gradient_norm": health[1]}


class MetricsLog:
    """metrics.jsonl and TensorBoard, continued from a step: what lies after it is from a killed run and is dropped."""

    def __init__(self, folder: Path, resumed_step: int, *, enabled: bool = True) -> None:
        self._file: TextIO | None = None
        if not enabled:
            return
        store = FolderStore(folder)
        kept = [record for record in read_metrics(folder) if record["step"] <= resumed_step]
        store.write(METRICS_NAME, "".join(_line(record) for record in kept).encode())
        self._file = (folder / METRICS_NAME).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_step + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._board.close()

    def write(self, record: Record) -> None:
        """Append a line at once, so that a killed run leaves at most half of one."""
        if self._file is None:
            return
        self._file.write(_line(record))
        self._file.flush()
        for name, value in record.items():
            if name != "step":
                self._board.add_scalar(name, value, int(record["step"]))
        self._board.flush()


def read_metrics(folder: Path) -> list[Record]:
    """The complete lines of a run's metrics.jsonl, up to the first that is not; empty if there is no file."""
    try:
        lines = (folder / METRICS_NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    records: list[Record] = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            break
        if not (isinstance(record, dict) and isinstance(record.get("step"), int)):
            break
        records.append(record)
    return records


def as_counts(moved: Traffic) -> dict[str, Tensor]:
    """Traffic as float64 () by its names, to be added up over the ranks."""
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in asdict(moved).items()}


def traffic_metrics(totals: Mapping[str, Tensor]) -> Record:
    """Traffic over all ranks as figures of a record: `data_bytes_read`, `data_requests`, `data_retries` and so on."""
    return {f"{TRAFFIC_PREFIX}{name}": total.item() for name, total in totals.items()}


def metric_names(records: Sequence[Record], *, ending: str) -> list[str]:
    """Names of the figures with an ending that any of the records has, in order of appearance."""
    return list(dict.fromkeys(name for record in records for name in record if name.endswith(ending)))


def _line(record: Record) -> str:
    return json.dumps(record) + "\n"
