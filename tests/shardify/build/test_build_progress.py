"""The progress of a build: counts, a line now and then in a log, a live line on a terminal."""

from __future__ import annotations

import io

import pytest

from shardify.build.progress import BuildProgress
from shardify.build.shard_writer import VideoDone


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as its only element."""
    now = [100.0]
    monkeypatch.setattr("shardify.progress.time.monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_ten_seconds(clock: list[float]) -> None:
    stream = io.StringIO()
    with BuildProgress(100, stream) as progress:
        for _ in range(20):
            clock[0] += 1.0
            progress.add(VideoDone(num_frames=50))
        clock[0] += 1.0
        progress.add(VideoDone(num_frames=0))
    assert stream.getvalue().splitlines() == [
        "10 of 100 videos, 1.0 videos/s, 50 frames/s, 0 rejected, 1:30 left",
        "20 of 100 videos, 1.0 videos/s, 50 frames/s, 0 rejected, 1:20 left",
    ]
    assert progress.line() == "21 of 100 videos, 1.0 videos/s, 48 frames/s, 1 rejected, 1:19 left"
    assert (progress.num_done, progress.num_frames, progress.num_rejected) == (21, 1000, 1)


def test_a_terminal_gets_a_live_line() -> None:
    stream = Terminal()
    with BuildProgress(3, stream) as progress:
        for num_frames in (50, 0, 60):
            progress.add(VideoDone(num_frames=num_frames))
    last = stream.getvalue().split("\r")[-1]
    assert "3/3" in last
    assert "1 rejected" in last
    assert "frames/s" in last


def test_nothing_to_do_says_nothing() -> None:
    stream = Terminal()
    with BuildProgress(0, stream):
        pass
    assert stream.getvalue() == ""
