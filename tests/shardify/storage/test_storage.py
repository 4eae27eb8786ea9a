"""Stores hold whole objects or none."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from shardify.errors import UsageError, WorkError
from shardify.storage import open_store
from shardify.storage.folder_store import FolderStore
from shardify.storage.lock import exclusive, this_process


def test_objects_are_written_read_listed_and_deleted(tmp_path: Path) -> None:
    store = open_store(tmp_path / "new" / "deep", create=True)
    store.write("b", b"0123456789")
    store.write("a", b"first")
    store.write("a", b"second")
    assert store.names() == ["a", "b"]
    assert (store.read("a"), store.size("b"), store.exists("c")) == (b"second", 10, False)
    assert store.read_range("b", 3, 4) == b"3456"
    with pytest.raises(WorkError, match=r"ends at byte 10, but 12 were expected"):
        store.read_range("b", 8, 4)
    with pytest.raises(FileNotFoundError):
        store.read("c")
    store.delete("a")
    store.delete("a")
    assert store.names() == ["b"]
    assert store.url("b") == str((tmp_path / "new" / "deep" / "b").resolve())


def test_a_write_that_fails_leaves_the_old_object_and_no_rest(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.write("a", b"old")

    def fail_half_way() -> None:
        with store.temporary("a") as path:
            path.write_bytes(b"half")
            assert store.names() == ["a"]
            assert store.leftovers() == [path]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert store.read("a") == b"old"
    assert store.leftovers() == []


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    message = r"no space left while writing .*/a; free some and run the same command again"
    with pytest.raises(WorkError, match=message), FolderStore(tmp_path).temporary("a"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_second_writer_is_kept_out_and_leftovers_go(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    leftover = tmp_path / ".a.1-x.tmp"
    leftover.write_bytes(b"half")
    store.write("notes", b"mine")
    with exclusive(store, doing="building"):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "notes"]
        holder = rf"another process \({this_process()}\)"
        message = f"^{holder} is training in {tmp_path}; wait for it, stop it, or give another out$"
        with pytest.raises(WorkError, match=message), exclusive(FolderStore(tmp_path), doing="training"):
            pass
        leftover.write_bytes(b"of a worker that was killed")
    assert not leftover.exists()
    with exclusive(store, doing="building"):
        pass


def test_a_file_system_without_locks_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with exclusive(FolderStore(tmp_path), doing="building"):
        assert f"{tmp_path}: its file system has no locks (No locks available); two" in capsys.readouterr().err


def test_places_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"nothing does not exist; give the folder, or a URL such as s3://bucket/path, that holds"
    ):
        open_store(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file is a file, not a folder"):
        open_store(tmp_path / "file")
    with pytest.raises(UsageError, match=r"cannot make the folder"):
        open_store(tmp_path / "file" / "below", create=True)
    with pytest.raises(UsageError, match=r"ftp://host/x: use s3://bucket/path, gs://"):
        open_store("ftp://host/x")
