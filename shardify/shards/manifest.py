"""The manifest of a data set, `manifest.json`: start-up and the order of samples need nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from shardify.errors import UsageError, WorkError
from shardify.shards.format import FORMAT_VERSION, MANIFEST_NAME, shard_name
from shardify.shards.index import Packing
from shardify.shards.record import ShardRecord, dump_json, require, require_names
from shardify.shards.seen import Seen
from shardify.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A whole data set; the file is WebDataset's shard index (`wids-shard-index-v1`) with our fields added."""

    name: str
    shards: tuple[ShardRecord, ...]
    """Shards with at least one sample, by number, without their ledger lines."""
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    height: int
    width: int
    packing: Packing
    min_frames: int
    ffmpeg_version: str
    ffmpeg_filter: str
    build: dict[str, Any] = field(default_factory=dict)
    """The settings that affect the bytes."""
    num_rejected: int = 0
    num_missing: int = 0
    num_short: int = 0
    """Samples with far fewer frames than their videos announce."""
    seen: Seen | None = None
    """The account of everything below the source; None in data sets of earlier versions."""

    def __post_init__(self) -> None:
        require(self, str, "name", "ffmpeg_version", "ffmpeg_filter")
        require(self, int, "height", "width", "min_frames", "num_rejected", "num_missing", "num_short")
        require_names(self, "classes", "splits")
        if self.packing not in get_args(Packing):
            raise ValueError(f"packing is {self.packing!r}")

    def shards_of(self, split: str | None) -> tuple[ShardRecord, ...]:
        """The split's shards, in order; None means all. Raises UsageError if the split is unknown or has no samples."""
        if split is None:
            chosen = self.shards
        elif split in self.splits:
            chosen = tuple(shard for shard in self.shards if split in shard.splits)
        else:
            undivided = "none: train on all of it (split: null), or build it from a CSV list with splits"
            allowed = ", ".join(self.splits) or undivided
            raise UsageError(f"data set {self.name} has no split {split!r}; its splits: {allowed}")
        if not chosen:
            raise UsageError(f"data set {self.name} holds no samples" + (f" of split {split!r}" if split else ""))
        return chosen

    def fingerprint(self, split: str | None) -> str:
        """sha256 over the ordered tar hashes of the split: identifies the data in any location."""
        return hashlib.sha256("".join(shard.tar_sha256 for shard in self.shards_of(split)).encode()).hexdigest()

    def to_json(self) -> bytes:
        shardlist = [
            {
                "url": shard_name(shard.number, "tar"),
                "nsamples": shard.num_samples,
                "filesize": shard.tar_bytes,
                "sha256": shard.tar_sha256,
                "number": shard.number,
                "num_frames": shard.num_frames,
                "splits": shard.splits,
                "index": shard_name(shard.number, "idx.npz"),
                "index_filesize": shard.index_bytes,
                "index_sha256": shard.index_sha256,
            }
            for shard in self.shards
        ]
        own = {key: value for key, value in asdict(self).items() if key != "shards" and value is not None}
        if not self.num_short:  # as in earlier versions
            del own["num_short"]
        counts = {
            split: sum(shard.num_samples for shard in self.shards if split in shard.splits) for split in self.splits
        }
        return dump_json(
            {
                "__kind__": "wids-shard-index-v1",
                "wids_version": 1,
                "format_version": FORMAT_VERSION,
                **own,
                "num_samples": sum(shard.num_samples for shard in self.shards),
                "num_frames": sum(shard.num_frames for shard in self.shards),
                "num_samples_by_split": counts,
                "shardlist": shardlist,
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, data: bytes, origin: str = MANIFEST_NAME) -> Manifest:
        """Raises WorkError if the bytes are not a manifest that this program reads."""
        try:
            values = json.loads(data)
            version = values["format_version"]
            if version == FORMAT_VERSION:
                return cls._from_values(values)
        except (ValueError, TypeError, KeyError) as error:
            raise WorkError(
                f"{origin} is damaged ({type(error).__name__}: {error}); run `shardify build` again"
            ) from None
        raise WorkError(f"{origin} has format version {version}, but this program reads {FORMAT_VERSION}")

    @classmethod
    def _from_values(cls, values: dict[str, Any]) -> Manifest:
        shards = tuple(
            ShardRecord(
                number=entry["number"],
                num_samples=entry["nsamples"],
                num_frames=entry["num_frames"],
                tar_bytes=entry["filesize"],
                tar_sha256=entry["sha256"],
                index_bytes=entry["index_filesize"],
                index_sha256=entry["index_sha256"],
                splits=tuple(entry["splits"]),
            )
            for entry in values["shardlist"]
        )
        names = [name for name in cls.__dataclass_fields__ if name not in ("shards", "seen")]
        values = {"num_short": 0} | values  # earlier versions lack it
        own: dict[str, Any] = {name: tuple(v) if isinstance(v := values[name], list) else v for name in names}
        seen = Seen.from_json(said) if (said := values.get("seen")) else None
        return cls(shards=shards, seen=seen, **own)


def read_manifest(store: Store) -> Manifest:
    """The manifest of a data set. Raises UsageError if there is none (yet), WorkError if it is damaged."""
    try:
        data = store.read(MANIFEST_NAME)
    except FileNotFoundError:
        if store.location.endswith((f"/{MANIFEST_NAME}", ".tar")):
            raise UsageError(f"{store.location} names a file; give the folder or URL that holds the data set") from None
        raise UsageError(
            f"{store.location} holds no {MANIFEST_NAME}: it is not a data set, or its build has not finished; "
            "run `shardify build` (again)"
        ) from None
    return Manifest.from_json(data, f"{store.location}/{MANIFEST_NAME}")
