"""One planned shard -> tar, index and record, committed as three whole objects.

A :class:`ShardTask` holds everything that affects a shard's bytes, so any engine can write it on any machine. The
record (`shard-NNNNNN.json`) is written last: a shard without a record does not exist.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from shardify.build.plan import PlannedShard
from shardify.build.sources import open_videos, size_of
from shardify.catalogs.base import Video
from shardify.frames.decoding import Frames, VideoError, decode_video
from shardify.frames.ffmpeg_command import FramesConfig
from shardify.frames.memory_file import MemoryFile
from shardify.shards.format import MANIFEST_NAME, NO_LABEL, shard_name
from shardify.shards.index import TAR_BLOCK_BYTES, Packing, SampleEntry, ShardIndex
from shardify.shards.record import Reject, ShardRecord, Short, dump_json
from shardify.storage import open_store
from shardify.storage.folder_store import file_sha256
from shardify.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The source of the videos, the packing, and the store of the shards."""

    root: str
    """Folder or URL from which the videos' paths start."""
    classes: tuple[str, ...]
    location: str
    """The store to write to."""
    frames: FramesConfig
    packing: Packing
    min_frames: int


@dataclass(frozen=True, kw_only=True)
class ShardTask(Recipe):
    """A shard to write; picklable, for any process."""

    shard: PlannedShard

    def write(self, report: Report) -> ShardRecord:
        """Decode a shard's videos, pack them, commit the shard; returns its record.

        `report` is called once per video, in order. If it raises, nothing is committed. Raises WorkError if the disk is
        full, OSError if the store cannot be written.
        """
        shard, store = self.shard, open_store(self.location)
        paths = [video.path for video in shard.videos]
        with (
            closing(open_videos(self.root, paths)) as sources,
            OpenShard(self, store, shard.number, shard.splits) as open_shard,
        ):
            for video, source in zip(shard.videos, sources, strict=True):
                open_shard.source_bytes.append(size_of(source))
                report(open_shard.add_best(video, self._decode(video, source)))
            record = open_shard.put()
        write_record(store, record)
        return record

    def _decode(self, video: Video, source: Path | MemoryFile | VideoError) -> dict[str, Frames | VideoError]:
        """Path -> result of a video's files, in order, up to the first that is whole."""
        results = {video.path: decode_source(source, self)}
        for path in video.copies:
            if any(map(_is_whole, results.values())):
                break
            with closing(open_videos(self.root, [path])) as copies:
                results[path] = decode_source(next(copies), self)
        return results


@dataclass(frozen=True, kw_only=True)
class VideoDone:
    """One finished video, for the progress line; a rejected video has 0 frames."""

    num_frames: int


Report = Callable[[VideoDone], None]
TOO_SHORT = "but min_frames is"
"""Part of the reason why a video with too few frames is rejected."""


def write_record(store: Store, record: ShardRecord) -> None:
    """Commit a shard whose tar and index are in the store; an existing record is equal and stays."""
    store.create(shard_name(record.number, "json"), record.to_json())


def decode_source(source: Path | MemoryFile | VideoError, recipe: Recipe) -> Frames | VideoError:
    """A video's frames, or the error that rejects it; frees the video's memory."""
    if isinstance(source, VideoError):
        return source
    try:
        frames = decode_video(source, recipe.frames)
    except VideoError as error:
        return error
    finally:
        if isinstance(source, MemoryFile):
            source.close()
    if len(frames.jpegs) < recipe.min_frames:
        noun = "frame" if len(frames.jpegs) == 1 else "frames"
        reason = f"{len(frames.jpegs)} {noun}, {TOO_SHORT} {recipe.min_frames}"
        return VideoError(status="rejected", reason=reason, ffmpeg="; ".join(frames.warnings))
    return frames


def _num_frames(result: Frames | VideoError) -> int:
    return len(result.jpegs) if isinstance(result, Frames) else 0


def _reject(video: Video, result: Frames | VideoError) -> Reject:
    """The ledger line of a file that is not used."""
    if isinstance(result, Frames):
        result = VideoError(status="rejected", reason=f"{len(result.jpegs)} of {result.num_announced} frames")
    return Reject(
        key=video.key,
        path=video.path,
        splits=video.splits,
        status=result.status,
        reason=result.reason,
        ffmpeg=result.ffmpeg,
    )


def _is_whole(result: Frames | VideoError) -> bool:
    return isinstance(result, Frames) and not result.is_short


