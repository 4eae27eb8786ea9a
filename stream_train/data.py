"""Choosing between the two ways to read: by index, or sequentially with stock WebDataset."""

from __future__ import annotations

from pathlib import Path

from shardify.errors import UsageError
from stream_train.fetching import DrawClips
from stream_train.loader import ClipStream, DataConfig
from stream_train.order import Positions
from stream_train.reader import ShardSet, open_shard_set
from stream_train.sequential import SequentialClipStream, TarSet, open_tar_set

DataSet = ShardSet | TarSet
"""Both have location, split, num_samples, fingerprint and geometry."""

BatchStream = ClipStream | SequentialClipStream


def open_data(location: str | Path, split: str | None, config: DataConfig) -> DataSet:
    """The samples to train on, opened for the configured reader."""
    if config.reader.kind == "sequential":
        return open_tar_set(location, split, config.reader)
    return open_shard_set(location, split)


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
    positions: Positions | None = None,
) -> BatchStream:
    """The stream of this rank's batches; arguments as for `stream_train.loader.ClipStream`."""
    place = {"seed": seed, "rank": rank, "world_size": world_size, "start_sample": start_sample}
    if isinstance(data, TarSet):
        if positions is not None:
            raise UsageError("only the indexed reader can leave samples out; set data.reader.kind to indexed")
        return SequentialClipStream(data, config, draw, num_batches=num_batches, **place)
    return ClipStream(data, config, draw, num_batches=num_batches, positions=positions, **place)
