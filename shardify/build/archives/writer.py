"""One window of archives -> its shards: read once from first to last, decoded by several threads, packed in order.

In: a :class:`WindowTask`. Out: shards in the store. Tar and index of a shard are written when it is full. When all
archives were read to their end, the records of all shards are written, and last the record of the window. Only the
order of the archives determines a video's shard; failed decoding does not change it.
"""

from __future__ import annotations

import functools
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from shardify.build.archives.contents import Contents
from shardify.build.archives.reading import ArchiveDamageError, read_members
from shardify.build.archives.windows import (
    SHARDS_PER_WINDOW,
    Window,
    WindowRecord,
    members_digest,
    shard_number,
    window_name,
)
from shardify.build.shard_writer import OpenShard, Recipe, Report, decode_source, write_record
from shardify.catalogs import SourceConfig, read_catalog
from shardify.catalogs.archived import Archive, Member, folder_of
from shardify.catalogs.base import Archived, Video
from shardify.catalogs.content import why_no_video, why_not_a_video
from shardify.catalogs.keys import member_key
from shardify.catalogs.near_misses import loose_form
from shardify.catalogs.reasons import NO_CLASS, UNLISTED
from shardify.errors import WorkError
from shardify.frames.decoding import Frames, VideoError, stop_decoding
from shardify.frames.memory_file import MemoryFile
from shardify.shards.format import MANIFEST_NAME
from shardify.shards.record import ShardRecord
from shardify.shards.seen import LeftOut, tally
from shardify.storage import open_store
from shardify.storage.store import Store

MAX_WAITING_BYTES = 1 << 30
"""Memory for videos that wait for decoding; the last video may exceed it."""


@dataclass(frozen=True, kw_only=True)
class WindowTask(Recipe):
    """A window to pack; picklable, for any process."""

    window: Window
    kept: frozenset[int]
    """Shards that an earlier run packed from the same whole archives; they are not written again."""
    source: SourceConfig
    """Each process reads the lists itself: they are long, and the same for all windows."""
    members_sha256: str
    """Of the lists at the start of the build, see :func:`shardify.build.archives.windows.members_digest`."""
    splits: tuple[str, ...]
    """All splits of the data set, in order."""
    videos_per_shard: int
    num_threads: int

    def write(self, report: Report) -> WindowRecord:
        """Read a window's archives, decode, pack, and commit all its shards together; returns the window's new record.

        If an archive is damaged and this is not accepted, the window gets no new shard, and its record names the
        damage. If it is accepted, the window holds the videos before the damage; if these may be wrong too, the window
        is packed again without that archive. `report` is called once per decoded video, in order. If it raises, nothing
        is committed.

        Raises:
            UsageError: if access to the archives is denied.
            WorkError: if an archive is gone or cannot be read, the disk is full, or the window has too many shards.
        """
        store = open_store(self.location)
        lists = _read_lists_once(self.source, self.members_sha256)
        # kept shards hold videos from the part that is damaged now, so the window cannot leave them out
        accepts = self.source.accept_damaged_archives and not self.kept
        damage: dict[str, ArchiveDamageError] = {}
        left_out: set[str] = set()
        earlier: dict[str, Contents] = {}
        while True:
            with _Packer(self, store, lists, report, accepts=accepts, earlier=earlier) as packer:
                packer.read_all(left_out)
            damage |= packer.damage
            if not packer.must_repeat and (packer.is_sound or not accepts):
                break
            earlier = packer.contents
            left_out |= {path for path, error in damage.items() if error.spoils_all}
        for shard in packer.records if packer.is_sound else ():
            write_record(store, shard)
        record = WindowRecord(
            number=self.window.number,
            archives=self.window.archives,
            state="complete" if packer.is_sound else "damaged",
            shards=packer.shards if packer.is_sound else tuple(sorted(self.kept)),
            found=tuple(sorted(packer.found.elements())) if packer.is_sound else (),
            num_unlisted=packer.num_unlisted,
            unlisted_example=packer.unlisted_example,
            damage=tuple(sorted(map(str, damage.values()))),
            not_taken=packer.not_taken(),
            labels=tuple(sorted(packer.labels)),
            hints={name: path for name, path in packer.hints.items() if name not in packer.found},
        )
        _drop_others(store, record)
        store.write(window_name(record.number), record.to_json())
        return record


