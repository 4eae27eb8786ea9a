"""Progress on stderr: a live line on a terminal, a line every ten seconds in a log."""

from __future__ import annotations

import math
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TextIO, TypeVar

from tqdm import tqdm

from shardify.errors import counted
from shardify.process import is_first_process

Item = TypeVar("Item")

BRIEF_SECONDS = 1.0
"""Work that is done sooner shows no line that would go away again."""

_open_lines: weakref.WeakSet[ProgressLine] = weakref.WeakSet()
_has_terminal = True


def share_terminal() -> None:
    """Write lines as to a log from now on, because other processes write to the same terminal."""
    global _has_terminal  # noqa: PLW0603 - the terminal belongs to the whole process
    _has_terminal = False


class ProgressLine:
    """The base of all progress displays.

    `total` is the work in units such as `video`, None if unknown; `initial` units are done already. `stream` None is
    stderr; `bar_format` is tqdm's; `doing` stands before the numbers. Nothing is shown unless `enabled`. With `stays`,
    the live line stays on the terminal when the work is done.
    """

    LOG_SECONDS = 10.0

    def __init__(
        self,
        total: int | None,
        *,
        unit: str,
        doing: str = "",
        initial: int = 0,
        enabled: bool = True,
        stays: bool = True,
        stream: TextIO | None = None,
        bar_format: str | None = None,
    ) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.enabled = enabled
        self.logged = -math.inf
        """When the last line of the log was written."""
        self.bar = tqdm(
            total=total,
            desc=doing or None,
            initial=initial,
            unit=unit,
            unit_scale=unit == "byte",
            file=self.stream,
            disable=not (enabled and self.stream.isatty() and _has_terminal),
            leave=stays,
            delay=0 if stays else BRIEF_SECONDS,
            dynamic_ncols=True,
            smoothing=0.05,
            bar_format=bar_format,
        )
        _open_lines.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Show nothing more."""
        _open_lines.discard(self)
        self.bar.close()

    @property
    def is_live(self) -> bool:
        """Whether the output is a terminal, which shows a live line."""
        return not self.bar.disable

    def line_is_due(self) -> bool:
        """Whether the log's last line is ten seconds old; if so, the next ten seconds begin."""
        if time.monotonic() - self.logged < self.LOG_SECONDS:
            return False
        self.logged = time.monotonic()
        return True

    def tell(self, line: str) -> None:
        """Write a line, above the live line if there is one."""
        if self.enabled:
            self.bar.write(line, file=self.stream)
            self.stream.flush()


class Countdown(ProgressLine):
    """Counts finished units, with the time left; a log gets `looking: 12 of 40 shards, 0:10 left`.

    Arguments as of :class:`ProgressLine`. Under torchrun only the first process of a machine shows it.
    """

    def __init__(
        self, total: int | None, *, unit: str, doing: str = "", stays: bool = False, stream: TextIO | None = None
    ) -> None:
        enabled = total != 0 and is_first_process()
        super().__init__(total, unit=unit, doing=doing, enabled=enabled, stays=stays, stream=stream)
        self.total = total
        self.num_done = 0
        self._unit = unit
        self._doing = f"{doing}: " if doing else ""
        self._start = self.logged = time.monotonic()
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Time since the start, more than 0."""
        return max(time.monotonic() - self._start, 1e-9)

    def advance(self, count: int = 1) -> None:
        """Count finished units; any thread may call this."""
        with self._lock:
            self.num_done += count
            if self.is_live:
                self.bar.update(count)
            elif self.line_is_due():
                self.tell(self.line())

    def line(self) -> str:
        """The state in words, for logs."""
        if self.total is None:
            return f"{self._doing}{counted(self.num_done, self._unit)}"
        return f"{self._doing}{self.num_done:,} of {counted(self.total, self._unit)}{self.left()}"

    def left(self) -> str:
        """`, 0:10 left`, from the speed so far; empty if it is unknown."""
        if self.total is None or not self.num_done:
            return ""
        return f", {format_seconds((self.total - self.num_done) * self.seconds / self.num_done)} left"


def counting(items: Iterable[Item], *, unit: str, doing: str = "", total: int | None = None) -> Iterator[Item]:
    """The items, each counted when the next one is asked for; without `total`, their length, if they have one.

    Work of less than a second shows nothing. The finished line goes away.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Countdown(total, unit=unit, doing=doing) as counter:
        for item in items:
            yield item
            del item  # its memory may be used for the next one
            counter.advance()


def say(line: str) -> None:
    """Write a line for the user to stderr, above the live lines."""
    tqdm.write(line, file=sys.stderr)


@contextmanager
def closed_lines() -> Iterator[None]:
    """At the end, close the lines that an error or Ctrl-C has left open, so that a message begins on a new line."""
    try:
        yield
    finally:
        for line in list(_open_lines):
            line.close()


def format_seconds(seconds: float) -> str:
    """`0:42`, `12:05` or `3:07:15`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
