"""Build a data set: catalog -> plan -> shards -> manifest and ledgers; all of it, or one part of several.

Whatever was finished by an earlier run of the same build is kept; a run that is killed anywhere loses only the shards
it was at. Parts write disjoint shards; whoever finds all of them there writes the manifest and the ledgers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import click

from shardify.build_config import BuildConfig
from shardify.build_summary import BuildSummary, PartSummary, summarise_build
from shardify.catalogs import read_catalog
from shardify.catalogs.base import Catalog
from shardify.description import (
    DESCRIPTION_NAME,
    BuildDescription,
    describe_build,
    differences,
    final_objects,
    read_description,
    read_record,
)
from shardify.engine import run_tasks, usable_cores
from shardify.errors import UsageError, WorkError
from shardify.format import MANIFEST_NAME, MISSING_NAME, REJECTED_NAME, ShardRecord, shard_name
from shardify.part import Part
from shardify.plan import PlannedShard, make_plan
from shardify.progress import BuildProgress
from shardify.ray_engine import run_on_ray
from shardify.storage import Store, exclusive, open_store
from shardify.writer import ShardTask

Engine = Literal["local", "ray"]

RECORD_THREADS = 16
"""Records that are read at once: an object store takes its time for each."""
NUM_NAMED_SHARDS = 5


def build(config: BuildConfig, *, retry_failed: bool = False, engine: Engine = "local") -> BuildSummary:
    """Build, or go on building, the data set of a config.

    Args:
        config: what to build.
        retry_failed: also rebuild the shards that lack videos because they were rejected earlier.
        engine: who does it: processes of this machine, or a Ray cluster.

    Returns:
        The summary; its `problems` say whether too many videos were rejected or missing.

    Raises:
        UsageError: if the source or its lists are unusable, or `out` holds a build of other settings or another source.
        WorkError: if another build is at work on `out`, a worker was killed, or the disk is full.
    """
    summary = _build(config, None, retry_failed, engine)
    assert isinstance(summary, BuildSummary)
    return summary


def build_part(
    config: BuildConfig, part: Part, *, retry_failed: bool = False, engine: Engine = "local"
) -> BuildSummary | PartSummary:
    """Build, or go on building, one part of a data set; otherwise as :func:`build`.

    Several parts may be at work on one `out` at the same time.

    Returns:
        What this part did, while shards of other parts are missing; else the summary of the whole.
    """
    return _build(config, part, retry_failed, engine)


def _build(config: BuildConfig, part: Part | None, retry_failed: bool, engine: Engine) -> BuildSummary | PartSummary:
    catalog = read_catalog(config.source)
    plan = make_plan(catalog, config.videos_per_shard, config.seed)
    description = describe_build(config, catalog, plan)
    store = open_store(config.out, create=True)
    with exclusive(store, doing="building", together=part is not None):
        settle_description(store, description)
        mine = plan if part is None else part.of(plan)
        pending = pending_shards(store, mine, retry_failed)
        if catalog.missing:
            _say(f"{len(catalog.missing)} of {len(catalog.videos) + len(catalog.missing)} listed videos are missing")
        if len(pending) < len(mine):
            _say(f"{store.location}: {len(mine) - len(pending)} of {len(mine)} shards are there already")
        if pending:
            for name in (MANIFEST_NAME, REJECTED_NAME, MISSING_NAME):
                store.delete(name)
        tasks = (_task(config, catalog, shard) for shard in pending)
        with BuildProgress(sum(len(shard.videos) for shard in pending)) as progress:
            if engine == "ray":
                run_on_ray(tasks, progress.add)
            else:
                run_tasks(tasks, min(config.workers or usable_cores(), len(pending)), progress.add)
            seconds = progress.seconds if pending else 0.0
        missing = missing_shards(store, description.num_shards)
        if part is not None and missing:
            return PartSummary(
                location=store.location,
                part=str(part),
                num_shards=len(mine),
                num_shards_written=len(pending),
                num_shards_missing=len(missing),
                num_videos=progress.num_done,
                num_frames=progress.num_frames,
                num_rejected=progress.num_rejected,
                seconds=seconds,
            )
        records = write_final_objects(store, description)
    return summarise_build(
        config,
        description,
        records,
        num_written=len(pending),
        seconds=seconds,
        frames=progress.num_frames,
        num_unlisted=catalog.num_unlisted,
    )


def finish(config: BuildConfig) -> BuildSummary:
    """Write the manifest and the ledgers of a data set whose shards have been built, in parts or otherwise.

    The videos are not looked at; what was to be built is read from the data set itself.

    Raises:
        UsageError: if nothing was built there.
        WorkError: if shards are missing, or another build is at work.
    """
    store = open_store(config.out)
    with exclusive(store, doing="building"):
        try:
            description = read_description(store)
        except FileNotFoundError:
            raise UsageError(f"{store.location} holds no {DESCRIPTION_NAME}: run `shardify build` first") from None
        records = write_final_objects(store, description)
    return summarise_build(config, description, records, num_written=0, seconds=0.0, frames=0, num_unlisted=0)


def write_final_objects(store: Store, description: BuildDescription) -> list[ShardRecord]:
    """Write the ledgers and the manifest from the shards' records.

    Returns:
        The records of all planned shards.

    Raises:
        WorkError: if a shard has not been written yet.
    """
    missing = missing_shards(store, description.num_shards)
    if missing:
        named = ", ".join(map(str, missing[:NUM_NAMED_SHARDS])) + (" ..." if missing[NUM_NAMED_SHARDS:] else "")
        raise WorkError(
            f"{store.location}: {len(missing)} of {description.num_shards} shards are not written yet ({named}); run "
            "`shardify build` again, or those of its parts that have not ended well (of n parts, i writes the shards "
            "i-1, i-1+n, i-1+2n ...)"
        )
    with ThreadPoolExecutor(RECORD_THREADS) as pool:
        records = list(pool.map(lambda number: read_record(store, number), range(description.num_shards)))
    for name, data in final_objects(description, records).items():
        if not store.exists(name) or store.read(name) != data:
            store.write(name, data)
    return records


def missing_shards(store: Store, num_shards: int) -> list[int]:
    """The planned shards that have no record yet, by one listing."""
    there = store.sizes()
    return [number for number in range(num_shards) if shard_name(number, "json") not in there]


def pending_shards(store: Store, shards: Sequence[PlannedShard], retry_failed: bool) -> list[PlannedShard]:
    """Those of some shards that are to be written: not there, not whole, or lacking videos to be tried again."""
    sizes = store.sizes()

    def is_pending(shard: PlannedShard) -> bool:
        return _needs_writing(store, shard, sizes, retry_failed)

    with ThreadPoolExecutor(RECORD_THREADS) as pool:
        return [shard for shard, pending in zip(shards, pool.map(is_pending, shards), strict=True) if pending]


def settle_description(store: Store, description: BuildDescription) -> None:
    """Write build.json, or make sure that the one there describes this very build."""
    if not store.exists(DESCRIPTION_NAME):
        foreign = [name for name in store.names() if name.startswith("shard-") or name == MANIFEST_NAME]
        if foreign and not store.exists(DESCRIPTION_NAME):  # another part may have begun meanwhile
            raise UsageError(
                f"{store.location} holds {foreign[0]} but no {DESCRIPTION_NAME}, so it is not known what it was built "
                "from; choose another folder with --set out=..."
            ) from None
        if store.create(DESCRIPTION_NAME, description.to_json()):
            return
    earlier = read_description(store)
    if earlier != description:
        raise UsageError(
            f"{store.location} was built differently: {'; '.join(differences(earlier, description))}; "
            "build into another folder (--set out=...) or delete this one"
        )


def _needs_writing(store: Store, shard: PlannedShard, sizes: Mapping[str, int], retry_failed: bool) -> bool:
    """Whether a shard is not there yet, whole, by its record and the sizes of all objects of the store."""
    if shard_name(shard.number, "json") not in sizes:
        return True
    record = read_record(store, shard.number)
    if retry_failed and record.rejected:
        return True
    there = [sizes.get(shard_name(shard.number, part)) for part in ("tar", "idx.npz")]
    return bool(record.num_samples) and there != [record.tar_bytes, record.index_bytes]


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


def _say(line: str) -> None:
    click.echo(line, err=True)