class _Packer:
    """Packs members of archives, one after the other, into shards without records."""

    def __init__(
        self,
        task: WindowTask,
        store: Store,
        lists: Archived,
        report: Report,
        *,
        accepts: bool,
        earlier: Mapping[str, Contents],
    ) -> None:
        self.found: Counter[str] = Counter()
        self.num_unlisted = 0
        self.unlisted_example = ""
        self.damage: dict[str, ArchiveDamageError] = {}
        """By the archive's path."""
        self.is_sound = True
        """False after damage that makes this attempt unusable; nothing is packed after that."""
        self.contents: dict[str, Contents] = {}
        """By the archive's path."""
        self.labels: set[int] = set()
        self.hints: dict[str, str] = {}
        """Listed name -> path of an unlisted video of nearly this name."""
        self.must_repeat = False
        """Whether the contents show that this attempt took wrong bytes for a name; nothing is packed after that."""
        self.records: list[ShardRecord] = []
        """Of the shards whose tar and index are in the store."""
        self._task = task
        self._store = store
        self._members = lists.members
        self._unlisted = UNLISTED if lists.listed else NO_CLASS
        self._report = report
        self._accepts = accepts
        self._earlier = earlier
        """The contents of the archives, from an earlier attempt."""
        self._others: list[tuple[str, str]] = []
        """Reason and path of files that do not belong to the data set."""
        self._first = task.window.number * SHARDS_PER_WINDOW
        self._placed: list[int] = []
        """Number of videos of each shard so far, by its number within the window."""
        self._filling: dict[tuple[str, ...], int] = {}
        """The unfilled shard of each split signature."""
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
            stop_decoding()  # Ctrl-C does not wait for the current videos
            time.sleep(0.02)
        self._threads.shutdown()
        stack = ExitStack()
        for shard in self._open.values():
            stack.push(shard)
        stack.__exit__(kind, error, traceback)

    @property
    def shards(self) -> tuple[int, ...]:
        """Numbers of all shards, including kept ones."""
        return tuple(range(self._first, self._first + len(self._placed)))

    def not_taken(self) -> tuple[LeftOut, ...]:
        """Everything in the archives that is no video of the data set."""
        beside = ((why, f"{name}/{path}") for name, one in self.contents.items() for why, path in one.left_out())
        return tally((*self._others, *beside))

    def read_all(self, left_out: Collection[str]) -> None:
        """Pack all archives except `left_out`.

        After damage that stops the packing, only search for more damage.
        """
        for archive in self._task.window.archives:
            if archive.path in left_out:
                continue
            try:
                self._read(archive)
            except ArchiveDamageError as error:
                self.damage[archive.path] = error
                self.is_sound &= self._accepts and not error.spoils_all
            self.must_repeat |= self.is_sound and self._took_wrong_bytes(archive)
        while self._waiting:
            self._pack_next()
        for number in sorted(self._open) if self._packs else ():
            self._put(number)

    @property
    def _packs(self) -> bool:
        return self.is_sound and not self.must_repeat

    def _read(self, archive: Archive) -> None:
        folder = folder_of(archive.path)
        known: dict[str, Member] = {}
        contents = self.contents[archive.path] = Contents()

        def wants(path: str, head: Callable[[], bytes]) -> bool:
            if not self._packs:
                return False
            why = why_not_a_video(path, head)
            member = self._members(f"{folder}/{path}", not why)
            if member is None:
                self._leave_out(why, f"{archive.path}/{path}")
                return False
            known[path] = member
            return self._first + self._next_shard(self._splits(member)) not in self._task.kept

        files = read_members(self._task.root, archive, wants, contents, self._earlier.get(archive.path))
        for path, memory in files:
            if path in known:
                self._place(f"{archive.path}/{path}", member_key(archive.path, path), known.pop(path), memory)

    def _leave_out(self, why: str, path: str) -> None:
        self._others.append((why or self._unlisted, path))
        if not why:
            self.num_unlisted += 1
            self.unlisted_example = self.unlisted_example or path
            for name in _near_names(self._task.source, self._task.members_sha256).get(loose_form(path), ()):
                self.hints.setdefault(name, path)

    def _took_wrong_bytes(self, archive: Archive) -> bool:
        """Whether a video of the data set is a link, or comes several times, and this was not known before."""
        if archive.path in self._earlier:
            return False
        folder = folder_of(archive.path)
        return any(
            self._members(f"{folder}/{path}", not why_no_video(path)) is not None
            for path in self.contents[archive.path].changed
        )

    def _splits(self, member: Member) -> tuple[str, ...]:
        return tuple(split for split in self._task.splits if split in member.listed.splits)

    def _next_shard(self, splits: tuple[str, ...]) -> int:
        """The shard for the next video of a split signature, by its number within the window."""
        number = self._filling.get(splits)
        if number is not None and self._placed[number] < self._task.videos_per_shard:
            return number
        if len(self._placed) == SHARDS_PER_WINDOW:
            raise WorkError(
                f"the window of archives that begins with {self._task.window.archives[0].path} needs more than "
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
        self.labels.add(member.listed.label)
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
            self._put(number)

    def _put(self, number: int) -> None:
        shard = self._open[number]
        self.records.append(shard.put())
        del self._open[number]
        shard.__exit__(None, None, None)


@functools.lru_cache(maxsize=1)
def _read_lists_once(source: SourceConfig, members_sha256: str) -> Archived:
    """The lists' facts about members, read once per process; WorkError if the lists have changed during the build."""
    catalog = read_catalog(source)
    if catalog.archived is None or members_digest(catalog) != members_sha256:
        raise WorkError(
            "the lists of source have changed since this build began; restore them and run the same "
            "command again, or build into another folder (--set out=...)"
        )
    return catalog.archived


@functools.lru_cache(maxsize=1)
def _near_names(source: SourceConfig, members_sha256: str) -> Mapping[str, list[str]]:
    """The listed names by :func:`shardify.catalogs.near_misses.loose_form`."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name in _read_lists_once(source, members_sha256).listed:
        names[loose_form(name)].append(name)
    return names


def _drop_others(store: Store, record: WindowRecord) -> None:
    """Delete a window's shards that are not in its record, then the manifest, which another part may have written."""
    numbers = {name: shard_number(name) for name in store.sizes()}
    others = [
        name
        for name, number in numbers.items()
        if number is not None and number // SHARDS_PER_WINDOW == record.number and number not in record.shards
    ]
    for name in sorted(others, key=lambda name: not name.endswith(".json")):  # records first: they commit a shard
        store.delete(name)
    if others:
        store.delete(MANIFEST_NAME)
