"""A build whose videos are files of their own: which planned shards are still to be written, and what all of them hold.

In: a config, a catalog and its plan, a store. Out: a :class:`Work`; at the end a :class:`Built`.
:mod:`shardify.build.archived` gives the same for videos in archives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from shardify.build.archives.windows import RECORD_THREADS
from shardify.build.config import BuildConfig
from shardify.build.description import BuildDescription, read_record
from shardify.build.plan import PlannedShard
from shardify.build.pool import Task
from shardify.build.shard_writer import ShardTask
from shardify.catalogs.base import Catalog
from shardify.errors import UnfinishedError
from shardify.shards.format import ShardRecord, shard_name
from shardify.storage import Store

NUM_NAMED_SHARDS = 5


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a run has to do."""

    tasks: Iterable[Task]
    """Drawn once."""
    num_tasks: int
    num_planned: int
    """Tasks of the whole build, or of this part of it, those that were done before included."""
    num_videos: int | None
    """That the tasks will look at; None if it is not known yet."""
    writes: Callable[[int], bool]
    """Whether the shard of a number is written by one of the tasks."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A build all of whose shards are there."""

    description: BuildDescription
    """With all that is known by then."""
    records: Sequence[ShardRecord]
    """Of all shards, by number."""
    num_unlisted: int = 0
    """Videos in archives that do not belong to the data set."""
    notes: tuple[str, ...] = ()
    """What else is to be said about it."""


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


def read_records(store: Store, numbers: Sequence[int]) -> tuple[list[ShardRecord], list[int]]:
    """The records of some shards, and the numbers of those that have none: somebody may be rewriting them."""

    def read(number: int) -> ShardRecord | None:
        try:
            return read_record(store, number)
        except FileNotFoundError:
            return None

    with ThreadPoolExecutor(RECORD_THREADS) as pool:
        found = list(pool.map(read, numbers))
    missing = [number for number, record in zip(numbers, found, strict=True) if record is None]
    return [record for record in found if record is not None], missing


def is_whole(record: ShardRecord, sizes: Mapping[str, int]) -> bool:
    """Whether a shard's tar and index are there too, by the sizes of all objects of the store."""
    there = [sizes.get(shard_name(record.number, "tar")), sizes.get(shard_name(record.number, "idx.npz"))]
    return not record.num_samples or there == [record.tar_bytes, record.index_bytes]


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
