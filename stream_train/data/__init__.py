"""From shards to batches. This module chooses the reader: indexed or sequential."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from shardify.errors import UsageError
from stream_train.data.config import DataConfig, SequentialReaderConfig

if TYPE_CHECKING:
    from shardify.arrays import IntArray
    from stream_train.data.loader import ClipStream
    from stream_train.data.plans import DrawClips
    from stream_train.data.reader import ShardSet
    from stream_train.data.sequential import SequentialClipStream, TarSet

DataSet: TypeAlias = "ShardSet | TarSet"
"""Both have location, split, classes, num_samples, fingerprint, geometry and description."""


def open_data(location: str | Path, split: str | None, config: DataConfig) -> DataSet:
    """Open the samples to train on with the config's reader.

    Raises:
        UsageError: if the data set or split does not exist, or the config does not fit it.
        WorkError: if the data set is damaged.
    """
    if isinstance(config.reader, SequentialReaderConfig):
        from stream_train.data.sequential import open_tar_set

        return open_tar_set(location, split, config)
    from stream_train.data.reader import open_shard_set

    return open_shard_set(location, split, config)


def reading_line(data: DataSet) -> str:
    """A line that tells the user what is read and how."""
    split = f"split {data.split}" if data.split else "all samples"
    return f"reading {data.location}, {split}: {data.num_samples:,} videos in {data.description}"


def build_stream(
    data: DataSet,
    config: DataConfig,
    draw: DrawClips,
    *,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    start_sample: int = 0,
    num_batches: int,
    positions: IntArray | None = None,
    min_frames: int = 1,
) -> ClipStream | SequentialClipStream:
    """This rank's batches; see `stream_train.data.loader.ClipStream` for the arguments.

    The sequential reader learns a video's length only when it reads it, and then skips those below `min_frames`; for
    the indexed reader, `positions` leaves them out.
    """
    from stream_train.data.reader import ShardSet

    share = {"seed": seed, "rank": rank, "world_size": world_size, "start_sample": start_sample}
    if isinstance(data, ShardSet):
        from stream_train.data.loader import ClipStream

        return ClipStream(data, config, draw, num_batches=num_batches, positions=positions, **share)
    if positions is not None:
        raise UsageError("only the indexed reader can leave samples out; set data.reader.kind to indexed")
    from stream_train.data.sequential import SequentialClipStream

    return SequentialClipStream(data, config, draw, num_batches=num_batches, min_frames=min_frames, **share)
