"""What the benchmarks measure: speeds, and ratios of speeds that were measured in turns, each with its spread."""

from __future__ import annotations

import functools
import importlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Frames or clips a second."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as fast one side is as the other: the median of several rounds, the least and the greatest."""

    key: str
    """For programs: `building_over_bare_ffmpeg`."""
    name: str
    value: float
    low: float
    high: float


def ratio(key: str, name: str, rounds: Sequence[float]) -> Ratio:
    """The ratio of some rounds."""
    return Ratio(key=key, name=name, value=statistics.median(rounds), low=min(rounds), high=max(rounds))


def table(speeds: Sequence[Speed], ratios: Sequence[Ratio]) -> str:
    """Lines for the terminal; the last ones are the ratios."""
    width = max(len(name) for name in [*(speed.name for speed in speeds), *(one.name for one in ratios)])
    lines = [f"{speed.name:<{width}}  {speed.value:>10,.0f} {speed.unit}" for speed in speeds]
    lines += [f"{one.name:<{width}} = {one.value:.2f} ({one.low:.2f} to {one.high:.2f})" for one in ratios]
    return "\n".join(lines)


def write_json(file: str | Path, speeds: Sequence[Speed], ratios: Sequence[Ratio]) -> None:
    """The same as JSON."""
    values = {
        "speeds": [asdict(speed) for speed in speeds],
        "spreads": {one.key: [one.low, one.high] for one in ratios},
        **{one.key: one.value for one in ratios},
    }
    Path(file).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


@functools.cache
def installed(name: str) -> bool:
    """Whether a module can be loaded; says so once if not."""
    try:
        importlib.import_module(name)
    except (ImportError, RuntimeError, OSError) as error:
        print(f"left out: {name} cannot be loaded ({str(error).splitlines()[0]})")
        return False
    return True
