"""The node's cache: one download for all, never above its limit, nothing half written, damaged copies removed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import multiprocessing
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event as EventClass
from pathlib import Path

import pytest

from shardify.errors import DamageError, WorkError
from shardify.storage.traffic import Traffic, take
from stream_train.data.shard_cache import CacheFullError, OpenFile, ShardCache


def made_up(number: int, num_bytes: int = 1000) -> tuple[bytes, str]:
    data = bytes([number]) * num_bytes
    return data, hashlib.sha256(data).hexdigest()


def opened(cache: ShardCache, number: int, num_bytes: int = 1000) -> OpenFile:
    data, sha256 = made_up(number, num_bytes)
    found = cache.find(sha256, num_bytes)
    return found or cache.download(sha256, num_bytes, lambda: iter([data[:300], data[300:]]), "shard")


def downloaded(cache: ShardCache, number: int, num_bytes: int = 1000) -> Path:
    """The path of a copy that is not open any more."""
    return opened(cache, number, num_bytes).path


def fail_allocation(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.posix_fallocate", fail)


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(tmp_path, 10_000)


def test_a_copy_is_downloaded_once_and_then_found(tmp_path: Path) -> None:
    def never() -> Iterator[bytes]:
        raise AssertionError("it is there already")

    cache = ShardCache(tmp_path / "new", 10_000)
    take()
    data, sha256 = made_up(1)
    assert cache.find(sha256, 1000) is None
    file = opened(cache, 1)
    assert file.read(0, 1000) == file.path.read_bytes() == data
    assert cache.download(sha256, 1000, never, "shard").path == file.path
    found = ShardCache(tmp_path / "new", 10_000).find(sha256, 1000)
    assert found is not None
    assert found.read(1, 998) == data[1:-1]
    assert take() == Traffic(cache_misses=1)


def test_the_least_recently_used_make_room(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 3000)
    paths = [downloaded(cache, number) for number in range(3)]
    for age, path in enumerate(paths):
        os.utime(path, (1000 + age, 1000 + age))
    downloaded(cache, 0)  # used again, so the second is now the oldest
    fourth = downloaded(cache, 3)
    assert [path.exists() for path in (*paths, fourth)] == [True, False, True, True]
    assert cache.num_bytes() == 3000
    assert downloaded(cache, 7, 2500).exists()
    assert cache.num_bytes() == 2500


@pytest.mark.parametrize("found", [False, True])
def test_an_open_copy_is_not_removed_and_counts_in_full(tmp_path: Path, found: bool) -> None:
    cache = ShardCache(tmp_path, 2500)
    held = opened(cache, 1)
    if found:
        del held
        held = opened(ShardCache(tmp_path, 2500), 1)
    os.utime(held.path, (0, 0))  # the least recently used, but in use
    unused = downloaded(cache, 2)
    assert downloaded(cache, 3).exists()
    assert held.path.exists()
    assert not unused.exists()
    with pytest.raises(CacheFullError):
        downloaded(cache, 4, 1501)
    assert cache.num_bytes() == 2000, "nothing was removed in vain"
    path = held.path
    del held
    assert downloaded(cache, 4, 1501).exists()
    assert not path.exists()
    assert cache.num_bytes() <= 2500


def test_many_copies_make_room_at_once_with_few_files_open(tmp_path: Path) -> None:
    large = ShardCache(tmp_path, 10**6)
    for number in range(100):
        data = number.to_bytes(2, "big") * 500
        large.download(hashlib.sha256(data).hexdigest(), 1000, partial(iter, [data]), "shard")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64 + len(list(Path("/proc/self/fd").iterdir())), limits[1]))
    try:
        assert downloaded(ShardCache(tmp_path, 3000), 1).exists()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert large.num_bytes() == 3000


def test_a_lock_ends_although_a_process_was_forked_under_it(cache: ShardCache, tmp_path: Path) -> None:
    data, sha256 = made_up(1)
    other = ShardCache(tmp_path, 10_000)
    child = 0

    def pieces() -> Iterator[bytes]:
        nonlocal child
        child = os.fork()
        if not child:
            signal.pause()
        yield data

    file = cache.download(sha256, 1000, pieces, "shard")
    try:
        other.drop(file)
        thread = threading.Thread(target=downloaded, args=(other, 1), daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_copy_that_is_being_removed_is_not_found(cache: ShardCache) -> None:
    path = downloaded(cache, 1)
    results: list[OpenFile | None] = []
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: results.append(cache.find(made_up(1)[1], 1000)))
        thread.start()
        thread.join(0.1)
        assert results == []
        path.unlink()
    thread.join()
    assert results == [None]


def test_capacity_is_what_copies_may_take(cache: ShardCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded(cache, 1)
    assert cache.capacity() == 10_000
    free, blocks = 50, 1000
    disk = os.statvfs_result((4096, 4096, blocks, free, free, 0, 0, 0, 0, 255))
    monkeypatch.setattr("os.statvfs", lambda _: disk)
    assert ShardCache(tmp_path, 10**9).capacity() == 1000 + 4096 * (50 - 20)
    (tmp_path / "file").write_text("x")
    assert ShardCache(tmp_path / "file" / "below", 10**9).capacity() == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_no_room_and_other_errors_name_the_folder(
    cache: ShardCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail_allocation(monkeypatch, number)
    with pytest.raises(WorkError if number == errno.EIO else CacheFullError, match=r"Input/output|^$"):
        downloaded(cache, 1)
    assert {path.suffix for path in tmp_path.iterdir()} == {".lock"}


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkError, match=r"/file/below cannot be used"):
        downloaded(ShardCache(tmp_path / "file" / "below", 10_000), 1)


def test_a_damaged_download_is_repeated_once_and_never_kept(cache: ShardCache, tmp_path: Path) -> None:
    data, sha256 = made_up(1)
    for answers in ([b"x" * 1000] * 2, [data[:-1] + b"x", data]):
        take()
        given = iter(answers)

        def pieces(given: Iterator[bytes] = given) -> Iterator[bytes]:
            yield next(given)

        if data in answers:
            assert cache.download(sha256, 1000, pieces, "shard").path.read_bytes() == data
        else:
            with pytest.raises(DamageError, match="the-shard"):
                cache.download(sha256, 1000, pieces, "the-shard")
            assert not list(tmp_path.glob("*.tar")) + list(tmp_path.glob("*.part"))
        assert take() == Traffic(cache_misses=1, refetches=1)


def test_a_download_that_fails_leaves_nothing(cache: ShardCache, tmp_path: Path) -> None:
    def cut() -> Iterator[bytes]:
        yield b"abc"
        raise WorkError("cut")

    with pytest.raises(WorkError, match="cut"):
        cache.download(made_up(1)[1], 1000, cut, "shard")
    assert not list(tmp_path.glob("*.tar")) + list(tmp_path.glob("*.part"))
    assert downloaded(cache, 1).exists()


def test_a_copy_cut_short_by_a_crash_is_downloaded_again(cache: ShardCache) -> None:
    os.truncate(downloaded(cache, 1), 10)
    assert downloaded(cache, 1).read_bytes() == made_up(1)[0]


def test_threads_wait_for_the_one_that_downloads(tmp_path: Path) -> None:
    data, sha256 = made_up(1)
    calls: list[None] = []

    def slowly() -> Iterator[bytes]:
        calls.append(None)
        time.sleep(0.2)
        yield data

    def run(_: int) -> bytes:
        return ShardCache(tmp_path, 10_000).download(sha256, 1000, slowly, "shard").path.read_bytes()

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(run, range(6))) == [data] * 6
    assert len(calls) == 1


def test_parts_of_dead_processes_go_and_those_of_living_ones_stay_and_count(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 3000)
    dead, same, living = (tmp_path / f"{made_up(number)[1]}.part" for number in (8, 1, 9))
    for part in (dead, same, living):
        part.write_bytes(b"z" * 1000)
    with living.with_suffix(".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        downloaded(cache, 1)
        assert cache.num_bytes() == 2000
        with pytest.raises(CacheFullError):
            downloaded(cache, 2, 2001)
    assert [part.exists() for part in (dead, same, living)] == [False, False, True]


def test_a_dropped_copy_is_downloaded_again_and_its_successor_stays(cache: ShardCache) -> None:
    damaged = opened(cache, 1)
    cache.drop(damaged)
    assert not damaged.path.exists()
    cache.drop(damaged)
    new = opened(cache, 1)
    cache.drop(damaged)  # another thread found the same damage
    assert new.path.exists()
    cache.drop(new)
    assert not new.path.exists()


def use_at_random(folder: Path, seed: int, limit: int, stop: EventClass, refused: Queue[int]) -> None:
    """Open copies of eight shards in turn, two at a time, and read each where others might remove it."""
    cache, rng = ShardCache(folder, limit), random.Random(seed)
    held: list[OpenFile] = []
    full = uses = 0
    while not stop.is_set():
        number = rng.randrange(8)
        try:
            held = [*held[-1:], opened(cache, number)]
        except CacheFullError:
            full, held = full + 1, []
            continue
        uses += 1
        assert held[-1].read(0, 1000) == made_up(number)[0]
        assert all(file.path.exists() for file in held)
    assert uses > 100
    refused.put(full)


@pytest.mark.slow
def test_processes_that_share_a_small_cache_never_exceed_it_nor_lose_what_they_use(tmp_path: Path) -> None:
    limit = 7500  # four processes that hold two each may be refused, and then let go
    context = multiprocessing.get_context("spawn")
    stop, refused = context.Event(), context.Queue()
    processes = [context.Process(target=use_at_random, args=(tmp_path, n, limit, stop, refused)) for n in range(4)]
    for process in processes:
        process.start()
    watcher, most = ShardCache(tmp_path, limit), 0
    end = time.monotonic() + 12
    while time.monotonic() < end:
        with watcher._locked("room"):  # where files neither come nor go between one look and the next
            most = max(most, watcher.num_bytes())
    stop.set()
    assert [refused.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert limit - 1000 < most <= limit
