"""Data sets of numbered frames for tests, through the real shard writer but without any video."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import simplejpeg

from shardify.build.shard_writer import ShardTar
from shardify.catalogs.base import Video
from shardify.frames.decoding import Frames
from shardify.shards.format import shard_name
from shardify.shards.index import Packing
from shardify.shards.manifest import Manifest
from shardify.shards.record import ShardRecord, dump_json
from shardify.storage import open_store


def numbered_jpeg(video: int, frame: int, height: int = 48, width: int = 64) -> bytes:
    """A JPEG whose pixels depend on video, frame and place, so that any mix-up of frames or crops shows."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack(
        [
            (rows * 3 + frame * 7 + video * 31) % 256,
            (columns * 2 + frame * 13) % 256,
            (rows + columns + video * 17 + frame * 3) % 256,
        ],
        axis=-1,
    )
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels, dtype=np.uint8), quality=90, colorspace="RGB"))


def write_dataset(
    folder: Path,
    shards: Sequence[Sequence[int]],
    *,
    packing: Packing = "mjpg",
    splits: Sequence[Sequence[str]] | None = None,
    num_classes: int = 2,
    keys: Sequence[str] | None = None,
    jpeg: Callable[[int, int], bytes] = numbered_jpeg,
) -> Path:
    """A data set of numbered JPEGs, through the real shard writer, without any video.

    Args:
        folder: where to.
        shards: for each shard, the lengths of its videos.
        packing: of the frames.
        splits: for each shard, its splits; default: all in "train1".
        num_classes: labels run through these.
        keys: of all videos; default: video0000, video0001 ...
        jpeg: the picture of a video's number and a frame.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = open_store(folder)
    classes = tuple(f"class{i}" for i in range(num_classes))
    records, video_number = [], 0
    for number, lengths in enumerate(shards):
        path = folder / shard_name(number, "tar")
        with ShardTar(path, packing) as tar:
            for length in lengths:
                label = video_number % num_classes
                key = keys[video_number] if keys else f"video{video_number:04d}"
                video = Video(key=key, path=f"v{video_number}.avi", label=label, splits=())
                frames = Frames(
                    jpegs=tuple(jpeg(video_number, frame) for frame in range(length)),
                    fps=25.0,
                    source_width=64,
                    source_height=48,
                    codec="none",
                    duration_seconds=length / 25,
                    warnings=(),
                )
                checksums = [zlib.crc32(jpeg) for jpeg in frames.jpegs]
                tar.add(video, frames, dump_json({"frame_crc32": checksums}))
                video_number += 1
        index = tar.index().to_bytes()
        store.write(shard_name(number, "idx.npz"), index)
        record = ShardRecord(
            number=number,
            num_samples=len(lengths),
            num_frames=sum(lengths),
            tar_bytes=path.stat().st_size,
            tar_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            index_bytes=len(index),
            index_sha256=hashlib.sha256(index).hexdigest(),
            splits=tuple(splits[number]) if splits else ("train1",),
        )
        store.write(shard_name(number, "json"), record.to_json())
        records.append(record)
    manifest = Manifest(
        name=folder.name,
        shards=tuple(records),
        classes=classes,
        splits=tuple(sorted({split for record in records for split in record.splits})),
        height=48,
        width=64,
        packing=packing,
        min_frames=1,
        ffmpeg_version="none",
        ffmpeg_filter="none",
    )
    store.write("manifest.json", manifest.to_json())
    return folder
