"""A build whose videos are files of their own: which planned shards are still to be written, and what all of them hold.

In: a config, a catalog and its plan, a store. Out: a :class:`Work`; at the end a :class:`Built`.
:mod:`shardify.build.archived` gives the same for videos in archives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from shardify.build.config import BuildConfig
from shardify.build.description import BuildDescription
from shardify.build.plan import PlannedShard
from shardify.build.shard_writer import ShardTask
from shardify.build.work import Built, Work, is_whole, read_records
from shardify.catalogs.base import Catalog
from shardify.errors import UnfinishedError
from shardify.shards.format import shard_name
from shardify.shards.record import RECORD_THREADS, read_record
from shardify.storage.store import Store

NUM_NAMED_SHARDS = 5


def find_shards(
    config: BuildConfig, catalog: Catalog, shards: Sequence[PlannedShard], store: Store, *, retry_failed: bool
) -> Work:
    """Those of some shards that are to be written: not there, not whole, or lacking videos to be tried again."""
    sizes = store.sizes()

    def is_pending(shard: PlannedShard) -> bool:
        return _needs_writing(store, shard, sizes, retry_failed)

    with ThreadPoolExecutor(RECORD_THREADS) as pool:
        pending = [shard for shard, due in zip(shards, pool.map(is_pending, shards), strict=True) if due]
    return Work(
        tasks=(_task(config, catalog, shard) for shard in pending),
        num_tasks=len(pending),
        num_planned=len(shards),
        num_videos=sum(len(shard.videos) for shard in pending),
        writes={shard.number for shard in pending}.__contains__,
    )


def missing_shards(store: Store, num_shards: int) -> list[int]:
    """The planned shards that have no record yet, by one listing."""
    there = store.sizes()
    return [number for number in range(num_shards) if shard_name(number, "json") not in there]


def collect_shards(store: Store, description: BuildDescription) -> Built:
    """The records of all planned shards.

    Raises:
        UnfinishedError: if a shard has not been written yet.
    """
    missing = missing_shards(store, description.num_shards)
    if not missing:
        records, missing = read_records(store, range(description.num_shards))
    if missing:
        named = ", ".join(map(str, missing[:NUM_NAMED_SHARDS])) + (" ..." if missing[NUM_NAMED_SHARDS:] else "")
        raise UnfinishedError(
            f"{store.location}: {len(missing)} of {description.num_shards} shards are not written yet ({named}); run "
            "`shardify build` again, or those of its parts that have not ended well (of n parts, i writes the shards "
            "i-1, i-1+n, i-1+2n ...)",
            num_missing=len(missing),
        )
    return Built(description=description, records=records)


def _needs_writing(store: Store, shard: PlannedShard, sizes: Mapping[str, int], retry_failed: bool) -> bool:
    if shard_name(shard.number, "json") not in sizes:
        return True
    try:
        record = read_record(store, shard.number)
    except FileNotFoundError:  # somebody who does the same is rewriting it
        return True
    return bool(retry_failed and record.rejected) or not is_whole(record, sizes)


def _task(config: BuildConfig, catalog: Catalog, shard: PlannedShard) -> ShardTask:
    return ShardTask(
        shard=shard,
        root=catalog.root,
        classes=catalog.classes,
        location=str(config.out),
        frames=config.frames,
        packing=config.pack,
        min_frames=config.min_frames,
    )
