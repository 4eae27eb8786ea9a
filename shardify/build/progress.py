"""The progress of a build: videos/s, frames/s, rejects and the time left."""

from __future__ import annotations

from typing import TextIO

from shardify.build.shard_writer import VideoDone
from shardify.progress import Countdown


class BuildProgress(Countdown):
    """Counts finished videos; `total` is None for archives, because their content is unknown at first."""

    def __init__(self, num_videos: int | None, stream: TextIO | None = None) -> None:
        super().__init__(num_videos, unit="video", stays=True, stream=stream)
        self.num_frames = 0
        self.num_rejected = 0

    def add(self, done: VideoDone) -> None:
        """Count one video."""
        self.num_frames += done.num_frames
        self.num_rejected += done.num_frames == 0
        if self.is_live:
            frames = f"{self.num_frames / self.seconds:,.0f} frames/s"
            self.bar.set_postfix_str(f"{frames}, {self.num_rejected} rejected", refresh=False)
        self.advance()

    def line(self) -> str:
        """The state in words, for logs."""
        done = self.num_done if self.total is None else f"{self.num_done} of {self.total}"
        speed = f"{self.num_done / self.seconds:.1f} videos/s, {self.num_frames / self.seconds:,.0f} frames/s"
        return f"{done} videos, {speed}, {self.num_rejected} rejected{self.left()}"
