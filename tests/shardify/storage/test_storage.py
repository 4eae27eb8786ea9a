"""Folders as stores: whole objects or none, on the disk before a write returns, one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shardify.errors import UsageError, WorkError
from shardify.storage import open_store
from shardify.storage.folder_store import NO_SYNC, FolderStore, whole_file
from shardify.storage.lock import locked, this_process


def test_a_failed_write_leaves_the_old_object_and_no_temporary_file(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.write("a", b"old")

    def fail_half_way() -> None:
        with whole_file(tmp_path / "a") as path:
            path.write_bytes(b"half")
            assert store.names() == ["a"]
            assert store.leftovers() == [path]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert store.read("a") == b"old"
    assert store.leftovers() == []


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"no space left while writing .*/a"), FolderStore(tmp_path).temporary("a"):
        raise OSError(errno.ENOSPC, "No space left on device")


def no_hard_links(*_: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("verb", ["write", "create"])
def test_file_and_folder_are_synced_before_a_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, links: bool
) -> None:
    """The contents before the name appears, then the name: a power cut leaves the whole object or none."""
    synced: list[tuple[int, bool]] = []

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, (tmp_path / "a").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", no_hard_links)
    store = FolderStore(tmp_path)
    assert getattr(store, verb)("a", b"1") in (None, True)
    file, folder = (tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino
    assert (file, False) in synced
    assert (folder, True) in synced


def test_only_one_of_many_creators_succeeds_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "hardlink_to", no_hard_links)
    together = threading.Barrier(8)
    exists = FolderStore.exists

    def slow_exists(self: FolderStore, name: str) -> bool:
        there = exists(self, name)
        threading.Event().wait(0.02)  # another creator would come in between
        return there

    monkeypatch.setattr(FolderStore, "exists", slow_exists)

    def create(i: int) -> bool:
        together.wait()
        return FolderStore(tmp_path).create("a", f"{i}".encode())

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(create, range(8)))
    assert created.count(True) == 1
    assert (tmp_path / "a").read_bytes() == f"{created.index(True)}".encode()
    assert FolderStore(tmp_path).names() == ["a"]
    assert FolderStore(tmp_path).leftovers() == []


def test_a_lock_keeps_a_second_writer_out_and_deletes_leftovers(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    leftover = tmp_path / ".a.1-x.tmp"
    leftover.write_bytes(b"half")
    store.write("notes", b"mine")
    with locked(store, doing="building"):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "notes"]
        message = rf"another process \({this_process()}\) is training in {tmp_path}"
        with pytest.raises(WorkError, match=message), locked(FolderStore(tmp_path), doing="training"):
            pass
        leftover.write_bytes(b"of a worker that was killed")
    assert not leftover.exists()
    with locked(store, doing="building"):
        pass


@pytest.mark.parametrize("code", NO_SYNC)
def test_a_file_system_that_cannot_sync_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    def no_sync(_: int) -> None:
        raise OSError(code, "Invalid argument")

    monkeypatch.setattr(os, "fsync", no_sync)
    with locked(FolderStore(tmp_path), doing="building"):
        FolderStore(tmp_path).write("a", b"1")
        assert FolderStore(tmp_path).create("b", b"2")
    assert (tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes() == b"12"
    assert capsys.readouterr().err.count(f"{tmp_path}: its file system cannot sync") == 1


def test_a_disk_that_fails_to_sync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output error"):
        FolderStore(tmp_path).write("a", b"1")


def test_a_file_system_without_locks_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with locked(FolderStore(tmp_path), doing="building"):
        assert f"{tmp_path}: its file system has no locks" in capsys.readouterr().err


def test_locations_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="nothing does not exist"):
        open_store(tmp_path / "nothing")
    with pytest.raises(UsageError, match="file is a file"):
        open_store(tmp_path / "file")
    with pytest.raises(UsageError, match="cannot make the folder"):
        open_store(tmp_path / "file" / "below", create=True)
