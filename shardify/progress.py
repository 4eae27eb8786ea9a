"""Progress on stderr: a live line on a terminal, a line every ten seconds in a log."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm


class ProgressLine:
    """The base of all progress displays.

    `total` is the work in units such as `video`, None if unknown; `initial` units are done already. `stream` None is
    stderr; `bar_format` is tqdm's. Nothing is shown unless `enabled`.
    """

    LOG_SECONDS = 10.0

    def __init__(
        self,
        total: int | None,
        *,
        unit: str,
        initial: int = 0,
        enabled: bool = True,
        stream: TextIO | None = None,
        bar_format: str | None = None,
    ) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.enabled = enabled
        self.logged = -math.inf
        """When the last line of the log was written."""
        self.bar = tqdm(
            total=total,
            initial=initial,
            unit=unit,
            file=self.stream,
            disable=not (enabled and self.stream.isatty()),
            dynamic_ncols=True,
            smoothing=0.05,
            bar_format=bar_format,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
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
