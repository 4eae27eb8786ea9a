"""Archives in windows: a few consecutive archives that one process reads once and packs into shards.

In: the archives of a catalog. Out: numbered windows and, when they are packed, their records. The shards of a window
depend only on its archives. Their numbers start at SHARDS_PER_WINDOW times the window's number. A window is all or
nothing: `window-NNNNNN.json` is written last, when all its archives were read to their end. A window without this
record is packed again from the start.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from shardify.catalogs.archived import Archive, Listed
from shardify.catalogs.base import Catalog, Missing
from shardify.errors import UnfinishedError, UsageError, WorkError, one_line
from shardify.shards.record import RECORD_THREADS, dump_json
from shardify.shards.seen import LeftOut, merged
from shardify.storage.store import Store

LISTED_NAME = "listed.jsonl"
"""The names in the lists, beside the shards: with it, `finish` finds the missing videos without the lists."""
SHARDS_PER_WINDOW = 1000
MAX_WINDOWS = 1000
"""Limits shard numbers to six digits."""


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
    """Their state when the window was packed."""
    state: Literal["complete", "damaged"]
    """`damaged`: an archive is damaged, and this is not accepted. The window will be packed again."""
    shards: tuple[int, ...] = ()
    """Numbers of all its shards, including those without samples. For a damaged window: the shards that an earlier run
    packed when the archives were whole."""
    found: tuple[str, ...] = ()
    """Names of the listed videos in its archives, sorted; a name appears once for each copy."""
    num_unlisted: int = 0
    """Videos that do not belong to the data set."""
    unlisted_example: str = ""
    damage: tuple[str, ...] = ()
    """The damage of its archives, one line each; accepted if the state is complete."""
    not_taken: tuple[LeftOut, ...] = ()
    """Everything in its archives that is no video of the data set."""
    labels: tuple[int, ...] | None = None
    """The labels of its videos, each once; None in records of earlier versions."""
    hints: Mapping[str, str] = field(default_factory=dict)
    """Listed name -> path of an unlisted video in its archives that has nearly this name."""

    def to_json(self) -> bytes:
        return dump_json(asdict(self))


@dataclass(frozen=True, kw_only=True)
class PackedWindows:
    """The content of all windows of a build."""

    shards: tuple[int, ...]
    missing: tuple[Missing, ...]
    num_unlisted: int
    num_copies: int
    """Additional copies of listed videos; each copy is a separate sample."""
    damage: tuple[str, ...]
    """Damage that was accepted."""
    not_taken: tuple[LeftOut, ...]
    labels: frozenset[int] | None
    """The labels of all videos; None if a record is of an earlier version."""


def window_name(number: int) -> str:
    """`window-000012.json`."""
    return f"window-{number:06d}.json"


def shard_number(name: str) -> int | None:
    """The shard number in an object's name; None if it belongs to no shard."""
    match = re.fullmatch(r"shard-(\d+)\.(tar|idx\.npz|json)", name)
    return int(match[1]) if match else None


def plan_windows(archives: Sequence[Archive], archives_per_window: int) -> tuple[Window, ...]:
    """Cut the archives, sorted by path, into windows. Raises UsageError if there would be more than MAX_WINDOWS."""
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
    """Identity of the lists, classes and splits: all facts about members before the archives are read."""
    assert catalog.archived is not None
    digest = hashlib.sha256(dump_json([catalog.classes, catalog.splits]))
    for name, said in sorted(catalog.archived.listed.items(), key=lambda item: item[0]):
        digest.update(f"{name}\0{said.label}\0{','.join(sorted(said.splits))}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def windows_sha256(windows: Sequence[Window], catalog: Catalog) -> str:
    """Identity of a plan; any change of an archive's name or window, of a list, class or split changes it."""
    paths = [[archive.path for archive in window.archives] for window in windows]
    return hashlib.sha256(dump_json([members_digest(catalog), paths])).hexdigest()


def listed_lines(listed: Mapping[str, Listed], splits: Sequence[str]) -> bytes:
    """The contents of `listed.jsonl`, sorted by name."""
    return b"".join(
        dump_json([name, [split for split in splits if split in listed[name].splits]]) for name in sorted(listed)
    )


def read_window(store: Store, number: int) -> WindowRecord | None:
    """A window's record; None if the window is not packed. Raises WorkError if the record is damaged."""
    name = window_name(number)
    try:
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in json.loads(store.read(name)).items()
        }
        values["archives"] = tuple(Archive(**archive) for archive in values["archives"])
        values["not_taken"] = tuple(LeftOut(**part) for part in values.get("not_taken", ()))
        # earlier versions had records of windows that were only begun, and a second key for damage
        values["damage"] = tuple(sorted((*values["damage"], *values.pop("left_out", {}).values())))
        return None if values["state"] == "begun" else WindowRecord(**values)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WorkError(
            f"{store.location}/{name} is damaged ({one_line(error)}); delete it and run `shardify build` again"
        ) from None


def sum_up(store: Store, archives: Sequence[Sequence[str]]) -> PackedWindows:
    """Compare the videos in all windows with the lists; `archives` are the paths of each window's archives.

    Raises UnfinishedError if a window is not packed, WorkError if an archive is damaged or no video was found.
    """
    with ThreadPoolExecutor(RECORD_THREADS) as pool:
        found_records = list(pool.map(lambda number: read_window(store, number), range(len(archives))))
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
    labels = [record.labels for record in records]
    hints = {name: path for record in reversed(records) for name, path in record.hints.items()}
    packed = PackedWindows(
        shards=tuple(number for record in records for number in record.shards),
        missing=tuple(
            Missing(name=name, splits=tuple(splits), did_you_mean=hints.get(name, ""))
            for name, splits in listed
            if name not in found
        ),
        num_unlisted=sum(record.num_unlisted for record in records),
        num_copies=found.total() - len(found),
        damage=tuple(line for record in records for line in record.damage),
        not_taken=merged(part for record in records for part in record.not_taken),
        labels=None if None in labels else frozenset(label for some in labels for label in some or ()),
    )
    if not packed.shards:
        example = next((f", such as {r.unlisted_example}" for r in records if r.num_unlisted), "")
        raise WorkError(
            f"no video of the data set is in its {sum(map(len, archives))} archives, though they hold "
            f"{packed.num_unlisted} other videos{example}; are source.videos, the lists and the classes the right ones?"
        )
    return packed


def refuse_damage(records: Iterable[WindowRecord]) -> None:
    """Raise WorkError if one of some windows is damaged."""
    damaged = [record for record in records if record.state == "damaged"]
    damage = [line for record in damaged for line in record.damage]
    if damage:
        more = f" ({len(damage)} archives are damaged, see the window-NNNNNN.json)" if len(damage) > 1 else ""
        names = ", ".join(window_name(record.number) for record in damaged if record.shards)
        delete = f"delete {names}, whose shards were packed when it was whole, and " if names else ""
        raise WorkError(
            f"{damage[0]}{more}; download or pack it again and run the same command again, only what is missing is "
            f"done; or {delete}go without what is lost of it with --set source.accept_damaged_archives=true"
        )
