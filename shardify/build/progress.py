"""The progress of a build: videos/s, frames/s, rejects and the time left."""

from __future__ import annotations

import time
from typing import TextIO

from shardify.build.shard_writer import VideoDone
from shardify.progress import ProgressLine


class BuildProgress(ProgressLine):
    """Counts finished videos; `num_videos` is None for archives, because their content is unknown at first."""

    def __init__(self, num_videos: int | None, stream: TextIO | None = None) -> None:
        super().__init__(num_videos, unit="video", enabled=num_videos != 0, stream=stream)
        self.num_videos = num_videos
        self.num_done = 0
        self.num_frames = 0
        self.num_rejected = 0
        self._start = self.logged = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._start

    def add(self, done: VideoDone) -> None:
        """Count one video."""
        self.num_done += 1
        self.num_frames += done.num_frames
        self.num_rejected += done.num_frames == 0
        if self.is_live:
            frames = f"{self.num_frames / max(self.seconds, 1e-9):,.0f} frames/s"
            self.bar.set_postfix_str(f"{frames}, {self.num_rejected} rejected", refresh=False)
            self.bar.update()
        elif self.line_is_due():
            self.tell(self.line())

    def line(self) -> str:
        """The state in words, for logs."""
        seconds = max(self.seconds, 1e-9)
        rate = self.num_done / seconds
        line = f"videos, {rate:.1f} videos/s, {self.num_frames / seconds:,.0f} frames/s, {self.num_rejected} rejected"
        if self.num_videos is None:
            return f"{self.num_done} {line}"
        left = (self.num_videos - self.num_done) / rate if rate else 0.0
        return f"{self.num_done} of {self.num_videos} {line}, {format_seconds(left)} left"


def format_seconds(seconds: float) -> str:
    """`0:42`, `12:05` or `3:07:15`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
