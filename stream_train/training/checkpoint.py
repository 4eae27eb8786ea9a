"""The state of a run, in a folder or an object store: saved whole or not at all, found again and compared.

A checkpoint holds only tensors and plain values, so that it loads with `weights_only`. It names its settings and data,
so that no run continues with others by accident.
"""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shardify.errors import UsageError, WorkError, one_line
from shardify.storage import open_store
from shardify.storage.locations import is_url, join_location
from shardify.storage.lock import this_process
from shardify.storage.store import Store
from shardify.storage.work_folder import downloaded

FORMAT_VERSION = 1
DATA_KEYS = ("split", "data_set.fingerprint", "data_set.num_samples", "data_set.height", "data_set.width")
"""Identity keys that `accept_changed_data` lets differ."""

NOTE_NAME = ".trainer"
"""A file beside the checkpoints in an object store; it names the last process that began to train there."""
_NAME = re.compile(r"checkpoint-(\d{8,})\.pt")
_DAMAGE = (
    *(OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError),
    *(zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError),
)
"""Errors of zipfile and torch.load for damaged bytes."""


def checkpoint_name(step: int) -> str:
    """`checkpoint-00001234.pt`."""
    return f"checkpoint-{step:08d}.pt"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that a continued run needs; the learning rate and the stream follow from the step."""

    step: int
    """Optimiser steps done."""
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    identity: dict[str, Any]
    """Settings and data of the run, as dotted keys."""
    interval: dict[str, Any] = field(default_factory=dict)
    """Sums for the next line of metrics.jsonl, if the run stopped between two lines."""


class DamagedCheckpointError(WorkError):
    """A file is not a readable checkpoint; an earlier one may be."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFolder:
    """The newest checkpoints of one run."""

    folder: str | Path
    """A local folder, or a URL."""
    keep: int = 2
    skipped: list[str] = field(default_factory=list)
    """Files that :meth:`newest` could not read, with the reason."""
    known: set[int] = field(default_factory=set)
    """Steps that :meth:`newest` found, and steps saved since."""
    predecessors: list[str] = field(default_factory=list)
    """The last process that began to train here before this one."""

    def announce(self) -> None:
        """Write this process's name into an object store, which has no locks, for others that train there.

        Raises:
            UsageError: if nothing can be written there.
            WorkError: if the store fails for long.
        """
        if is_url(self.folder):
            self.predecessors.extend(filter(None, [self._note()]))
            self._store.write(NOTE_NAME, this_process().encode())

    def steps(self) -> list[int]:
        """Steps of all complete checkpoints, increasing."""
        if not is_url(self.folder) and not Path(self.folder).is_dir():
            return []
        matches = (_NAME.fullmatch(name) for name in self._store.names())
        return sorted(int(match[1]) for match in matches if match)

    def location(self, step: int) -> str:
        """The path or URL of a checkpoint."""
        return join_location(self.folder, checkpoint_name(step))

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint atomically and durably, then remove the oldest beyond `keep`.

        Unreadable files of later steps do not count, and stay.

        Raises:
            WorkError: if the disk is full, the store fails for long, or another process has saved later steps. The
                earlier checkpoints stay.
        """
        self.require_alone()
        name = checkpoint_name(checkpoint.step)
        with self._store.temporary(name) as path:
            with path.open("wb") as file:
                _save_to(file, {"format_version": FORMAT_VERSION, **vars(checkpoint)})
            self._store.write_file(name, path)
        self.known.add(checkpoint.step)
        for step in [step for step in self.steps() if step <= checkpoint.step][: -self.keep]:
            self._store.delete(checkpoint_name(step))

    def newest(self) -> Checkpoint | None:
        """The newest readable checkpoint, or None without files; `skipped` lists the unreadable files.

        Raises WorkError if there are checkpoints but none can be read, or the store fails for long.
        """
        steps = self.steps()
        self.known.update(steps)
        for step in reversed(steps):
            try:
                return read_checkpoint(self.location(step))
            except DamagedCheckpointError as error:
                self.skipped.append(str(error))
        if self.skipped:
            raise WorkError(
                f"none of the {len(self.skipped)} checkpoints in {self.folder} can be read, the newest: "
                f"{self.skipped[0]}; delete them to start the run anew"
            )
        return None

    def require_alone(self) -> None:
        """Raises WorkError if another process has saved later steps than this one, in a store without locks."""
        later = [step for step in self.steps() if step > max(self.known, default=-1)]
        if later:
            others = [name for name in (self._note(), *self.predecessors) if name and name != this_process()]
            raise WorkError(
                f"another process{f' ({others[0]})' if others else ''} is training in {self.folder}: it has saved "
                f"{checkpoint_name(later[-1])} meanwhile; stop one of them, or give another out, and run the same "
                "command again"
            )

    @cached_property
    def _store(self) -> Store:
        return open_store(self.folder)

    def _note(self) -> str:
        """The last process that began to train here; empty if unknown."""
        try:
            return one_line(self._store.read(NOTE_NAME).decode(errors="replace"))
        except FileNotFoundError:
            return ""


def read_checkpoint(location: str | Path) -> Checkpoint:
    """Check every byte of a file or URL against the file's checksums, then read the checkpoint, on the CPU.

    Raises:
        DamagedCheckpointError: if the file is missing, damaged, or not a checkpoint of this program.
        WorkError: if the store fails for long, or the disk is full.
    """
    try:
        with downloaded(location) as path:
            values = _read_values(path, location)
    except FileNotFoundError:
        raise DamagedCheckpointError(f"there is no checkpoint {location}") from None
    if not isinstance(values, dict) or "format_version" not in values:
        raise DamagedCheckpointError(f"{location} is not a checkpoint of this program")
    if values.pop("format_version") != FORMAT_VERSION:
        raise DamagedCheckpointError(f"{location} was written by another version of this program")
    try:
        checkpoint = Checkpoint(**values)
        _require_types(checkpoint)
    except (TypeError, ValueError) as error:
        reason = one_line(error)[:200]
        raise DamagedCheckpointError(f"{location} is not a checkpoint of this program ({reason})") from None
    return checkpoint


def restore(checkpoint: Checkpoint, location: str, **targets: nn.Module | torch.optim.Optimizer) -> None:
    """Load a state: `restore(checkpoint, location, model=..., optimizer=...)`. Raises WorkError if it does not fit."""
    for name, target in targets.items():
        try:
            target.load_state_dict(dict(getattr(checkpoint, name)))
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise WorkError(f"the {name} saved in {location} does not fit ({one_line(error)[:200]})") from None


def require_same(
    saved: Mapping[str, Any], current: Mapping[str, Any], *, origin: str, accept_changed_data: bool = False
) -> None:
    """Refuse to continue a run that was started with other settings or other data.

    `saved` is the identity in the file `origin`, `current` that of this run. With `accept_changed_data`, DATA_KEYS may
    differ. Raises UsageError naming every difference.
    """
    ignored = DATA_KEYS if accept_changed_data else ()
    keys = sorted(saved.keys() | current.keys())
    differing = [key for key in keys if saved.get(key) != current.get(key) and key not in ignored]
    if not differing:
        return
    listed = "; ".join(f"{key} was {_shown(saved, key)}, now {_shown(current, key)}" for key in differing)
    advice = "restore them to continue"
    if differing == ["data_set.resizing"]:
        raise UsageError(
            f"{origin} was begun by an earlier version, which resized frames by other arithmetic (up to one grey level "
            "apart); finish it with that version, or give another out for a new run"
        )
    if set(differing) <= set(DATA_KEYS):
        advice = "--set accept_changed_data=true to continue on other data"
    raise UsageError(
        f"{origin} belongs to a run with other settings ({listed}); give another out for a new run, or {advice}"
    )


def _read_values(path: Path, location: str | Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} does not match its checksum")
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        raise DamagedCheckpointError(f"{location} is damaged or no checkpoint ({one_line(error)[:200]})") from None


def _require_types(checkpoint: Checkpoint) -> None:
    step: Any = checkpoint.step
    if not isinstance(step, int) or step < 0:
        raise ValueError(f"its step is {step!r}")
    for name in ("model", "optimizer", "identity", "interval"):
        value = getattr(checkpoint, name)
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ValueError(f"its {name} is not a mapping with names")


def _save_to(file: Any, values: dict[str, Any]) -> None:
    """`torch.save` that raises OSError for a full disk."""
    try:
        torch.save(values, file)
    except RuntimeError as error:  # the zip writer hides the OSError of the write
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        raise cause or error from None


def _shown(identity: Mapping[str, Any], key: str) -> str:
    if key not in identity:
        return "not set"
    text = repr(identity[key])
    return text if len(text) <= 60 else f"{text[:12]}..."
