"""The progress of a training run on stderr, and metrics as text."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TextIO

from shardify.progress import ProgressLine, format_seconds
from shardify.storage.traffic import Traffic
from stream_train.training.metrics import SCORE_ENDINGS, TRAFFIC_NAMES, TRAFFIC_PREFIX, Record, score_words


class Progress(ProgressLine):
    """Shows records, and measures the speed of each interval."""

    def __init__(self, num_steps: int, first_step: int, *, enabled: bool = True, stream: TextIO | None = None) -> None:
        bar_format = "{percentage:3.0f}%|{bar:10}| step {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        super().__init__(
            num_steps, unit="step", initial=first_step, enabled=enabled, stream=stream, bar_format=bar_format
        )
        self._num_steps = num_steps
        self._first_step = first_step
        self._begun = time.perf_counter()
        self._moved: Counter[str] = Counter()
        self.restart()

    def restart(self) -> None:
        """Begin a new interval."""
        self._start = time.perf_counter()
        self._waited = 0.0
        self._num_clips = 0

    def waited(self, seconds: float, num_clips: int) -> None:
        """Count a batch: the clips of all ranks, and how long this rank waited for its clips."""
        self._waited += seconds
        self._num_clips += num_clips
        self.bar.update()

    def speed(self) -> Record:
        """Clips a second over all ranks, and the share of time that this rank waited for data."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        return {"clips_per_second": self._num_clips / seconds, "data_wait_share": self._waited / seconds}

    def show(self, record: Record) -> None:
        """Show a record. A log shows at most one record in ten seconds, but always the last one."""
        if not self.enabled:
            return
        self._moved.update({name: value for name, value in record.items() if name in TRAFFIC_NAMES})
        if self.is_live:
            self.bar.set_postfix_str(self._text(record))
        elif self.line_is_due() or record["step"] == self._num_steps:
            step = int(record["step"])
            self.tell(f"step {step}/{self._num_steps}  {self._text(record)}{self._left(step)}")

    def _left(self, step: int) -> str:
        """The time left after a step, for a log; a live line shows it already."""
        if step in (self._first_step, self._num_steps):
            return ""
        each = (time.perf_counter() - self._begun) / (step - self._first_step)
        return f"  {format_seconds((self._num_steps - step) * each)} left"

    def _text(self, record: Record) -> str:
        """The record, with the traffic since the last shown record."""
        moved, self._moved = describe_traffic(self._moved), Counter()
        return "  ".join(describe(record) + ([f"since the last line: {', '.join(moved)}"] if moved else []))


def describe(record: Record) -> list[str]:
    """A record as text: epoch, loss, accuracies, clips/s, share of time spent waiting for data; no traffic."""
    parts = [f"epoch {record['epoch']:.2f}"]
    if "loss" in record:
        parts.append(f"loss {record['loss']:.3f}")
    parts += describe_accuracies(record)
    if "clips_per_second" in record:
        parts += [f"{record['clips_per_second']:.1f} clips/s", f"data wait {record['data_wait_share']:.0%}"]
    return parts


def describe_accuracies(metrics: Mapping[str, float], guesses: Mapping[str, float] | None = None) -> list[str]:
    """The accuracies among some metrics as text, each with the one of guessing if it is given."""
    guessing = {name: f" (guessing {value:.2f})" for name, value in (guesses or {}).items()}
    return [
        f"{score_words(name)} {value:.2f}{guessing.get(name, '')}"
        for name, value in metrics.items()
        if name.endswith(SCORE_ENDINGS) and not name.startswith("nonrandom")  # only for the curves
    ]


def describe_traffic(metrics: Mapping[str, float]) -> list[str]:
    """Traffic metrics as text: bytes and requests, cache use, and problems."""
    moved = {name: metrics.get(f"{TRAFFIC_PREFIX}{name}", 0) for name in asdict(Traffic())}
    parts = []
    if moved["requests"]:
        written = f", wrote {moved['bytes_written'] / 1e6:,.1f} MB" if moved["bytes_written"] else ""
        parts.append(f"read {moved['bytes_read'] / 1e6:,.1f} MB{written} in {moved['requests']:,.0f} requests")
    if moved["cache_hits"] + moved["cache_misses"]:
        parts.append(f"cache {moved['cache_hits']:.0f} hits, {moved['cache_misses']:.0f} misses")
    names = ("retries", "refetches", "substitutes", "single_pictures")
    return parts + [f"{moved[name]:.0f} {name.replace('_', ' ')}" for name in names if moved[name]]
