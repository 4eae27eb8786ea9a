"""Archives in windows: a few consecutive ones, which one process packs into shards while it reads each of them once.

In: the archives of a catalog and what a store holds. Out: the windows that are still to be packed, and, once all are,
which shards there are and which listed videos were in no archive. Numbers and contents of a window's shards depend on
its archives alone: they are filled in the order of the archives, per split signature, and counted from
SHARDS_PER_WINDOW times the window's number, so shard numbers have gaps.

`window-NNNNNN.json` is written before a window's first shard and again, as complete, after its last. A gzipped archive
is known to be whole only when its end has been read. Shards with videos of one that turns out damaged do not stay, nor
do those behind it, whichever run wrote them: whoever comes to the end of a window has read all of its archives.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from shardify.catalogs.archived import Archive, Listed
from shardify.catalogs.base import Catalog, Missing
from shardify.errors import UnfinishedError, UsageError, WorkError, one_line
from shardify.shards.record import RECORD_THREADS, ShardRecord, dump_json
from shardify.storage.store import Store

LISTED_NAME = "listed.jsonl"
"""What the lists name, kept beside the shards: who finishes a build can say what is missing without the lists."""
SHARDS_PER_WINDOW = 1000
MAX_WINDOWS = 1000
"""So shard numbers have six digits at most."""

WindowState = Literal["begun", "damaged", "complete"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Consecutive archives."""

    number: int
    archives: tuple[Archive, ...]


@dataclass(frozen=True, kw_only=True)
class WindowRecord:
    """The contents of `window-NNNNNN.json`."""

    number: int
    archives: tuple[Archive, ...]
    """As they were when its shards were written."""
    state: WindowState
    shards: tuple[int, ...] = ()
    """Numbers of its shards, those without samples included; if it is not complete, of those that hold nothing of an
    archive that is damaged or whose end has not been seen."""
    found: tuple[str, ...] = ()
    """Names of the listed videos that were in its archives, sorted; each as often as it was there."""
    num_unlisted: int = 0
    """Videos that do not belong to the data set."""
    unlisted_example: str = ""
    """The path of one of them."""
    damage: tuple[str, ...] = ()
    """What is wrong with its archives, a line each; if the state is complete, it was accepted."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Paths of archives that were accepted but of which nothing can be trusted, with what is wrong with them. Whoever
    goes on with the window packs it without them: its shards are those of the others."""

    def to_json(self) -> bytes:
        return dump_json(asdict(self))

    @classmethod
    def from_json(cls, data: bytes, origin: str) -> WindowRecord:
        """Raises WorkError if the bytes are not such a record."""
        try:
            values: dict[str, Any] = {
                name: tuple(v) if isinstance(v, list) else v for name, v in json.loads(data).items()
            }
            values["archives"] = tuple(Archive(**archive) for archive in values["archives"])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise WorkError(
                f"{origin} is damaged ({one_line(error)}); delete it and run `shardify build` again"
            ) from None


@dataclass(frozen=True, kw_only=True)
class PendingWindow:
    """A window that is not packed yet, or not whole."""

    window: Window
    kept: frozenset[int] = frozenset()
    """Shards of it that are there and stay, unless one of their archives turns out damaged."""
    proven: frozenset[int] = frozenset()
    """Those of them that stay even then: their archives were whole when they were written."""
    left_out: dict[str, str] = field(default_factory=dict)
    """As in its record."""
    stale: tuple[str, ...] = ()
    """Objects of it to be deleted first: they come from other archives, or from damaged ones."""


@dataclass(frozen=True, kw_only=True)
class PackedWindows:
    """What all windows of a build hold."""

    shards: tuple[int, ...]
    missing: tuple[Missing, ...]
    num_unlisted: int
    num_copies: int
    """Listed videos that are in the archives once more; each copy is a sample of its own."""
    damage: tuple[str, ...]
    """What was accepted."""


def window_name(number: int) -> str:
    """`window-000012.json`."""
    return f"window-{number:06d}.json"


def shard_number(name: str) -> int | None:
    """The number of the shard that an object of a store belongs to; None if it belongs to none."""
    match = re.fullmatch(r"shard-(\d+)\.(tar|idx\.npz|json)", name)
    return int(match[1]) if match else None


def plan_windows(archives: Sequence[Archive], archives_per_window: int) -> tuple[Window, ...]:
    """Cut the archives, sorted by path, into windows.

    Raises:
        UsageError: if there would be more than MAX_WINDOWS.
    """
    starts = range(0, len(archives), archives_per_window)
    if len(starts) > MAX_WINDOWS:
        raise UsageError(
            f"{len(archives)} archives make {len(starts)} windows, at most {MAX_WINDOWS} are allowed; use --set "
            f"source.archives_per_window={-(-len(archives) // MAX_WINDOWS)} or more"
        )
    return tuple(
        Window(number=i, archives=tuple(archives[start : start + archives_per_window]))
        for i, start in enumerate(starts)
    )


