"""Metrics for experiment trackers (W&B, MLflow, trackio ...), by a function of the user.

In: the environment variable TEMPORAL_SSL_TRACKER, such as `my_tracker:track`. Out: a function that gets every record of
metrics.jsonl. It is a variable, not a config key, because a config may come from other people.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shardify.errors import UsageError, one_line
from stream_train.training.metrics import Record

VARIABLE = "TEMPORAL_SSL_TRACKER"


def open_tracker(out: str, config: Mapping[str, Any], say: Callable[[str], None]) -> Callable[[Record], None]:
    """Call the user's function with the run's location and config; it returns what each record is given to.

    A tracker that fails later is left out with a warning: it must not cost the run. Without the variable, records go
    nowhere. Raises UsageError if the variable names no function, or the function fails.
    """
    named = os.environ.get(VARIABLE, "")
    if not named:
        return lambda _: None
    try:
        working = [_begin(named, out, config)]
    except Exception as error:
        raise UsageError(
            f"{VARIABLE}={named}: {type(error).__name__}: {one_line(error)}; name a function as module:function, which "
            "is called with the run's location and config, and returns a function of a record (a dict with `step`)"
        ) from error

    def write(record: Record) -> None:
        if working:
            try:
                working[0](dict(record))
            except Exception as error:  # noqa: BLE001 - whatever a tracker raises
                working.clear()
                say(f"warning: {VARIABLE}={named} is left out from here on: {type(error).__name__}: {one_line(error)}")

    return write


def _begin(named: str, out: str, config: Mapping[str, Any]) -> Callable[[Record], object]:
    """Call the user's function. Raises whatever it, or the import of its module, raises."""
    module, _, function = named.partition(":")
    if (here := str(Path.cwd())) not in sys.path:  # where the user's file lies; last, so that it hides nothing
        sys.path.append(here)
    track = getattr(importlib.import_module(module), function)(out, dict(config))
    if not callable(track):
        raise TypeError(f"it returned {track!r}, not a function of a record")
    return track  # type: ignore[no-any-return]
