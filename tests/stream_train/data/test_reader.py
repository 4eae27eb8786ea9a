"""Opening shards from many threads: once for all, failing for all that wait, anew after damage and after errors."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers_datasets import write_dataset
from helpers_remote import LOCATION, RemoteFolder, put_afar

from shardify.errors import DamageError, WorkError
from shardify.shards.record import ShardRecord
from shardify.storage.folder_store import FolderStore
from shardify.storage.traffic import take
from stream_train.data.config import IndexedReaderConfig
from stream_train.data.fetching import SAMPLE_THREADS, BatchRequest, SampleFetcher
from stream_train.data.order import Slot
from stream_train.data.reader import FrameReader, ShardSet, open_shard_set, pick_from_indexes
from stream_train.data.shard_access import CachedAccess, LocalAccess, OpenShard, choose_access
from stream_train.data.shard_cache import ShardCache
from stream_train.draws import Domain, SampleDraws
from stream_train.transformations.sampling import ClipPlan, SamplingConfig, draw_clips

LENGTHS = [[40, 16], [33, 61, 35], [20]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("reader") / "set", LENGTHS)


@pytest.fixture(scope="module")
def data(folder: Path) -> ShardSet:
    return open_shard_set(folder, None)


class Access(LocalAccess):
    """In place, with openings that are counted, take a while and fail as often as told."""

    def __init__(self, folder: Path, *, failures: int = 0, seconds: float = 0.0) -> None:
        super().__init__(FolderStore(folder))
        self.openings = 0
        self._failures, self._seconds = failures, seconds

    def open(self, record: ShardRecord) -> OpenShard:
        self.openings += 1
        time.sleep(self._seconds)
        if self.openings <= self._failures:
            raise WorkError(f"outage {self.openings}")
        return super().open(record)


def test_who_waits_for_an_opening_shares_its_error_and_who_comes_later_tries_again(
    folder: Path, data: ShardSet
) -> None:
    access = Access(folder, failures=1, seconds=0.3)
    reader = FrameReader(data, access)
    with ThreadPoolExecutor(8) as threads:
        errors = [future.exception() for future in [threads.submit(reader.read, 0, [0]) for _ in range(8)]]
    assert list(map(str, errors)) == ["outage 1"] * 8
    assert access.openings == 1
    assert reader.read(0, [0])
    assert access.openings == 2


def test_damage_that_many_threads_find_at_once_is_fetched_anew_once(folder: Path, tmp_path: Path) -> None:
    store = RemoteFolder(folder)
    data = open_shard_set(folder, None)
    reader = FrameReader(data, CachedAccess(store, ShardCache(tmp_path, 10**9)))
    entry = reader.entry(0)
    (copy,) = tmp_path.glob("*.tar")
    with copy.open("r+b") as file:
        for offset in entry.frame_offsets("mjpg"):
            file.seek(int(offset) + 20)
            file.write(b"damaged")
    store.bytes_read.clear()
    store.requests.clear()
    ready = threading.Barrier(8)

    def read(frame: int) -> int:
        ready.wait()
        return len(reader.read(0, [frame])[frame])

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(read, range(8))) == entry.frame_bytes[:8].tolist()
    assert store.bytes_read["shard-000000.tar"] == data.shards[0].tar_bytes
    assert store.requests["shard-000000.idx.npz"] == 1, "what one thread has opened anew the others use"


def test_damage_found_by_a_reader_that_is_late_does_not_cost_the_new_copy(folder: Path, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 10**9)
    access = CachedAccess(RemoteFolder(folder), cache)
    (record, *_) = open_shard_set(folder, None).shards
    late = access.open(record)
    access.open(record).discard()
    anew = access.open(record)
    take()
    late.discard()
    access.prepare(record)
    assert take().cache_misses == 0
    anew.discard()
    access.prepare(record)
    assert take().cache_misses == 1


def test_a_copy_that_the_disk_cannot_read_any_more_is_fetched_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = FrameReader(open_shard_set(folder, None), CachedAccess(RemoteFolder(folder), ShardCache(tmp_path, 10**9)))
    reader.entry(0)
    (broken,) = (path.stat().st_ino for path in tmp_path.glob("*.tar"))
    pread = os.pread

    def failing(descriptor: int, num_bytes: int, start: int) -> bytes:
        if os.fstat(descriptor).st_ino == broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(descriptor, num_bytes, start)

    monkeypatch.setattr("os.pread", failing)
    take()
    assert reader.read(0, [0])
    assert (take().refetches, [path.stat().st_ino == broken for path in tmp_path.glob("*.tar")]) == (1, [False])


def test_preparing_brings_the_tar_and_holds_nothing_open(folder: Path, tmp_path: Path) -> None:
    store = RemoteFolder(folder)
    cache = ShardCache(tmp_path, 10**9)
    records = open_shard_set(folder, None).shards
    access = CachedAccess(store, cache)
    for record in records:
        access.prepare(record)
        access.prepare(record)
    assert {name: count for name, count in store.requests.items() if not name.endswith(".tar")} == {}
    assert cache.num_bytes() == sum(record.tar_bytes for record in records)
    ShardCache(tmp_path, records[0].tar_bytes)._make_room(records[0].tar_bytes)  # so none is in use
    assert cache.num_bytes() == 0


def draw(num_frames: int, draws: SampleDraws) -> list[ClipPlan]:
    return list(draw_clips(num_frames, draws, config=SamplingConfig()))


def test_a_failed_sample_ends_the_batch_and_nothing_more_is_begun(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    """The deadline of one request is waited for once, not once for each sample of this batch and the next."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    for index in copy.glob("*.idx.npz"):
        index.unlink()
    store = put_afar(monkeypatch, copy)
    asked = []
    read = store.read

    def slow_read(name: str) -> bytes:
        asked.append(name)
        if name.endswith(".npz"):
            time.sleep(0.2)
        return read(name)

    monkeypatch.setattr(store, "read", slow_read)
    config = IndexedReaderConfig(access="ranged")
    fetcher = SampleFetcher(open_shard_set(LOCATION, None), config, draw, 0, Domain.TRAINING, open_shards=8)
    slots = tuple(Slot(epoch=epoch, position=0) for epoch in range(4 * SAMPLE_THREADS))
    following = BatchRequest(number=1, slots=tuple(Slot(epoch=9, position=2) for _ in slots))
    request = BatchRequest(number=0, slots=slots, following=following)
    start = time.monotonic()
    with pytest.raises(WorkError, match=r"shard-000000.idx.npz is missing"):
        list(fetcher.fetch(request))
    fetcher.close()
    (waiting,) = fetcher._begun.values()
    assert sum(future.cancelled() for future in waiting) >= len(slots) - SAMPLE_THREADS
    assert time.monotonic() - start < 4
    assert asked.count("shard-000000.idx.npz") <= 4


