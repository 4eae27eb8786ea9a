"""The metrics of a training run: lines of metrics.jsonl and the same values for TensorBoard.

In: the loss, gradient norm and counts of every step. Out: one :data:`Record` for every few steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shardify.errors import WorkError
from shardify.storage.folder_store import FolderStore
from shardify.storage.traffic import Traffic, traffic
from stream_train.training.distributed import World
from stream_train.training.objective import Objective
from stream_train.transformations.sequences import NUM_SPEEDS, step_of

METRICS_NAME = "metrics.jsonl"
TRAFFIC_PREFIX = "data_"
TRAFFIC_NAMES = tuple(f"{TRAFFIC_PREFIX}{name}" for name in asdict(Traffic()))
"""Metrics of reads and writes in object stores, without `data_wait_share`, the share of time spent waiting for data."""
SCORE_ENDINGS = ("_accuracy", "_explained")
"""Metrics that progress lines and curves show: shares up to 1, the larger the better. `_explained` is 1 minus the
squared error over the targets' variance."""
Record = dict[str, float]
"""A line of metrics.jsonl: `step`, `epoch` and metrics by name."""
_SHOWN_SPEEDS = {f"speed {kappa}": f"{step_of(kappa)}x" for kappa in range(NUM_SPEEDS)}


def score_words(metric: str) -> str:
    """The name of a score for people: `motion_accuracy` -> `motion`."""
    return metric.removesuffix("_accuracy").replace("_", " ")


def shown_names(class_names: Iterable[str]) -> list[str]:
    """The classes as people read them: `speed 0`, `speed 1` ... as `1x`, `2x`, `4x`, `8x`; all others as they are."""
    return [_SHOWN_SPEEDS.get(name, name) for name in class_names]


class Interval:
    """The metrics of the steps since the last record. Tensors stay on the device until they are needed.

    `begun` is the :meth:`state` of a run that stopped within an interval. `traffic_before` is this process's traffic
    up to the last record; None: up to now.
    """

    def __init__(
        self, step: int, world: World, begun: Mapping[str, Any] | None = None, *, traffic_before: Traffic | None = None
    ) -> None:
        begun = begun or {"health": [], "totals": {}, "counts": {}}
        self._world = world
        self._first_step = step - len(begun["health"])
        self._health: list[Tensor] = [health.to(world.device) for health in begun["health"]]
        self._totals: dict[str, Tensor] = {name: total.to(world.device) for name, total in begun["totals"].items()}
        counts = begun["counts"] if world.is_main else {}  # they are sums over all ranks
        self._counts: dict[str, Tensor] = {name: count.to(world.device) for name, count in counts.items()}
        self._traffic_before = traffic() if traffic_before is None else traffic_before
        self.traffic_until = self._traffic_before
        """This process's traffic up to the call of :meth:`traffic`. Later saves and validations count for the next."""

    def state(self) -> dict[str, Any]:
        """The sums so far over all ranks, on the CPU, for a checkpoint; empty without steps."""
        if not self._health:
            return {}
        return {
            "health": [health.cpu() for health in self._health],
            "totals": {name: total.cpu() for name, total in self._totals.items()},
            "counts": self.counts(),
        }

    def add(self, objective: Objective, gradient_norm: Tensor, counts: Mapping[str, Tensor]) -> None:
        """Add a step: its loss over all ranks, the norm of the gradient, and this rank's counts."""
        self._health.append(torch.stack((objective.value, gradient_norm.double())))
        add_to(self._totals, objective.totals)
        add_to(self._counts, counts)

    def counts(self) -> dict[str, Tensor]:
        """Counts of right and wrong answers over all ranks, on the CPU."""
        return self._world.add_up(self._counts)

    def traffic(self) -> Record:
        """The interval's traffic over all ranks and their workers, as :func:`sum_traffic`."""
        self.traffic_until = traffic()
        return sum_traffic(self.traffic_until - self._traffic_before, self._world)

    def require_finite(self, advice: Callable[[], str]) -> None:
        """Raises WorkError with the first step whose loss or gradient is not finite; `advice` ends the message."""
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


def add_to(totals: dict[str, Tensor], new: Mapping[str, Tensor]) -> None:
    """Add tensors to the totals of the same names."""
    for name, value in new.items():
        totals[name] = totals[name] + value if name in totals else value


def sum_traffic(moved: Traffic, world: World) -> Record:
    """Traffic over all ranks as metrics: `data_bytes_read`, `data_requests` and so on; empty if nothing was moved."""
    total = sum(world.gather(moved), Traffic())
    return {f"{TRAFFIC_PREFIX}{name}": float(value) for name, value in asdict(total).items()} if total else {}


@contextmanager
def metrics_log(
    folder: Path, resumed_step: int, *, enabled: bool = True, track: Callable[[Record], None] | None = None
) -> Iterator[Callable[[Record], None]]:
    """Open metrics.jsonl and TensorBoard's files, and remove records after the resumed step, left by a killed run.

    `track` gets every record too.

    Yields:
        A function that writes a record at once, so that a killed run leaves at most half a line.
    """
    if not enabled:
        yield lambda _: None
        return
    from torch.utils.tensorboard import SummaryWriter

    kept = [record for record in read_metrics(folder) if record["step"] <= resumed_step]
    FolderStore(folder).write(METRICS_NAME, "".join(_line(record) for record in kept).encode())
    with (
        (folder / METRICS_NAME).open("a", encoding="utf-8") as file,
        SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_step + 1) as board,
    ):

        def write(record: Record) -> None:
            file.write(_line(record))
            file.flush()
            for name, value in record.items():
                if name != "step":
                    board.add_scalar(name, value, int(record["step"]))
            board.flush()
            if track is not None:
                track(record)

        yield write


def read_metrics(folder: Path) -> list[Record]:
    """The lines of a run's metrics.jsonl up to the first incomplete one; empty if there is no file."""
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


def metric_names(records: Sequence[Record], *, ending: str | tuple[str, ...]) -> list[str]:
    """Names in any of the records that have (one of) these endings, in order of appearance."""
    return list(dict.fromkeys(name for record in records for name in record if name.endswith(ending)))


def _line(record: Record) -> str:
    return json.dumps(record) + "\n"
