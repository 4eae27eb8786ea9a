"""Opening shards from many threads: once for all, one error for all that wait, again after damage and after errors."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_datasets import write_dataset
from helpers_remote import RemoteFolder

from shardify.errors import DamageError, WorkError
from shardify.shards.record import ShardRecord
from shardify.storage.folder_store import FolderStore
from shardify.storage.traffic import take
from stream_train.data.order import Slot
from stream_train.data.plans import ClipPlan
from stream_train.data.prefetching import SAMPLE_THREADS, BatchRequest, SamplePrefetcher
from stream_train.data.reader import FrameReader, ShardSet, open_shard_set, pick_from_indexes, shard_set_of
from stream_train.data.shard_access import CachedAccess, LocalAccess, OpenShard
from stream_train.data.shard_cache import ShardCache
from stream_train.draws import Domain, SampleDraws
from stream_train.transformations.config import SamplingConfig
from stream_train.transformations.sampling import draw_clips

LENGTHS = [[40, 16], [33, 61, 35], [20]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("reader") / "set", LENGTHS)


@pytest.fixture(scope="module")
def data(folder: Path) -> ShardSet:
    return open_shard_set(folder, None)


@pytest.fixture
def store(folder: Path) -> RemoteFolder:
    return RemoteFolder(folder)


@pytest.fixture
def cached(store: RemoteFolder, tmp_path: Path) -> CachedAccess:
    return CachedAccess(store, ShardCache(tmp_path, 10**9))


class SlowAccess(LocalAccess):
    """Counts its openings, which take a while; the first one fails."""

    openings = 0

    def open(self, record: ShardRecord) -> OpenShard:
        self.openings += 1
        time.sleep(0.3)
        if self.openings == 1:
            raise WorkError("outage")
        return super().open(record)


def test_threads_that_wait_for_an_opening_share_its_error_and_later_ones_try_again(
    folder: Path, data: ShardSet
) -> None:
    access = SlowAccess(FolderStore(folder))
    reader = FrameReader(replace(data, access=access))
    with ThreadPoolExecutor(8) as threads:
        errors = [future.exception() for future in [threads.submit(reader.read, 0, [0]) for _ in range(8)]]
    assert list(map(str, errors)) == ["outage"] * 8
    assert access.openings == 1
    assert reader.read(0, [0])
    assert access.openings == 2


def test_damage_that_many_threads_find_at_once_is_downloaded_again_once(
    data: ShardSet, store: RemoteFolder, cached: CachedAccess, tmp_path: Path
) -> None:
    reader = FrameReader(replace(data, access=cached))
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
    assert store.requests["shard-000000.idx.npz"] == 1, "what one thread has opened again the others use"


def test_damage_that_a_late_reader_finds_does_not_remove_the_new_copy(data: ShardSet, cached: CachedAccess) -> None:
    record = data.shards[0]
    late = cached.open(record)
    cached.open(record).discard()
    new = cached.open(record)
    take()
    late.discard()
    cached.prefetch(record)
    assert take().cache_misses == 0
    new.discard()
    cached.prefetch(record)
    assert take().cache_misses == 1


def test_a_copy_that_the_disk_can_no_longer_read_is_downloaded_again(
    data: ShardSet, cached: CachedAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = FrameReader(replace(data, access=cached))
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


def test_prefetching_downloads_only_tars_and_keeps_none_open(
    data: ShardSet, store: RemoteFolder, cached: CachedAccess, tmp_path: Path
) -> None:
    for record in [*data.shards, *data.shards]:
        cached.prefetch(record)
    assert store.requests == {f"shard-{number:06d}.tar": 1 for number in range(3)}
    assert cached.cache.num_bytes() == sum(record.tar_bytes for record in data.shards)
    ShardCache(tmp_path, data.shards[0].tar_bytes)._make_room(data.shards[0].tar_bytes)  # removes only unused ones
    assert cached.cache.num_bytes() == 0


def draw(num_frames: int, draws: SampleDraws) -> list[ClipPlan]:
    return list(draw_clips(num_frames, draws, config=SamplingConfig()))


def test_a_failed_sample_ends_the_batch_and_nothing_more_is_begun(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    """The deadline of one request is waited for once, not once for each sample of this batch and the next."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    for index in copy.glob("*.idx.npz"):
        index.unlink()
    store = RemoteFolder(copy)
    asked = []
    read = store.read

    def slow_read(name: str) -> bytes:
        asked.append(name)
        if name.endswith(".npz"):
            time.sleep(0.2)
        return read(name)

    monkeypatch.setattr(store, "read", slow_read)
    prefetcher = SamplePrefetcher(shard_set_of(store, None), draw, 0, Domain.TRAINING, open_shards=8)
    slots = tuple(Slot(epoch=epoch, position=0) for epoch in range(4 * SAMPLE_THREADS))
    following = BatchRequest(number=1, slots=tuple(Slot(epoch=9, position=2) for _ in slots))
    request = BatchRequest(number=0, slots=slots, following=following)
    start = time.monotonic()
    with pytest.raises(WorkError, match=r"shard-000000.idx.npz is missing"):
        list(prefetcher.samples(request))
    prefetcher.close()
    (waiting,) = prefetcher._begun.values()
    assert sum(future.cancelled() for future in waiting) >= len(slots) - SAMPLE_THREADS
    assert time.monotonic() - start < 4
    assert asked.count("shard-000000.idx.npz") <= 4


def test_a_shard_set_travels_to_workers_with_its_store_and_access(data: ShardSet, tmp_path: Path) -> None:
    access = CachedAccess(data.store, ShardCache(tmp_path, 10**9))
    copy = pickle.loads(pickle.dumps(replace(data, access=access)))
    assert (copy.location, copy.access.kind, copy.access.cache.folder) == (data.location, "cached", tmp_path)
    assert FrameReader(copy).read(0, [3]) == FrameReader(data).read(0, [3])


def test_an_index_that_stays_damaged_is_an_error(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "shard-000001.idx.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WorkError, match=r"shard-000001.idx.npz") as caught:
        pick_from_indexes(open_shard_set(copy, None), len)
    assert not isinstance(caught.value, DamageError), "a substitute may stand in for a damaged sample only"