def test_auto_reads_in_ranges_where_the_cache_folder_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    shards = open_shard_set(folder, None).shards
    store = RemoteFolder(folder)
    for place, kind in ((tmp_path / "new", "cached"), (tmp_path / "file" / "below", "ranged")):
        config = IndexedReaderConfig.model_validate({"cache": {"folder": str(place)}})
        assert choose_access(store, shards, config) == kind


def test_auto_reads_in_ranges_where_the_disk_is_too_small(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    shards = open_shard_set(folder, None).shards
    total = sum(record.tar_bytes for record in shards)
    config = IndexedReaderConfig.model_validate({"cache": {"folder": str(tmp_path)}})
    for room, kind in ((total, "cached"), (total - 1, "ranged")):
        monkeypatch.setattr(ShardCache, "capacity", lambda _, room=room: room)
        assert choose_access(RemoteFolder(folder), shards, config) == kind


def test_what_is_picked_from_indexes_comes_in_order(data: ShardSet) -> None:
    assert pick_from_indexes(data, lambda index: index.num_frames.tolist()) == LENGTHS


def test_an_index_damaged_for_good_is_an_error(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "shard-000001.idx.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WorkError, match=r"shard-000001.idx.npz differs") as caught:
        pick_from_indexes(open_shard_set(copy, None), len)
    assert not isinstance(caught.value, DamageError), "only a sample's damage may be passed by"
