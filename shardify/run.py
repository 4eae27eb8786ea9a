"""Build a data set: catalog -> plan -> shards -> manifest and ledgers.

Whatever was finished by an earlier run of the same build is kept; a run that is killed anywhere loses only the shards
it was at.
"""

from __future__ import annotations

from collections.abc import Mapping

import click

from shardify.build_config import BuildConfig
from shardify.build_summary import BuildSummary, summarise_build
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
from shardify.plan import PlannedShard, make_plan
from shardify.progress import BuildProgress
from shardify.storage import Store, exclusive, open_store
from shardify.writer import ShardTask


def build(config: BuildConfig, *, retry_failed: bool = False) -> BuildSummary:
    """Build, or go on building, the data set of a config.

    Args:
        config: what to build.
        retry_failed: also rebuild the shards that lack videos because they were rejected earlier.

    Returns:
        The summary; its `problems` say whether too many videos were rejected or missing.

    Raises:
        UsageError: if the source or its lists are unusable, or `out` holds a build of other settings or another source.
        WorkError: if another build is at work on `out`, a worker was killed, or the disk is full.
    """
    catalog = read_catalog(config.source)
    plan = make_plan(catalog, config.videos_per_shard, config.seed)
    description = describe_build(config, catalog, plan)
    store = open_store(config.out, create=True)
    with exclusive(store, doing="building"):
        _settle_description(store, description)
        sizes = store.sizes()
        pending = [shard for shard in plan if _needs_writing(store, shard, sizes, retry_failed)]
        if catalog.missing:
            _say(f"{len(catalog.missing)} of {len(catalog.videos) + len(catalog.missing)} listed videos are missing")
        if len(pending) < len(plan):
            _say(f"{store.location}: {len(plan) - len(pending)} of {len(plan)} shards are there already")
        if pending:
            for name in (MANIFEST_NAME, REJECTED_NAME, MISSING_NAME):
                store.delete(name)
        tasks = [_task(config, catalog, shard) for shard in pending]
        with BuildProgress(sum(len(shard.videos) for shard in pending)) as progress:
            run_tasks(tasks, config.workers or usable_cores(), progress.add)
            seconds = progress.seconds
        records = finish(store, description)
    return summarise_build(config, catalog, records, len(pending), seconds if pending else 0.0, progress.num_frames)


def finish(store: Store, description: BuildDescription) -> list[ShardRecord]:
    """Write the ledgers and the manifest from the shards' records.

    Returns:
        The records of all planned shards.

    Raises:
        WorkError: if a shard has not been written yet.
    """
    records = []
    for number in range(description.num_shards):
        try:
            records.append(read_record(store, number))
        except FileNotFoundError:
            raise WorkError(
                f"{store.location}: shard {number} of {description.num_shards} is not written yet; "
                "run `shardify build` again"
            ) from None
    for name, data in final_objects(description, records).items():
        if not store.exists(name) or store.read(name) != data:
            store.write(name, data)
    return records


def _settle_description(store: Store, description: BuildDescription) -> None:
    """Write build.json, or make sure that the one there describes this very build."""
    try:
        earlier = read_description(store)
    except FileNotFoundError:
        foreign = [name for name in store.names() if name.startswith("shard-") or name == MANIFEST_NAME]
        if foreign:
            raise UsageError(
                f"{store.location} holds {foreign[0]} but no {DESCRIPTION_NAME}, so it is not known what it was built "
                "from; choose another folder with --set out=..."
            ) from None
        store.write(DESCRIPTION_NAME, description.to_json())
        return
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