def members_digest(catalog: Catalog) -> str:
    """Identity of what is known of members before the archives are read: lists, classes and splits."""
    assert catalog.archived is not None
    digest = hashlib.sha256(dump_json([catalog.classes, catalog.splits]))
    for name, said in sorted(catalog.archived.listed.items(), key=lambda item: item[0]):
        digest.update(f"{name}\0{said.label}\0{','.join(sorted(said.splits))}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def windows_sha256(windows: Sequence[Window], catalog: Catalog) -> str:
    """Identity of a plan: any change of an archive's name or window, of a list, class or split changes it."""
    paths = [[archive.path for archive in window.archives] for window in windows]
    return hashlib.sha256(dump_json([members_digest(catalog), paths])).hexdigest()


def read_window(store: Store, number: int) -> WindowRecord:
    """A window's record. Raises FileNotFoundError if there is none, WorkError if it is damaged."""
    name = window_name(number)
    return WindowRecord.from_json(store.read(name), f"{store.location}/{name}")


def find_pending(
    store: Store,
    windows: Iterable[Window],
    sizes: Mapping[str, int],
    whole: Mapping[int, ShardRecord],
    *,
    retry_failed: bool,
) -> list[PendingWindow]:
    """The windows that are not complete.

    Args:
        store: where the data set is built.
        windows: all of them.
        sizes: every object in the store.
        whole: the records of all shards that are there with tar and index.
        retry_failed: also those with shards that lack videos because they were rejected.

    Raises:
        UsageError: if archives have changed since their window was completed.
    """
    objects: defaultdict[int, list[str]] = defaultdict(list)
    for name in sizes:
        if (number := shard_number(name)) is not None:
            objects[number // SHARDS_PER_WINDOW].append(name)
    pending = []
    for window in windows:
        record = read_window(store, window.number) if window_name(window.number) in sizes else None
        if record is None or record.archives != window.archives:
            if record is not None and record.state == "complete":
                raise UsageError(_changed(store, record, window))
            pending.append(PendingWindow(window=window, stale=tuple(objects[window.number])))
            continue
        first = window.number * SHARDS_PER_WINDOW
        there = {number for number in range(first, first + SHARDS_PER_WINDOW) if number in whole}
        stale: tuple[str, ...] = ()
        if record.state == "damaged":
            there &= set(record.shards)
            stale = tuple(name for name in objects[window.number] if shard_number(name) not in there)
        kept = frozenset(number for number in there if not (retry_failed and whole[number].rejected))
        if record.state != "complete" or not kept.issuperset(record.shards):
            # what was packed of damaged archives is not what is packed of them when they are whole again
            proven = frozenset(() if record.state == "complete" and record.damage else kept.intersection(record.shards))
            left_out = record.left_out
            pending.append(PendingWindow(window=window, kept=kept, proven=proven, left_out=left_out, stale=stale))
    return pending


def listed_lines(listed: Mapping[str, Listed], splits: Sequence[str]) -> bytes:
    """The contents of `listed.jsonl`, sorted by name."""
    return b"".join(
        dump_json([name, [split for split in splits if split in listed[name].splits]]) for name in sorted(listed)
    )


def sum_up(store: Store, archives: Sequence[Sequence[str]]) -> PackedWindows:
    """Hold what all windows found against the lists.

    Args:
        store: where the data set is built.
        archives: the paths of the archives of each window.

    Raises:
        UnfinishedError: if nobody has come to the end of a window.
        WorkError: if an archive is damaged, or no video was found.
    """
    with ThreadPoolExecutor(RECORD_THREADS) as pool:
        found_records = list(pool.map(lambda number: _read_finished(store, number), range(len(archives))))
    records = [record for record in found_records if record is not None]
    if len(records) < len(archives):
        number, num_missing = found_records.index(None), len(archives) - len(records)
        raise UnfinishedError(
            f"{store.location}: {num_missing} of {len(archives)} windows of archives are not packed yet (the first is "
            f"{number}, with {archives[number][0]}); run `shardify build` again",
            num_missing=num_missing,
        )
    refuse_damage(records)
    found = Counter(name for record in records for name in record.found)
    listed: list[tuple[str, list[str]]] = []
    if store.exists(LISTED_NAME):
        listed = [json.loads(line) for line in store.read(LISTED_NAME).splitlines()]
    packed = PackedWindows(
        shards=tuple(number for record in records for number in record.shards),
        missing=tuple(Missing(name=name, splits=tuple(splits)) for name, splits in listed if name not in found),
        num_unlisted=sum(record.num_unlisted for record in records),
        num_copies=found.total() - len(found),
        damage=tuple(line for record in records for line in sorted((*record.damage, *record.left_out.values()))),
    )
    if not packed.shards:
        example = next((f", such as {r.unlisted_example}" for r in records if r.num_unlisted), "")
        raise WorkError(
            f"no video of the data set is in its {sum(map(len, archives))} archives, though they hold "
            f"{packed.num_unlisted} other videos{example}; are source.videos, the lists and the classes the right ones?"
        )
    return packed


def refuse_damage(records: Iterable[WindowRecord]) -> None:
    """Raise WorkError if one of some windows is not complete because of damage."""
    damage = [line for record in records if record.state == "damaged" for line in record.damage]
    if damage:
        more = f" ({len(damage)} archives are damaged, see the window-NNNNNN.json)" if len(damage) > 1 else ""
        raise WorkError(
            f"{damage[0]}{more}; fetch it again and run the same command again, only what is missing is done; or go "
            "without what is lost of it with --set source.accept_damaged_archives=true"
        )


def _read_finished(store: Store, number: int) -> WindowRecord | None:
    try:
        record = read_window(store, number)
    except FileNotFoundError:
        return None
    return None if record.state == "begun" else record


def _changed(store: Store, record: WindowRecord, window: Window) -> str:
    sizes: dict[str, Any] = {archive.path: archive.num_bytes for archive in window.archives}
    old = next(archive for archive in record.archives if sizes.get(archive.path) != archive.num_bytes)
    return (
        f"{store.location}: the archive {old.path} had {old.num_bytes} bytes when it was packed and has "
        f"{sizes.get(old.path)} now; delete {window_name(window.number)} there to pack it anew, or build into another "
        "folder (--set out=...)"
    )
