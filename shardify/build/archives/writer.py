"""One window of archives -> its shards: read once from first to last, decoded by several threads, packed in order.

In: a :class:`WindowTask`. Out: shards in the store and, last of all, the window's record. Which video lies in which
shard follows from the order of the archives alone, not from what decodes; so shards that are there are passed over.
"""

from __future__ import annotations

import functools
import time
from collections import Counter, deque
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from shardify.build.archives.reading import ArchiveDamageError, read_members
from shardify.build.archives.windows import (
    SHARDS_PER_WINDOW,
    PendingWindow,
    WindowRecord,
    members_digest,
    shard_number,
    window_name,
)
from shardify.build.shard_writer import OpenShard, Recipe, Report, decode_source
from shardify.catalogs import SourceConfig, read_catalog
from shardify.catalogs.archived import Archive, Member, MemberRule, folder_of
from shardify.catalogs.base import Video
from shardify.catalogs.files import is_video
from shardify.catalogs.keys import member_key
from shardify.errors import WorkError
from shardify.frames.decoding import Frames, VideoError, stop_decoding
from shardify.frames.memory_file import MemoryFile
from shardify.shards.format import MANIFEST_NAME
from shardify.storage import open_store
from shardify.storage.store import Store

MAX_WAITING_BYTES = 1 << 30
"""Videos that wait to be decoded take at most so much memory, one more aside."""


@dataclass(frozen=True, kw_only=True)
class WindowTask(Recipe):
    """A window to be packed; picklable, so that it can be done in any process."""

    pending: PendingWindow
    source: SourceConfig
    """Lists are read in the process that needs them: they are long, and the same for all windows."""
    members_sha256: str
    """Of what the lists said when the build began, see :func:`shardify.build.archives.windows.members_digest`."""
    splits: tuple[str, ...]
    """All splits of the data set, in their order."""
    videos_per_shard: int
    num_threads: int
    """Videos decoded at once."""

    def write(self, report: Report) -> None:
        """Write it, see :func:`write_window`."""
        write_window(self, report)


def write_window(task: WindowTask, report: Report) -> WindowRecord:
    """Read a window's archives, decode, pack, commit each shard, then the window.

    Damaged archives are noted in the record, which says what becomes of the window. If they are not accepted, only the
    shards stay that were full before the first of them began. If they are, and nothing of some of them can be trusted,
    the window is read and packed once more without those, but for the same shards.

    Args:
        task: what to write where.
        report: called once per decoded video, in order. If it raises, the window is not complete.

    Returns:
        The record that now stands in the store.

    Raises:
        UsageError: if access to the archives is denied.
        WorkError: if an archive is gone or cannot be read, or nothing of it can be trusted though it was whole once; if
            the disk is full, or the window has too many shards.
    """
    store = open_store(task.location)
    pending, accepts = task.pending, task.source.accept_damaged_archives
    members = _read_members_once(task.source, task.members_sha256)
    _drop(store, pending.stale)
    kept, proven = pending.kept, tuple(sorted(pending.proven))
    number, archives = pending.window.number, pending.window.archives
    begun = WindowRecord(number=number, archives=archives, state="begun", shards=proven, left_out=pending.left_out)
    while True:
        _write_record(store, begun)
        with _Packer(task, store, members, report, kept) as packer:
            packer.read_all(begun.left_out)
        if packer.sound is None:
            found = tuple(sorted(packer.found.elements()))
            record = replace(packer.describe(begun), state="complete", shards=packer.shards, found=found)
            if not kept.issubset(record.shards):
                _drop(store, _others(store, number, record.shards))
            break
        stay = packer.sound | pending.proven
        _drop(store, _others(store, number, stay))
        spoilt = {path: str(error) for path, error in packer.damage.items() if error.spoils_all}
        if not accepts or stay != packer.sound:
            record = replace(packer.describe(begun), state="damaged", shards=tuple(sorted(stay)))
            break
        begun, kept = replace(begun, shards=tuple(sorted(stay)), left_out=begun.left_out | spoilt), stay
    _write_record(store, record)
    if accepts and record.state == "damaged":
        raise WorkError(
            f"{next(iter(spoilt.values()))}; it was whole when shards of it were written, which stay: put back what it "
            f"was, or delete {window_name(number)} in {store.location} to go without it; then run the command again"
        )
    return record


