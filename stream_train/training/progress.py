"""The progress line of a training run."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

from shardify.storage.traffic import Traffic
from stream_train.training.metrics import TRAFFIC_NAMES, TRAFFIC_PREFIX, Record


class Progress:
    """The run on stderr: a live line on a terminal, else a line every ten seconds, and the speed figures."""

    LOG_SECONDS = 10.0

    def __init__(self, num_steps: int, first_step: int, *, enabled: bool = True, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._enabled = enabled
        self._num_steps = num_steps
        self._bar = tqdm(
            total=num_steps,
            initial=first_step,
            unit="step",
            file=self._stream,
            disable=not (enabled and self._stream.isatty()),
            dynamic_ncols=True,
            bar_format="{percentage:3.0f}%|{bar:10}| step {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
        )
        self._said = -math.inf
        self._moved: Counter[str] = Counter()
        self.restart()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def restart(self) -> None:
        """Begin a new interval of the speed figures."""
        self._start = time.perf_counter()
        self._waited = 0.0
        self._num_clips = 0

    def waited(self, seconds: float, num_clips: int) -> None:
        """A batch of all ranks' clips came after this rank had waited for its own share of it."""
        self._waited += seconds
        self._num_clips += num_clips
        self._bar.update()

    def speed(self) -> Record:
        """Clips a second over all ranks, and the share of time that this rank waited for data."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        return {"clips_per_second": self._num_clips / seconds, "data_wait_share": self._waited / seconds}

    def show(self, record: Record) -> None:
        """Show a record; on a log not more often than every ten seconds, but always the last one."""
        if not self._enabled:
            return
        self._moved.update({name: value for name, value in record.items() if name in TRAFFIC_NAMES})
        if not self._bar.disable:
            self._bar.set_postfix_str(self._text(record))
        elif time.monotonic() - self._said >= self.LOG_SECONDS or record["step"] == self._num_steps:
            self._said = time.monotonic()
            self.tell(f"step {int(record['step'])}/{self._num_steps}  {self._text(record)}")

    def tell(self, line: str) -> None:
        """Say a line, above the live one where there is one."""
        if self._enabled:
            self._bar.write(line, file=self._stream)
            self._stream.flush()

    def _text(self, record: Record) -> str:
        """The record, with the traffic of those before it that were not shown."""
        moved, self._moved = describe_traffic(self._moved), Counter()
        return "  ".join(describe(record) + ([f"since the last line: {', '.join(moved)}"] if moved else []))


def describe(record: Record) -> list[str]:
    """A record in words: epoch, loss, accuracies, clips/s, share of time spent waiting for data; without traffic."""
    parts = [f"epoch {record['epoch']:.2f}"]
    if "loss" in record:
        parts.append(f"loss {record['loss']:.3f}")
    parts += describe_accuracies(record)
    if "clips_per_second" in record:
        parts.append(f"{record['clips_per_second']:.1f} clips/s")
        parts.append(f"data wait {record['data_wait_share']:.0%}")
    return parts


def describe_accuracies(figures: Mapping[str, float]) -> list[str]:
    """The accuracies among some figures, in words."""
    return [
        f"{name.removesuffix('_accuracy').replace('_', ' ')} {value:.2f}"
        for name, value in figures.items()
        if name.endswith("_accuracy") and not name.startswith("nonrandom")  # that one is for the curves
    ]


def describe_traffic(figures: Mapping[str, float]) -> list[str]:
    """Traffic, by the names of :func:`traffic_metrics`, in words: bytes and requests, and whatever else happened."""
    moved = {name: figures.get(f"{TRAFFIC_PREFIX}{name}", 0) for name in asdict(Traffic())}
    parts = []
    if moved["requests"]:
        written = f", wrote {moved['bytes_written'] / 1e6:,.1f} MB" if moved["bytes_written"] else ""
        parts.append(f"read {moved['bytes_read'] / 1e6:,.1f} MB{written} in {moved['requests']:,.0f} requests")
    if moved["cache_hits"] + moved["cache_misses"]:
        parts.append(f"cache {moved['cache_hits']:.0f} hits, {moved['cache_misses']:.0f} misses")
    names = ("retries", "refetches", "substitutes")
    return parts + [f"{moved[name]:.0f} {name}" for name in names if moved[name]]
