"""A build with videos as single files: finds the shards that are not written yet, and sums up all shards.

In: a config, a catalog and its plan, a store. Out: a :class:`Work`; at the end a :class:`Built`.
:mod:`shardify.build.archived` does the same for videos in archives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shardify.build.config import BuildConfig
from shardify.build.description import BuildDescription
from shardify.build.plan import PlannedShard
from shardify.build.shard_writer import ShardTask
from shardify.build.sources import current_sizes
from shardify.build.work import Built, Work, finished_shards, read_records
from shardify.catalogs.base import Catalog
from shardify.errors import UnfinishedError, UsageError, first_names
from shardify.shards.format import shard_name
from shardify.shards.record import ShardRecord
from shardify.storage.store import Store


def find_shards(
    config: BuildConfig, catalog: Catalog, shards: Sequence[PlannedShard], store: Store, *, retry_failed: bool
) -> Work:
    """Find the shards that are absent or not whole.

    With `retry_failed`, also those that lack rejected videos, and those whose videos have other sizes now; without it,
    the latter are a UsageError.
    """
    finished = finished_shards(store, (shard.number for shard in shards), store.sizes(), retry_failed=retry_failed)
    changed = _changed_videos(catalog.root, shards, finished)
    if changed and not retry_failed:
        raise UsageError(
            f"{store.location}: {len(changed)} of {len(finished)} finished shards hold videos whose files have other "
            f"sizes now, such as {next(iter(changed.values()))}; are source.videos the videos of this build? Then "
            "--retry-failed builds these shards again; else build into another folder (--set out=...)"
        )
    pending = [shard for shard in shards if shard.number not in finished or shard.number in changed]
    return Work(
        tasks=(ShardTask(**config.recipe(catalog), shard=shard) for shard in pending),
        num_tasks=len(pending),
        num_planned=len(shards),
        num_videos=sum(len(shard.videos) for shard in pending),
        writes={shard.number for shard in pending}.__contains__,
    )


def _changed_videos(root: str, shards: Sequence[PlannedShard], finished: Mapping[int, ShardRecord]) -> dict[int, str]:
    """The first video of each finished shard whose file has another size than when it was read."""
    known = [shard for shard in shards if shard.number in finished and finished[shard.number].source_bytes]
    now = current_sizes(root, [video.path for shard in known for video in shard.videos]) if known else None
    if now is None:
        return {}
    changed: dict[int, str] = {}
    for shard in known:
        for video, size in zip(shard.videos, finished[shard.number].source_bytes, strict=False):
            if now[video.path] != size:
                changed.setdefault(shard.number, video.path)
    return changed


def collect_shards(store: Store, description: BuildDescription) -> Built:
    """The records of all planned shards. Raises UnfinishedError if a shard has not been written yet."""
    there = store.sizes()  # one listing is cheaper than many records
    missing = [number for number in range(description.num_shards) if shard_name(number, "json") not in there]
    if not missing:
        records, missing = read_records(store, range(description.num_shards))
    if missing:
        raise UnfinishedError(
            f"{store.location}: {len(missing)} of {description.num_shards} shards are not written yet "
            f"({first_names(missing, 5)}); run `shardify build` again, or those of its parts that have not ended well "
            "(part i of n writes the shards i-1, i-1+n, i-1+2n ...)",
            num_missing=len(missing),
        )
    return Built(description=description, records=records)