class _Packer:
    """Members of archives, one after the other -> shards."""

    def __init__(
        self, task: WindowTask, store: Store, members: MemberRule, report: Report, kept: frozenset[int]
    ) -> None:
        self.found: Counter[str] = Counter()
        self.num_unlisted = 0
        self.unlisted_example = ""
        self.damage: dict[str, ArchiveDamageError] = {}
        """By the archive's path."""
        self.sound: frozenset[int] | None = None
        """Once there is damage that is not accepted: the shards that were full before its archive began."""
        self._task = task
        self._store = store
        self._members = members
        self._report = report
        self._kept = kept
        self._first = task.pending.window.number * SHARDS_PER_WINDOW
        self._placed: list[int] = []
        """Videos of each shard so far, by its number within the window."""
        self._filling: dict[tuple[str, ...], int] = {}
        """The shard that each split signature is filling."""
        self._open: dict[int, OpenShard] = {}
        self._waiting: deque[tuple[int, Video, MemoryFile, Future[Frames | VideoError]]] = deque()
        self._threads = ThreadPoolExecutor(task.num_threads, thread_name_prefix="decode")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        while any(future.running() for *_, future in self._waiting):
            stop_decoding()  # who pressed Ctrl-C does not wait for the videos at hand
            time.sleep(0.02)
        self._threads.shutdown()
        stack = ExitStack()
        for shard in self._open.values():
            stack.push(shard)
        stack.__exit__(kind, error, traceback)

    @property
    def shards(self) -> tuple[int, ...]:
        """Numbers of all shards."""
        return tuple(range(self._first, self._first + len(self._placed)))

    def describe(self, record: WindowRecord) -> WindowRecord:
        """A record with what was found beside the data set's videos."""
        return replace(
            record,
            num_unlisted=self.num_unlisted,
            unlisted_example=self.unlisted_example,
            damage=tuple(map(str, self.damage.values())),
        )

    def read_all(self, left_out: Collection[str]) -> None:
        """Pack all archives but those of some paths; behind damage that is not accepted, only look for more of it."""
        for archive in self._task.pending.window.archives:
            if archive.path in left_out:
                continue
            full = (n for n, num_videos in enumerate(self._placed) if num_videos == self._task.videos_per_shard)
            sound = frozenset(self._first + n for n in full)
            try:
                self._read(archive)
            except ArchiveDamageError as error:
                self.damage[archive.path] = error
                if self.sound is None and (error.spoils_all or not self._task.source.accept_damaged_archives):
                    self.sound = sound
        while self._waiting:
            self._pack_next()
        for number in sorted(self._open) if self.sound is None else ():
            self._commit(number)

    def _read(self, archive: Archive) -> None:
        folder = folder_of(archive.path)
        known: dict[str, Member] = {}

        def wants(path: str) -> bool:
            member = self._members.find(f"{folder}/{path}")
            known.clear()
            if member is None or self.sound is not None:
                return False
            known[path] = member
            return self._first + self._next_shard(self._splits(member)) not in self._kept

        for path, memory in read_members(self._task.root, archive, wants):
            if path in known:
                self._place(f"{archive.path}/{path}", member_key(archive.path, path), known[path], memory)
            elif is_video(path) and self.sound is None:
                self.num_unlisted += 1
                self.unlisted_example = self.unlisted_example or f"{archive.path}/{path}"

    def _splits(self, member: Member) -> tuple[str, ...]:
        return tuple(split for split in self._task.splits if split in member.listed.splits)

    def _next_shard(self, splits: tuple[str, ...]) -> int:
        """Where the next video of a split signature goes, counted within the window."""
        number = self._filling.get(splits)
        if number is not None and self._placed[number] < self._task.videos_per_shard:
            return number
        if len(self._placed) == SHARDS_PER_WINDOW:
            raise WorkError(
                f"the window of archives that begins with {self._task.pending.window.archives[0].path} needs more than "
                f"{SHARDS_PER_WINDOW} shards; raise videos_per_shard (now {self._task.videos_per_shard}) or lower "
                "source.archives_per_window"
            )
        return len(self._placed)

    def _place(self, path: str, key: str, member: Member, memory: MemoryFile | None) -> None:
        splits = self._splits(member)
        number = self._next_shard(splits)
        if number == len(self._placed):
            self._placed.append(0)
        self._filling[splits] = number
        self._placed[number] += 1
        if member.name:
            self.found[member.name] += 1
        if memory is None:
            return
        video = Video(key=key, path=path, label=member.listed.label, splits=splits)
        future = self._threads.submit(decode_source, memory, self._task)
        self._waiting.append((self._first + number, video, memory, future))
        while self._is_too_far_ahead():
            self._pack_next()

    def _is_too_far_ahead(self) -> bool:
        if len(self._waiting) > 2 * self._task.num_threads:
            return True
        waiting_bytes = sum(memory.num_bytes for _, _, memory, future in self._waiting if not future.done())
        return waiting_bytes > MAX_WAITING_BYTES and len(self._waiting) > 1

    def _pack_next(self) -> None:
        number, video, _, future = self._waiting[0]
        result = future.result()
        self._waiting.popleft()
        shard = self._open.get(number)
        if shard is None:
            shard = self._open[number] = OpenShard(self._task, self._store, number, video.splits).__enter__()
        self._report(shard.add(video, result))
        if shard.num_videos == self._task.videos_per_shard:
            self._commit(number)

    def _commit(self, number: int) -> None:
        shard = self._open[number]
        shard.commit()
        del self._open[number]
        shard.__exit__(None, None, None)


@functools.lru_cache(maxsize=1)
def _read_members_once(source: SourceConfig, members_sha256: str) -> MemberRule:
    """What the lists say about members, read once in each process.

    Raises:
        WorkError: if they are not what they were when the build began.
    """
    catalog = read_catalog(source)
    if catalog.archived is None or members_digest(catalog) != members_sha256:
        raise WorkError(
            "the lists of source have changed since this build began; give them back their contents and run the same "
            "command again, or build into another folder (--set out=...)"
        )
    return catalog.archived.members


def _write_record(store: Store, record: WindowRecord) -> None:
    store.write(window_name(record.number), record.to_json())


def _others(store: Store, window: int, numbers: Collection[int]) -> list[str]:
    """What there is of a window's shards but for some numbers."""
    names = {name: shard_number(name) for name in store.sizes()}
    return [
        name for name, n in names.items() if n is not None and n // SHARDS_PER_WINDOW == window and n not in numbers
    ]


def _drop(store: Store, names: Collection[str]) -> None:
    """Delete objects of shards; then the manifest, which somebody may have written meanwhile."""
    for name in sorted(names, key=lambda name: not name.endswith(".json")):  # without its record a shard is none
        store.delete(name)
    if names:
        store.delete(MANIFEST_NAME)
