"""A build whose videos are in archives: which windows are still to be packed, and what all of them hold.

In: a config, a catalog of archives and its windows, a store. Out: a :class:`Work`; at the end a :class:`Built`, with
what only reading the archives could tell. All that is needed for that lies in the store, so parts and reruns agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from shardify.build.archives.windows import (
    LISTED_NAME,
    SHARDS_PER_WINDOW,
    PendingWindow,
    Window,
    find_pending,
    listed_lines,
    members_digest,
    read_window,
    refuse_damage,
    shard_number,
    sum_up,
)
from shardify.build.archives.writer import WindowTask
from shardify.build.config import BuildConfig
from shardify.build.description import BuildDescription
from shardify.build.work import Built, Work, is_whole, read_records
from shardify.catalogs.base import Catalog
from shardify.errors import UnfinishedError
from shardify.shards.record import ShardRecord
from shardify.storage.store import Store


def keep_lists(store: Store, catalog: Catalog) -> None:
    """Have what the lists name beside the shards; build.json, which is there, holds its checksum."""
    if catalog.archived is not None and catalog.archived.listed and not store.exists(LISTED_NAME):
        store.write(LISTED_NAME, listed_lines(catalog.archived.listed, catalog.splits))


def find_windows(
    config: BuildConfig,
    catalog: Catalog,
    windows: Sequence[Window],
    store: Store,
    *,
    retry_failed: bool,
    num_cores: int,
) -> Work:
    """Those of some windows that are to be packed, see :func:`shardify.build.archives.windows.find_pending`.

    Args:
        config: the build's.
        catalog: the build's.
        windows: all, or those of one part.
        store: where the build lies.
        retry_failed: also those with shards that lack videos.
        num_cores: shared by the threads of the windows that are packed at once; each has one at least.
    """
    sizes = store.sizes()
    whole = _whole_shards(store, {window.number for window in windows}, sizes)
    pending = find_pending(store, windows, sizes, whole, retry_failed=retry_failed)
    num_threads = max(1, num_cores // max(1, len(pending)))
    due = {window.window.number for window in pending}
    kept = frozenset[int]().union(*(window.kept for window in pending))
    return Work(
        tasks=_tasks(config, catalog, pending, num_threads),
        num_tasks=len(pending),
        num_planned=len(windows),
        num_videos=None if pending else 0,
        writes=lambda number: number // SHARDS_PER_WINDOW in due and number not in kept,
    )


def require_no_damage(store: Store, windows: Iterable[Window]) -> None:
    """Raise WorkError if damage keeps windows that were read from being complete."""
    refuse_damage([read_window(store, window.number) for window in windows])


def collect_windows(store: Store, description: BuildDescription) -> Built:
    """What all windows hold.

    Raises:
        UnfinishedError: if a window is not packed, or shards of it are gone.
        WorkError: if an archive is damaged, or no video was found.
    """
    packed = sum_up(store, description.archives)
    records, missing = read_records(store, packed.shards)
    if missing:
        windows = {number // SHARDS_PER_WINDOW for number in missing}
        raise UnfinishedError(
            f"{store.location}: {len(missing)} shards of packed windows are gone ({missing[0]} ...), or another "
            "process is writing them anew; run `shardify build` again",
            num_missing=len(windows),
        )
    notes = [f"went without what is lost of it: {line}" for line in packed.damage]
    if packed.num_copies:
        notes.append(f"{packed.num_copies} videos are copies of a listed one; each is a sample of its own")
    known = replace(
        description,
        num_videos=sum(record.num_samples + len(record.rejected) for record in records),
        num_shards=len(records),
        missing=packed.missing,
    )
    return Built(description=known, records=records, num_unlisted=packed.num_unlisted, notes=tuple(notes))


def _tasks(
    config: BuildConfig, catalog: Catalog, pending: Sequence[PendingWindow], num_threads: int
) -> Iterable[WindowTask]:
    digest = members_digest(catalog)
    for window in pending:
        yield WindowTask(
            root=catalog.root,
            classes=catalog.classes,
            location=str(config.out),
            frames=config.frames,
            packing=config.pack,
            min_frames=config.min_frames,
            pending=window,
            source=config.source,
            members_sha256=digest,
            splits=catalog.splits,
            videos_per_shard=config.videos_per_shard,
            num_threads=num_threads,
        )


def _whole_shards(store: Store, windows: set[int], sizes: Mapping[str, int]) -> dict[int, ShardRecord]:
    """Records of those windows' shards that are there with tar and index."""
    numbers = [
        number
        for name in sizes
        if name.endswith(".json") and (number := shard_number(name)) is not None
        if number // SHARDS_PER_WINDOW in windows
    ]
    records, _ = read_records(store, numbers)
    return {record.number: record for record in records if is_whole(record, sizes)}
