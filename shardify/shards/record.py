"""The record of a shard, `shard-NNNNNN.json`: its manifest entry and its ledger lines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from shardify.errors import WorkError, one_line
from shardify.shards.format import shard_name
from shardify.storage.store import Store

RejectStatus = Literal["rejected", "transient"]
RECORD_THREADS = 16
"""Number of records that are read at the same time; an object store answers each read slowly."""


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A ledger line: a video that is in no shard, or one of several files of a video, which was not used."""

    key: str
    path: str
    splits: tuple[str, ...]
    status: RejectStatus
    """`transient` (a time limit, a read error): `--retry-failed` may succeed."""
    reason: str
    ffmpeg: str = ""
    """ffmpeg's own messages."""

    def __post_init__(self) -> None:
        require(self, str, "key", "path", "reason", "ffmpeg")
        require_names(self, "splits")
        if self.status not in get_args(RejectStatus):
            raise ValueError(f"status is {self.status!r}")


@dataclass(frozen=True, kw_only=True)
class Short:
    """A ledger line: a sample with far fewer frames than its video announces, like half a download."""

    key: str
    path: str
    splits: tuple[str, ...]
    num_frames: int
    num_announced: int
    """From the container's duration and frame rate."""

    def __post_init__(self) -> None:
        require(self, str, "key", "path")
        require(self, int, "num_frames", "num_announced")
        require_names(self, "splits")


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """A shard's record. If all its videos were rejected, num_samples is 0 and there is neither tar nor index."""

    number: int
    num_samples: int
    num_frames: int
    tar_bytes: int
    tar_sha256: str
    index_bytes: int
    index_sha256: str
    splits: tuple[str, ...]
    """The splits of the shard's samples; all its samples have the same."""
    rejected: tuple[Reject, ...] = ()
    short: tuple[Short, ...] = ()
    """Samples that lack many of the frames that their videos announce."""
    broken: tuple[Reject, ...] = ()
    """Broken or short files of videos, of which another file was used or is in `rejected`."""
    source_bytes: tuple[int, ...] = ()
    """Sizes of the planned videos' files when they were read, in order; 0: the file was gone. Empty in shards of
    archives and of earlier versions."""

    def __post_init__(self) -> None:
        require(self, int, "number", "num_samples", "num_frames", "tar_bytes", "index_bytes")
        require(self, str, "tar_sha256", "index_sha256")
        require_names(self, "splits")
        if any(type(size) is not int for size in self.source_bytes):
            raise TypeError(f"source_bytes is {self.source_bytes!r}")

    def in_manifest(self) -> ShardRecord:
        """What the manifest holds of it."""
        return replace(self, rejected=(), short=(), broken=(), source_bytes=())

    def to_json(self) -> bytes:
        values = asdict(self)
        for name in ("short", "broken", "source_bytes"):  # as in earlier versions
            if not values[name]:
                del values[name]
        return dump_json(values)

    @classmethod
    def from_json(cls, data: bytes, origin: str = "the shard's record") -> ShardRecord:
        """Raises WorkError if the bytes are not such a record."""
        try:
            values = json.loads(data, object_hook=_with_tuples)
            rejected = tuple(Reject(**line) for line in values["rejected"])
            short = tuple(Short(**line) for line in values.get("short", ()))
            broken = tuple(Reject(**line) for line in values.get("broken", ()))
            return cls(**values | {"rejected": rejected, "short": short, "broken": broken})
        except (ValueError, TypeError, KeyError) as error:
            reason = one_line(error)
            raise WorkError(f"{origin} is damaged ({reason}); delete it and run `shardify build` again") from None


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def require(record: object, kind: type[int | str], *names: str) -> None:
    """Raise TypeError unless the fields are strings, or whole numbers of at least 0."""
    for name in names:
        value = getattr(record, name)
        if type(value) is not kind or (isinstance(value, int) and value < 0):
            raise TypeError(f"{name} is {value!r}")


def require_names(record: object, *fields: str) -> None:
    """Raise TypeError unless the fields are tuples of strings."""
    for name in fields:
        value = getattr(record, name)
        if not (isinstance(value, tuple) and all(isinstance(part, str) for part in value)):
            raise TypeError(f"{name} is {value!r}")


def dump_json(values: Any, indent: int | None = None) -> bytes:
    """JSON with sorted keys, fixed spaces and a final newline: equal values give equal bytes."""
    separators = (",", ":") if indent is None else (",", ": ")
    return (json.dumps(values, sort_keys=True, indent=indent, separators=separators) + "\n").encode()


def read_record(store: Store, number: int) -> ShardRecord:
    """One shard's record. Raises FileNotFoundError if there is none, WorkError if it is damaged."""
    name = shard_name(number, "json")
    return ShardRecord.from_json(store.read(name), f"{store.location}/{name}")
