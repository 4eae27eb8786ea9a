"""The index of a shard, `shard-NNNNNN.idx.npz`: per sample key, label, fps and offset, per frame size and crc32."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shardify.arrays import FloatArray, IntArray
from shardify.errors import DamageError, WorkError
from shardify.shards.format import FORMAT_VERSION, MANIFEST_NAME, shard_name
from shardify.shards.record import ShardRecord
from shardify.storage.store import Store

TAR_BLOCK_BYTES = 512
MAX_TAR_PADDING_BYTES = 1 << 20
"""Zeros behind a tar's end mark. Programs pad to 10 KiB, or up to 1 MiB; more is space that was never written."""
_parsing = threading.Lock()
"""One thread at a time parses: NumPy reads array headers with `ast.literal_eval`, and in CPython 3.11 parallel calls
may fail (SystemError: AST constructor recursion depth mismatch)."""
Packing = Literal["mjpg", "frames"]


@dataclass(frozen=True, kw_only=True)
class SampleEntry:
    """One video's line in a shard's index."""

    key: str
    label: int
    fps: float
    """Frames per second of the source; 0 if unknown."""
    offset: int
    """Byte offset of the first frame's JPEG in the tar."""
    frame_bytes: IntArray
    """int64 (num_frames,) JPEG sizes."""
    frame_crc32: npt.NDArray[np.uint32]
    """uint32 (num_frames,) checksums of the JPEGs."""

    def __post_init__(self) -> None:
        if self.frame_bytes.shape != self.frame_crc32.shape or self.frame_bytes.ndim != 1:
            raise ValueError(f"{self.key}: {self.frame_bytes.shape} frame sizes but {self.frame_crc32.shape} checksums")

    @property
    def num_frames(self) -> int:
        return len(self.frame_bytes)

    def frame_offsets(self, packing: Packing) -> IntArray:
        """int64 (num_frames,) byte offsets of the JPEGs in the tar; in packing "frames" each JPEG is a tar member."""
        strides = self.frame_bytes
        if packing == "frames":
            strides = -(-strides // TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES + TAR_BLOCK_BYTES
        offsets = np.empty(self.num_frames, dtype=np.int64)
        offsets[:1] = self.offset
        np.cumsum(strides[:-1], out=offsets[1:])
        offsets[1:] += self.offset
        return offsets

    def check(self, frame: int, jpeg: bytes | memoryview, start: int, origin: str) -> None:
        """Raise DamageError unless the bytes of a frame, read from byte `start` of tar `origin`, match its crc32."""
        if zlib.crc32(jpeg) != self.frame_crc32[frame]:
            raise DamageError(
                f"{origin}: frame {frame} of sample {self.key} (bytes {start} to {start + len(jpeg)}) does not match "
                "its checksum; the shard is damaged: delete its .json and run `shardify build` again, or copy it again"
            )


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """The position of every frame of a shard, as flat arrays of S samples and F frames."""

    packing: Packing
    keys: tuple[str, ...]
    labels: IntArray
    """int64 (S,), NO_LABEL for an unlabelled video."""
    fps: FloatArray
    """float64 (S,)"""
    offsets: IntArray
    """int64 (S,) byte offset of each sample's first frame."""
    num_frames: IntArray
    """int64 (S,)"""
    frame_bytes: IntArray
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
        """The index of samples, which come in tar order."""
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
        """Read the result of :meth:`to_bytes`; WorkError if it is damaged or of another format version."""
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
        except (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            # RuntimeError: zips of a kind that Python does not read
            raise WorkError(f"{origin} is damaged ({error}); run `shardify verify`, then rebuild that shard") from None
        raise WorkError(f"{origin} has format version {version}, but this program reads {FORMAT_VERSION}")


def read_index(store: Store, shard: ShardRecord) -> ShardIndex:
    """A shard's index. Raises WorkError if it is missing, damaged, or differs from the manifest."""
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
