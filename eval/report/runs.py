"""Several runs, each as the page of runs side by side needs it.

In: folders or URLs of runs. Out: :class:`RunOf` for each that can be read, and a sentence for each that cannot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from eval.report.pretraining import Pretraining, holds_pretraining, read_pretraining
from eval.results.combined import Combined, combine
from eval.results.rows import ROW_NAME, find_rows
from shardify.errors import UsageError, UserFacingError
from shardify.storage.locations import check_location, is_url
from shardify.storage.work_folder import work_folder
from stream_train.training.config import CONFIG_NAME, flatten
from stream_train.training.exports import read_metadata

ABSENT = "–"
"""Stands where a run has no value."""
_READ_ENDINGS = (".json", ".jsonl", ".yaml", ".csv")


@dataclass(frozen=True, kw_only=True)
class RunOf:
    """A run among others."""

    name: str
    """The end of its location that tells it from the others."""
    location: str
    """The folder or URL, as the user gave it."""
    path: Path
    """Its files on this machine."""
    pretraining: Pretraining | None
    """None if the folder holds only results of evaluations."""
    settings: Mapping[str, str]
    """Dotted key of the run's config.yaml -> value as text; empty if it cannot be read."""
    identity: Mapping[str, Any]
    """The metadata of its export: settings and data; empty before the run has finished."""
    results: Sequence[Combined]


@dataclass(frozen=True, kw_only=True)
class FoundRuns:
    """The runs that the user named."""

    runs: Sequence[RunOf]
    problems: Sequence[str]
    """Why each of the others is left out."""


@contextmanager
def opened_runs(locations: Sequence[str | Path]) -> Iterator[FoundRuns]:
    """Read the runs in the order of the user; their files stay on this machine until the block ends.

    Raises UsageError if a run is given twice, or none can be read.
    """
    places = [check_location(location) for location in locations]
    absolute = [place if is_url(place) else str(Path(place).resolve()) for place in places]
    repeated = next((place for place, whole in zip(places, absolute, strict=True) if absolute.count(whole) > 1), None)
    if repeated is not None:
        raise UsageError(f"{repeated} is given more than once; name each run once")
    runs, problems = [], []
    with ExitStack() as stack:
        for place, name in zip(places, distinct_names(absolute), strict=True):
            try:
                folder = stack.enter_context(work_folder(place, _is_read, create=False))
                runs.append(_read_run(folder.path, place, name))
            except UserFacingError as error:
                problems.append(str(error))
        if not runs:
            raise UsageError("; ".join(problems))
        yield FoundRuns(runs=runs, problems=problems)


def distinct_names(locations: Sequence[str]) -> list[str]:
    """As few last parts of each absolute path or URL as tell all of them apart."""
    parts = [PurePosixPath(location).parts for location in locations]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part.strip("/") for part in path[-count:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return list(locations)


def require_something(run: Path, location: str) -> None:
    """Raises UsageError if a local folder, which the user calls `location`, is none or holds nothing to report."""
    if not run.is_dir():
        reason = "is not a folder" if run.exists() else "does not exist"
        raise UsageError(f"{location} {reason}; give the folder of a run, such as runs/demo")
    if not find_rows(run) and not holds_pretraining(run):
        raise UsageError(
            f"{location} holds neither a pre-training run ({CONFIG_NAME}) nor results of evaluations ({ROW_NAME} in "
            "folders below it); give the folder that `stream-train pretrain` or `video-eval` wrote"
        )


def _is_read(name: str) -> bool:
    return name.endswith(_READ_ENDINGS)


def _read_run(path: Path, location: str, name: str) -> RunOf:
    require_something(path, location)
    is_pretrained = holds_pretraining(path)
    return RunOf(
        name=name,
        location=location,
        path=path,
        pretraining=read_pretraining(path, (), location) if is_pretrained else None,
        settings=_read_settings(path / CONFIG_NAME) if is_pretrained else {},
        identity=read_metadata(location),
        results=combine([path]),
    )


def _read_settings(path: Path) -> dict[str, str]:
    """The file as it is: a config of an earlier version, too, can be compared."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return settings_of(values) if isinstance(values, dict) else {}


def settings_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Dotted key -> value as text."""
    flat = flatten(dict(config))
    return {key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in flat.items()}
