"""A build with videos in archives: finds the windows that are not packed yet, and sums up all windows.

In: a config, a catalog of archives and its windows, a store. Out: a :class:`Work`; at the end a :class:`Built`.
The whole state is in the store, so parts and reruns agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from shardify.build.archives.windows import (
    LISTED_NAME,
    SHARDS_PER_WINDOW,
    PackedWindows,
    Window,
    WindowRecord,
    listed_lines,
    members_digest,
    read_window,
    refuse_damage,
    shard_number,
    sum_up,
    window_name,
)
from shardify.build.archives.writer import WindowTask
from shardify.build.config import BuildConfig
from shardify.build.description import BuildDescription
from shardify.build.work import Built, Work, finished_shards, read_records
from shardify.catalogs.base import Catalog
from shardify.errors import UnfinishedError, UsageError
from shardify.shards.record import ShardRecord
from shardify.shards.seen import Seen, merged
from shardify.storage.store import Store


def keep_lists(store: Store, catalog: Catalog) -> None:
    """Write the names in the lists beside the shards; build.json, which exists already, holds their checksum."""
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
    """Find the windows (of the whole build or one part) that are not complete, or lack a shard.

    With `retry_failed`, also the windows with shards that lack rejected videos. Windows that are packed at the same
    time share `num_cores`; each has at least one thread. Raises UsageError if an archive of a complete window has
    changed.
    """
    due: dict[int, tuple[Window, frozenset[int]]] = {}
    sizes, numbers = store.sizes(), {window.number for window in windows}
    shards = {n for name in sizes if (n := shard_number(name)) is not None and n // SHARDS_PER_WINDOW in numbers}
    usable = frozenset(finished_shards(store, shards, sizes, retry_failed=retry_failed))
    for window in windows:
        record = read_window(store, window.number)
        if record is None or record.archives != window.archives:
            if record is not None and record.state == "complete":
                raise UsageError(_changed(store, record, window))
            due[window.number] = window, frozenset()
        elif record.state == "damaged" or not usable.issuperset(record.shards):
            # a damaged archive gives other shards than the whole one
            is_proven = record.state == "damaged" or not record.damage
            due[window.number] = window, usable.intersection(record.shards) if is_proven else frozenset()
    num_threads = max(1, num_cores // max(1, len(due)))
    digest = members_digest(catalog)
    return Work(
        tasks=(
            WindowTask(
                **config.recipe(catalog),
                window=window,
                kept=kept,
                source=config.source,
                members_sha256=digest,
                splits=catalog.splits,
                videos_per_shard=config.videos_per_shard,
                num_threads=num_threads,
            )
            for window, kept in due.values()
        ),
        num_tasks=len(due),
        num_planned=len(windows),
        num_videos=None if due else 0,
        writes=lambda number: (window := number // SHARDS_PER_WINDOW) in due and number not in due[window][1],
    )


def require_no_damage(store: Store, windows: Iterable[Window]) -> None:
    """Raise WorkError if one of these windows is damaged."""
    records = [read_window(store, window.number) for window in windows]
    refuse_damage([record for record in records if record is not None])


def collect_windows(store: Store, description: BuildDescription) -> Built:
    """Sum up all windows.

    Raises UnfinishedError if a window is not packed or lacks shards, WorkError if an archive is damaged or no video was
    found.
    """
    packed = sum_up(store, description.archives)
    records, missing = read_records(store, packed.shards)
    if missing:
        raise UnfinishedError(
            f"{store.location}: {len(missing)} shards of packed windows are gone ({missing[0]} ...), or another "
            "process is replacing them; run `shardify build` again",
            num_missing=len({number // SHARDS_PER_WINDOW for number in missing}),
        )
    notes = [f"went without what is lost of it: {line}" for line in packed.damage]
    if packed.num_copies:
        notes.append(f"{packed.num_copies} videos are copies of a listed one; each is a sample of its own")
    return Built(description=settled(description, packed, records), records=records, notes=tuple(notes))


def settled(description: BuildDescription, packed: PackedWindows, records: Sequence[ShardRecord]) -> BuildDescription:
    """The description with what the archives have shown; `records` are those of all shards."""
    num_videos = sum(record.num_samples + len(record.rejected) for record in records)
    seen = description.seen
    if seen is not None:
        labels = range(len(description.classes)) if packed.labels is None else packed.labels
        seen = Seen(
            num_taken=num_videos,
            left_out=merged((*seen.left_out, *packed.not_taken)),
            empty_classes=tuple(name for i, name in enumerate(description.classes) if i not in labels),
            num_classes=len(description.classes),
            notes=seen.notes,
        )
    return replace(description, num_videos=num_videos, num_shards=len(records), missing=packed.missing, seen=seen)


def _changed(store: Store, record: WindowRecord, window: Window) -> str:
    sizes = {archive.path: archive.num_bytes for archive in window.archives}
    old = next(archive for archive in record.archives if sizes.get(archive.path) != archive.num_bytes)
    return (
        f"{store.location}: the archive {old.path} had {old.num_bytes} bytes when it was packed and has "
        f"{sizes.get(old.path)} now; delete {window_name(window.number)} there to pack it again, or build into another "
        "folder (--set out=...)"
    )
