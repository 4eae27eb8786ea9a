"""THE shard contract, format version 1: names, the per-shard index, its record, and the data set's manifest.

A data set is a store (usually a folder) that holds

    manifest.json              what the data set is; start-up and the order of samples need nothing else
    shard-NNNNNN.tar           per video KEY.cls, KEY.json and KEY.mjpg (packing "mjpg"; the JPEG frames one after the
                               other) or KEY.000000.jpg ... (packing "frames")
    shard-NNNNNN.idx.npz       per sample key, label, fps, offset; per frame size and crc32
    shard-NNNNNN.json          the shard's manifest entry and its ledger lines; written last, it commits the shard
    rejected.jsonl             videos that could not be used, and why
    missing.jsonl              videos that a list names but that were not there
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from shardify.errors import DamageError, UsageError, WorkError
from shardify.shards.record import Reject, ShardRecord, dump_json
from shardify.storage import Store

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "MISSING_NAME",
    "REJECTED_NAME",
    "TAR_BLOCK_BYTES",
    "Manifest",
    "Packing",
    "Reject",
    "SampleEntry",
    "ShardIndex",
    "ShardPart",
    "ShardRecord",
    "dump_json",
    "read_index",
    "read_manifest",
    "shard_name",
]

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
REJECTED_NAME = "rejected.jsonl"
MISSING_NAME = "missing.jsonl"

TAR_BLOCK_BYTES = 512

_parsing = threading.Lock()
"""NumPy reads array headers with `ast.literal_eval`, which may fail in CPython 3.11 in several threads at once."""

Packing = Literal["mjpg", "frames"]
ShardPart = Literal["tar", "idx.npz", "json"]


def shard_name(number: int, part: ShardPart) -> str:
    """`shard-000012.tar` and its siblings."""
    return f"shard-{number:06d}.{part}"


@dataclass(frozen=True, kw_only=True)
class SampleEntry:
    """One video's line in a shard's index."""

    key: str
    label: int
    fps: float
    """Frames a second of the source; 0 if ffmpeg names none."""
    offset: int
    """Byte offset in the tar of the first frame's JPEG."""
    frame_bytes: npt.NDArray[np.int64]
    """int64 (num_frames,) JPEG sizes."""
    frame_crc32: npt.NDArray[np.uint32]
    """uint32 (num_frames,) checksums of the JPEGs."""

    def __post_init__(self) -> None:
        if self.frame_bytes.shape != self.frame_crc32.shape or self.frame_bytes.ndim != 1:
            raise ValueError(f"{self.key}: {self.frame_bytes.shape} frame sizes but {self.frame_crc32.shape} checksums")

    @property
    def num_frames(self) -> int:
        return len(self.frame_bytes)

    def frame_offsets(self, packing: Packing) -> npt.NDArray[np.int64]:
        """int64 (num_frames,) byte offsets of the JPEGs in the tar.

        Frames of one member follow each other directly; frame members are padded to tar blocks and have a header each.
        """
        strides = self.frame_bytes
        if packing == "frames":
            strides = -(-strides // TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES + TAR_BLOCK_BYTES
        offsets = np.empty(self.num_frames, dtype=np.int64)
        offsets[:1] = self.offset
        np.cumsum(strides[:-1], out=offsets[1:])
        offsets[1:] += self.offset
        return offsets

    def check(self, frame: int, jpeg: bytes | memoryview, start: int, origin: str) -> None:
        """Raise DamageError unless the bytes read for a frame, from byte `start` of tar `origin`, match its crc32."""
        if zlib.crc32(jpeg) != self.frame_crc32[frame]:
            raise DamageError(
                f"{origin}: frame {frame} of sample {self.key} (bytes {start} to {start + len(jpeg)}) does not match "
                "its checksum; the shard is damaged: delete its .json and run `shardify build` again, or fetch it again"
            )


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """Where every frame of a shard lies, as flat arrays (S samples, F frames in all)."""

    packing: Packing
    keys: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    """int64 (S,), NO_LABEL where there is none."""
    fps: npt.NDArray[np.float64]
    """float64 (S,)"""
    offsets: npt.NDArray[np.int64]
    """int64 (S,) byte offset of each sample's first frame."""
    num_frames: npt.NDArray[np.int64]
    """int64 (S,)"""
    frame_bytes: npt.NDArray[np.int64]
    """int64 (F,)"""
    frame_crc32: npt.NDArray[np.uint32]
    """uint32 (F,)"""

    def __post_init__(self) -> None:
        samples = {len(self.keys), len(self.labels), len(self.fps), len(self.offsets), len(self.num_frames)}
        frames = {int(self.num_frames.sum()), len(self.frame_bytes), len(self.frame_crc32)}
        if len(samples) != 1 or len(frames) != 1:
            raise ValueError(f"index arrays disagree: lengths {sorted(samples)} per sample, {sorted(frames)} per frame")

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, i: int) -> SampleEntry:
        if not 0 <= i < len(self):
            raise IndexError(f"sample {i} of an index with {len(self)}")
        first = int(self.num_frames[:i].sum())
        frames = slice(first, first + int(self.num_frames[i]))
        return SampleEntry(
            key=self.keys[i],
            label=int(self.labels[i]),
            fps=float(self.fps[i]),
            offset=int(self.offsets[i]),
            frame_bytes=self.frame_bytes[frames],
            frame_crc32=self.frame_crc32[frames],
        )

    def __iter__(self) -> Iterator[SampleEntry]:
        return (self[i] for i in range(len(self)))

    @classmethod
    def from_samples(cls, packing: Packing, samples: Sequence[SampleEntry]) -> ShardIndex:
        """Collect samples, in tar order."""
        return cls(
            packing=packing,
            keys=tuple(s.key for s in samples),
            labels=np.array([s.label for s in samples], dtype=np.int64),
            fps=np.array([s.fps for s in samples], dtype=np.float64),
            offsets=np.array([s.offset for s in samples], dtype=np.int64),
            num_frames=np.array([s.num_frames for s in samples], dtype=np.int64),
            frame_bytes=np.concatenate([np.empty(0, np.int64), *(s.frame_bytes for s in samples)]),
            frame_crc32=np.concatenate([np.empty(0, np.uint32), *(s.frame_crc32 for s in samples)]),
        )

    def to_bytes(self) -> bytes:
        """An npz; equal indexes give equal bytes (uncompressed: builds of zlib differ)."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            format_version=np.int64(FORMAT_VERSION),
            packing=np.array(self.packing.encode()),
            keys=np.array([key.encode("ascii") for key in self.keys], dtype=np.bytes_),
            labels=self.labels,
            fps=self.fps,
            offsets=self.offsets,
            num_frames=self.num_frames.astype(np.int32),
            frame_bytes=self.frame_bytes.astype(np.int32),
            frame_crc32=self.frame_crc32,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, origin: str = "the index") -> ShardIndex:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            WorkError: if the bytes are not an index of a format version this program reads.
        """
        try:
            with _parsing, np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            version = int(arrays["format_version"])
            if version == FORMAT_VERSION:
                return cls(
                    packing="frames" if arrays["packing"].item() == b"frames" else "mjpg",
                    keys=tuple(bytes(key).decode("ascii") for key in arrays["keys"]),
                    labels=arrays["labels"],
                    fps=arrays["fps"],
                    offsets=arrays["offsets"],
                    num_frames=arrays["num_frames"].astype(np.int64),
                    frame_bytes=arrays["frame_bytes"].astype(np.int64),
                    frame_crc32=arrays["frame_crc32"],
                )
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise WorkError(f"{origin} is damaged ({error}); run `shardify verify`, then rebuild that shard") from None
        raise WorkError(f"{origin} has format version {version}, but this program reads {FORMAT_VERSION}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A whole data set. Written as WebDataset's shard index (`wids-shard-index-v1`) with our fields beside it."""

    name: str
    shards: tuple[ShardRecord, ...]
    """Shards with at least one sample, by number; their `rejected` is not part of the manifest."""
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    height: int
    width: int
    packing: Packing
    min_frames: int
    ffmpeg_version: str
    ffmpeg_filter: str
    build: dict[str, Any] = field(default_factory=dict)
    """The settings that shaped the bytes."""
    num_rejected: int = 0
    num_missing: int = 0

    def shards_of(self, split: str | None) -> tuple[ShardRecord, ...]:
        """The split's shards, in order; all of them for None.

        Raises:
            UsageError: if the data set has no such split, or no samples in it.
        """
        if split is None:
            chosen = self.shards
        elif split in self.splits:
            chosen = tuple(shard for shard in self.shards if split in shard.splits)
        else:
            allowed = ", ".join(self.splits) or "none: it is one undivided set, leave the split out (null)"
            raise UsageError(f"data set {self.name} has no split {split!r}; its splits: {allowed}")
        if not chosen:
            raise UsageError(f"data set {self.name} holds no samples" + (f" of split {split!r}" if split else ""))
        return chosen

    def fingerprint(self, split: str | None) -> str:
        """sha256 over the ordered tar hashes of the split: the identity of the data, wherever it lies."""
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
        own = {key: value for key, value in asdict(self).items() if key != "shards"}
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
        names = [name for name in cls.__dataclass_fields__ if name != "shards"]
        own: dict[str, Any] = {name: tuple(v) if isinstance(v := values[name], list) else v for name in names}
        return cls(shards=shards, **own)


def read_manifest(store: Store) -> Manifest:
    """The manifest of a data set.

    Raises:
        UsageError: if the store holds no manifest (not a data set, or a build that has not finished).
        WorkError: if it is damaged.
    """
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


def read_index(store: Store, shard: ShardRecord) -> ShardIndex:
    """A shard's index, checked against the manifest.

    Raises:
        WorkError: if it is missing, damaged, or not the one the manifest names.
    """
    name = shard_name(shard.number, "idx.npz")
    try:
        data = store.read(name)
    except FileNotFoundError:
        raise WorkError(f"{store.location}/{name} is missing; run `shardify build` again") from None
    if hashlib.sha256(data).hexdigest() != shard.index_sha256:
        raise DamageError(f"{store.location}/{name} differs from the one in {MANIFEST_NAME}; run `shardify verify`")
    index = ShardIndex.from_bytes(data, f"{store.location}/{name}")
    if len(index) != shard.num_samples:
        raise WorkError(f"{store.location}/{name} lists {len(index)} samples, the manifest {shard.num_samples}")
    return index
