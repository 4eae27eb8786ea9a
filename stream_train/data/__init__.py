"""Choosing between the two ways to read: by index, or sequentially with stock WebDataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from shardify.arrays import IntArray
from shardify.errors import UsageError, counted
from shardify.storage import open_store
from stream_train.data.config import DataConfig, SequentialReaderConfig

if TYPE_CHECKING:
    from stream_train.data.fetching import DrawClips
    from stream_train.data.loader import ClipStream
    from stream_train.data.reader import ShardSet
    from stream_train.data.sequential import SequentialClipStream, TarSet

DataSet: TypeAlias = "ShardSet | TarSet"
"""Both have location, split, num_samples, fingerprint and geometry."""

BatchStream: TypeAlias = "ClipStream | SequentialClipStream"


def open_data(location: str | Path, split: str | None, config: DataConfig) -> DataSet:
    """The samples to train on, opened for the configured reader."""
    if config.reader.kind == "sequential":
        from stream_train.data.sequential import open_tar_set

        return open_tar_set(location, split, config.reader)
    from stream_train.data.reader import open_shard_set

    return open_shard_set(location, split)


def reading_line(data: DataSet, config: DataConfig) -> str:
    """What is read and by which way, for the user."""
    from stream_train.data.reader import ShardSet
    from stream_train.data.shard_access import choose_access, open_cache

    of_split = f"{data.location}, {f'split {data.split}' if data.split else 'all samples'}: {data.num_samples:,} videos"
    if not isinstance(data, ShardSet):
        return f"reading {of_split} in {len(data.urls):,} tars, sequentially (stock WebDataset)"
    assert not isinstance(config.reader, SequentialReaderConfig)
    num_bytes = sum(shard.tar_bytes for shard in data.shards)
    access = choose_access(open_store(data.location), data.shards, config.reader)
    cache = open_cache(config.reader)
    why = ""
    if access == "ranged" and config.reader.access == "auto":
        capacity = cache.capacity()
        why = f"; the cache {cache.folder} {f'has room for {_size(capacity)}' if capacity else 'cannot be written'}"
    ways = {
        "local": "local",
        "ranged": f"ranged (only the bytes of the frames that are needed{why})",
        "cached": f"cached in {cache.folder} (at most {config.reader.cache.max_gigabytes:g} GB)",
    }
    return f"reading {of_split} in {counted(len(data.shards), 'shard')}, {_size(num_bytes)}, {ways[access]}"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"


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
) -> BatchStream:
    """The stream of this rank's batches; arguments as for `stream_train.data.loader.ClipStream`."""
    from stream_train.data.loader import ClipStream
    from stream_train.data.reader import ShardSet

    place = {"seed": seed, "rank": rank, "world_size": world_size, "start_sample": start_sample}
    if not isinstance(data, ShardSet):
        from stream_train.data.sequential import SequentialClipStream

        if positions is not None:
            raise UsageError("only the indexed reader can leave samples out; set data.reader.kind to indexed")
        return SequentialClipStream(data, config, draw, num_batches=num_batches, **place)
    return ClipStream(data, config, draw, num_batches=num_batches, positions=positions, **place)
