"""How far a build is, on stderr: a live line on a terminal, a line every ten seconds in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

import click
from tqdm import tqdm

from shardify.build.shard_writer import VideoDone


class BuildProgress:
    """Counts finished videos and shows videos/s, frames/s, rejects and the time left."""

    LOG_SECONDS = 10.0

    def __init__(self, num_videos: int | None, stream: TextIO | None = None) -> None:
        self.num_videos = num_videos
        self.num_done = 0
        self.num_frames = 0
        self.num_rejected = 0
        self._stream = sys.stderr if stream is None else stream
        self._start = self._logged = time.monotonic()
        self._bar = tqdm(
            total=num_videos,
            unit="video",
            file=self._stream,
            disable=num_videos == 0 or not self._stream.isatty(),
            dynamic_ncols=True,
            smoothing=0.05,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._start

    def add(self, done: VideoDone) -> None:
        """Count one video."""
        self.num_done += 1
        self.num_frames += done.num_frames
        self.num_rejected += done.num_frames == 0
        if not self._bar.disable:
            frames = f"{self.num_frames / max(self.seconds, 1e-9):,.0f} frames/s"
            self._bar.set_postfix_str(f"{frames}, {self.num_rejected} rejected", refresh=False)
            self._bar.update()
        elif time.monotonic() - self._logged >= self.LOG_SECONDS:
            self._logged = time.monotonic()
            click.echo(self.line(), file=self._stream)

    def line(self) -> str:
        """The state in words, for logs."""
        seconds = max(self.seconds, 1e-9)
        rate = self.num_done / seconds
        line = f"videos, {rate:.1f} videos/s, {self.num_frames / seconds:,.0f} frames/s, {self.num_rejected} rejected"
        if self.num_videos is None:  # in archives, whose contents are not known before they are read
            return f"{self.num_done} {line}"
        left = (self.num_videos - self.num_done) / rate if rate else 0.0
        return f"{self.num_done} of {self.num_videos} {line}, {format_seconds(left)} left"


def format_seconds(seconds: float) -> str:
    """`0:42`, `12:05` or `3:07:15`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