class OpenShard:
    """A shard in progress, in a temporary file; the end of the context deletes this file."""

    def __init__(self, recipe: Recipe, store: Store, number: int, splits: tuple[str, ...]) -> None:
        self.number = number
        self.num_videos = 0
        """Added so far, including rejected ones."""
        self.source_bytes: list[int] = []
        """Sizes of the videos' files so far, if they are files."""
        self._recipe = recipe
        self._store = store
        self._splits = splits
        self._rejected: list[Reject] = []
        self._short: list[Short] = []
        self._broken: list[Reject] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._path = stack.enter_context(self._store.temporary(shard_name(self.number, "tar")))
            self._tar = stack.enter_context(ShardTar(self._path, self._recipe.packing))
            self._closing = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.__exit__(kind, error, traceback)

    def add_best(self, video: Video, results: Mapping[str, Frames | VideoError]) -> VideoDone:
        """Append a video from the one of its files that is whole, or has the most frames; note the others as broken."""
        best = max(results, key=lambda path: (_is_whole(results[path]), _num_frames(results[path])))
        others = [_reject(replace(video, path=path), result) for path, result in results.items() if path != best]
        self._broken.extend(others)
        return self.add(replace(video, path=best), results[best])

    def add(self, video: Video, result: Frames | VideoError) -> VideoDone:
        """Append a video, or note the reason why it is rejected."""
        self.num_videos += 1
        if isinstance(result, VideoError):
            self._rejected.append(_reject(video, result))
            return VideoDone(num_frames=0)
        if result.is_short:
            self._short.append(
                Short(
                    key=video.key,
                    path=video.path,
                    splits=video.splits,
                    num_frames=len(result.jpegs),
                    num_announced=result.num_announced,
                )
            )
        self._tar.add(video, result, _sample_json(video, result, self._recipe))
        return VideoDone(num_frames=len(result.jpegs))

    def put(self) -> ShardRecord:
        """Write tar and index to the store; :func:`write_record` then commits the shard.

        If the store holds the same shard, nothing is written. Otherwise the old record is deleted first, then the
        manifest: a process that writes a manifest reads the records again afterwards and notices the change.
        Raises WorkError if the disk is full.
        """
        self._tar.close()
        number, index = self.number, self._tar.index()
        tar_name, index_name, record_name = (shard_name(number, part) for part in ("tar", "idx.npz", "json"))
        index_data = index.to_bytes() if len(index) else b""
        record = ShardRecord(
            number=number,
            num_samples=len(index),
            num_frames=int(index.num_frames.sum()),
            tar_bytes=self._path.stat().st_size if len(index) else 0,
            tar_sha256=file_sha256(self._path) if len(index) else "",
            index_bytes=len(index_data),
            index_sha256=hashlib.sha256(index_data).hexdigest() if len(index) else "",
            splits=self._splits,
            rejected=tuple(self._rejected),
            short=tuple(self._short),
            broken=tuple(self._broken),
            source_bytes=tuple(self.source_bytes),
        )
        if self._holds(record):
            return record
        self._store.delete(record_name)
        self._store.delete(MANIFEST_NAME)
        if len(index):
            self._store.write_file(tar_name, self._path)
            self._store.write(index_name, index_data)
        else:
            self._store.delete(tar_name)
            self._store.delete(index_name)
        return record

    def _holds(self, record: ShardRecord) -> bool:
        """Whether the store has this record, and a tar and an index of its sizes."""
        number, samples = record.number, record.num_samples
        sizes = {shard_name(number, "tar"): record.tar_bytes, shard_name(number, "idx.npz"): record.index_bytes}
        try:
            same = self._store.read(shard_name(number, "json")) == record.to_json()
            return same and (not samples or all(self._store.size(name) == size for name, size in sizes.items()))
        except FileNotFoundError:
            return False


class ShardTar:
    """A tar of samples, byte-identical for equal samples, and its index.

    `tarfile` writes it in the plain USTAR format, with one header block for each member. WebDataset's writer would load
    torch into every worker.
    """

    def __init__(self, path: Path, packing: Packing) -> None:
        self.packing = packing
        self._entries: list[SampleEntry] = []
        self._file = path.open("wb")
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with closing(self._file):
            if kind is None:
                self.close()

    def close(self) -> None:
        """Write the end of the tar and flush it to the file."""
        self._tar.close()
        self._file.close()

    def add(self, video: Video, frames: Frames, json: bytes) -> None:
        """Append one video: `KEY.cls`, `KEY.json` and its frames."""
        self._add_member(f"{video.key}.cls", str(video.label).encode())
        self._add_member(f"{video.key}.json", json)
        if self.packing == "mjpg":
            offset = self._add_member(f"{video.key}.mjpg", b"".join(frames.jpegs))
        else:
            offsets = [self._add_member(f"{video.key}.{i:06d}.jpg", jpeg) for i, jpeg in enumerate(frames.jpegs)]
            offset = offsets[0]
        self._entries.append(
            SampleEntry(
                key=video.key,
                label=video.label,
                fps=frames.fps,
                offset=offset,
                frame_bytes=np.array([len(jpeg) for jpeg in frames.jpegs], dtype=np.int64),
                frame_crc32=np.array([zlib.crc32(jpeg) for jpeg in frames.jpegs], dtype=np.uint32),
            )
        )

    def index(self) -> ShardIndex:
        """The index of all samples so far."""
        return ShardIndex.from_samples(self.packing, self._entries)

    def _add_member(self, name: str, data: bytes) -> int:
        """Append a member; returns the byte offset of its data."""
        member = tarfile.TarInfo(name)
        member.size = len(data)
        member.mode = 0o444
        offset = self._file.tell() + TAR_BLOCK_BYTES
        self._tar.addfile(member, io.BytesIO(data))
        return offset


def _sample_json(video: Video, frames: Frames, recipe: Recipe) -> bytes:
    """The `KEY.json` member: the facts about the video, and the sizes that separate its frames."""
    return dump_json(
        {
            "path": video.path,
            "label": video.label,
            "label_name": recipe.classes[video.label] if video.label != NO_LABEL else None,
            "num_frames": len(frames.jpegs),
            "frame_bytes": [len(jpeg) for jpeg in frames.jpegs],
            "frame_crc32": [zlib.crc32(jpeg) for jpeg in frames.jpegs],
            "width": recipe.frames.width,
            "height": recipe.frames.height,
            "fps": frames.fps,
            "source_width": frames.source_width,
            "source_height": frames.source_height,
            "codec": frames.codec,
            "duration_seconds": frames.duration_seconds,
            "warnings": frames.warnings,
        }
    )
