"""Build a data set, or one part of it: catalog -> plan -> shards -> manifest and ledgers.

Finished shards of an earlier run are kept; a kill loses only the shards, or windows of archives, in progress. Parts
write disjoint shards; the last part to end writes the manifest and the ledgers.

A part may replace a shard (one that lacks videos, or is not whole) while another part writes the manifest. Two rules
make sure that one of them notices the other. The writer of a manifest compares it with the records again afterwards.
The writer of a shard first deletes the old record, then the manifest
(:meth:`shardify.build.shard_writer.OpenShard.put`), and writes the manifest at its end. Only if both are killed can a
wrong manifest remain, until the next run of the build.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from shardify.build.archived import collect_windows, find_windows, keep_lists, require_no_damage
from shardify.build.archives.windows import SHARDS_PER_WINDOW, plan_windows
from shardify.build.config import BuildConfig
from shardify.build.description import (
    DESCRIPTION_NAME,
    BuildDescription,
    describe_build,
    differences,
    final_objects,
    read_description,
)
from shardify.build.plan import Part, make_plan
from shardify.build.planned import collect_shards, find_shards
from shardify.build.pool import run_tasks
from shardify.build.progress import BuildProgress
from shardify.build.ray_cluster import Surroundings, run_on_ray
from shardify.build.summary import BuildSummary, PartSummary, summarise_build
from shardify.build.work import Built, Work, is_whole
from shardify.catalogs import read_catalog
from shardify.catalogs.base import Catalog
from shardify.errors import UnfinishedError, UsageError, WorkError
from shardify.process import usable_cores
from shardify.shards.format import FINAL_NAMES, MANIFEST_NAME
from shardify.storage import open_store
from shardify.storage.locations import is_url
from shardify.storage.lock import locked
from shardify.storage.store import Store

Engine = Literal["local", "ray"]


def build(config: BuildConfig, *, retry_failed: bool = False, engine: Engine = "local") -> BuildSummary:
    """Build the data set of a config, or continue a build.

    `retry_failed` also rebuilds shards that lack rejected videos. If too many videos were rejected or missing, the
    summary has `problems`.

    Raises:
        UsageError: if the source or its lists are unusable, or `out` holds a build of other settings or another source.
        WorkError: if another build is writing to `out`, a worker was killed, or the disk is full.
    """
    summary = _build(config, None, retry_failed, engine)
    assert isinstance(summary, BuildSummary)
    return summary


def build_part(
    config: BuildConfig, part: Part, *, retry_failed: bool = False, engine: Engine = "local"
) -> BuildSummary | PartSummary:
    """Build one part of a data set, or continue it; otherwise as :func:`build`.

    Several parts may write to one `out` at the same time. A bucket has no locks, but two equal builds, or one part
    twice, may write to it: every object is written whole, and all writers write the same bytes.

    Returns:
        The summary of this part while shards of other parts are missing; else the summary of the whole build.
    """
    return _build(config, part, retry_failed, engine)


def _build(config: BuildConfig, part: Part | None, retry_failed: bool, engine: Engine) -> BuildSummary | PartSummary:
    if engine == "ray":
        config = config.with_absolute_paths()
    _require_apart(config)
    catalog = read_catalog(config.source)
    plan = () if catalog.archived else make_plan(catalog, config.videos_per_shard, config.seed)
    windows = plan_windows(catalog.archived.archives, config.source.archives_per_window) if catalog.archived else ()
    if part is not None:
        my_plan, my_windows = part.of(plan), part.of(windows)
    else:
        my_plan, my_windows = plan, windows
    description = describe_build(config, catalog, plan, windows)
    store = open_store(config.out, create=True)
    with locked(store, doing="building", together=part is not None):
        settle_description(store, description)
        keep_lists(store, catalog)
        if catalog.archived:
            cores = 1 if engine == "ray" else config.workers or usable_cores()
            work = find_windows(config, catalog, my_windows, store, retry_failed=retry_failed, num_cores=cores)
        else:
            work = find_shards(config, catalog, my_plan, store, retry_failed=retry_failed)
        _say_what_is_there(store, catalog, description, work)
        progress = _run(config, catalog, store, work, engine)
        try:
            built = write_final_objects(store, description)
        except UnfinishedError as error:
            if part is None:
                raise
            require_no_damage(store, my_windows)
            return PartSummary(
                location=store.location,
                part=str(part),
                noun=description.noun,
                num_shards=work.num_planned,
                num_shards_written=work.num_tasks,
                num_shards_missing=error.num_missing,
                num_videos=progress.num_done,
                num_frames=progress.num_frames,
                num_rejected=progress.num_rejected,
                seconds=progress.seconds if work.num_tasks else 0.0,
            )
    return summarise_build(
        config,
        built,
        num_written=sum(work.writes(record.number) for record in built.records if record.num_samples),
        seconds=progress.seconds if work.num_tasks else 0.0,
        frames=progress.num_frames,
    )


def _require_apart(config: BuildConfig) -> None:
    """Raises UsageError if the shards would lie among the videos, where the next scan would find them.

    A hidden folder is never scanned.
    """
    videos, out = config.source.videos, config.out
    if is_url(videos) or is_url(out):
        below = f"{out.rstrip('/')}/".startswith(f"{videos.rstrip('/')}/")
        parts = out[len(videos) :].split("/")
    else:
        folder, target = Path(videos).resolve(), Path(out).resolve()
        below = target.is_relative_to(folder)
        parts = list(target.relative_to(folder).parts) if below else []
    if below and not any(part.startswith(".") for part in parts):
        raise UsageError(
            f"out = {out} lies in source.videos = {videos}, so shards and videos would be mixed; give another folder "
            "with --set out=..."
        )


def _run(config: BuildConfig, catalog: Catalog, store: Store, work: Work, engine: Engine) -> BuildProgress:
    with BuildProgress(work.num_videos) as progress:
        if not work.num_tasks:
            return progress
        for name in FINAL_NAMES:
            store.delete(name)
        if engine == "ray":
            common = Surroundings.here(videos=catalog.root, location=config.out, ffmpeg=config.frames.ffmpeg)
            run_on_ray(work.tasks, progress.add, common)
        else:
            run_tasks(work.tasks, min(config.workers or usable_cores(), work.num_tasks), progress.add)
    return progress


def finish(config: BuildConfig) -> BuildSummary:
    """Write the manifest and the ledgers of a data set that has all shards; the videos are not needed.

    Raises UsageError if `out` holds no build, WorkError if shards are missing or another build is running.
    """
    store = open_store(config.out)
    with locked(store, doing="building"):
        try:
            description = read_description(store)
        except FileNotFoundError:
            raise UsageError(f"{store.location} holds no {DESCRIPTION_NAME}: run `shardify build` first") from None
        built = write_final_objects(store, description)
    return summarise_build(config, built, num_written=0, seconds=0.0, frames=0)


def write_final_objects(store: Store, description: BuildDescription) -> Built:
    """Write the ledgers and the manifest from the shards' records; repeat until they match the records read afterwards.

    They are created, not replaced: a late process with older records does not overwrite newer objects.
    Raises UnfinishedError if a shard is absent or not whole, WorkError if an archive is damaged.
    """
    has_created = False
    while True:
        there = {name: data for name in FINAL_NAMES if (data := _read_if_there(store, name)) is not None}
        try:
            built = _collect(store, description)
        except WorkError:
            if not has_created:
                raise
            store.delete(MANIFEST_NAME)  # the process that replaces a shard writes it later, or has already
            has_created = False
            continue
        objects = final_objects(built.description, built.records)
        if there == objects:
            return built
        for name, data in there.items():
            if data != objects.get(name):
                store.delete(name)
        for name, data in objects.items():
            if data != there.get(name):
                has_created |= store.create(name, data) and name == MANIFEST_NAME


def _collect(store: Store, description: BuildDescription) -> Built:
    built = collect_windows(store, description) if description.archives else collect_shards(store, description)
    sizes = store.sizes()
    torn = [record.number for record in built.records if not is_whole(record, sizes)]
    if torn:
        raise UnfinishedError(
            f"{store.location}: tar or index of {len(torn)} shards ({torn[0]} ...) are missing or of another size; run "
            "`shardify build` again, which writes them anew",
            num_missing=len({n // SHARDS_PER_WINDOW for n in torn} if description.archives else torn),
        )
    return built


def _read_if_there(store: Store, name: str) -> bytes | None:
    try:
        return store.read(name)
    except FileNotFoundError:
        return None


def settle_description(store: Store, description: BuildDescription) -> None:
    """Write build.json, or check that an existing one describes this build; what was seen is renewed."""
    if not store.exists(DESCRIPTION_NAME):
        foreign = [name for name in store.names() if name.startswith("shard-") or name == MANIFEST_NAME]
        if foreign and not store.exists(DESCRIPTION_NAME):  # another part may have written it meanwhile
            raise UsageError(
                f"{store.location} holds {foreign[0]} but no {DESCRIPTION_NAME}, so its origin is unknown; "
                "choose another folder with --set out=..."
            ) from None
        if store.create(DESCRIPTION_NAME, description.to_json()):
            return
    earlier = read_description(store)
    if earlier != description:
        raise UsageError(
            f"{store.location} was built differently: {'; '.join(differences(earlier, description))}; "
            "build into another folder (--set out=...) or delete this one"
        )
    if earlier.to_json() != description.to_json():
        store.write(DESCRIPTION_NAME, description.to_json())


def _say_what_is_there(store: Store, catalog: Catalog, description: BuildDescription, work: Work) -> None:
    if catalog.missing:
        listed = len(catalog.videos) + len(catalog.missing)
        click.echo(f"{len(catalog.missing)} of {listed} listed videos are missing", err=True)
    if there := work.num_planned - work.num_tasks:
        click.echo(f"{store.location}: {there} of {work.num_planned} {description.noun} are there already", err=True)
