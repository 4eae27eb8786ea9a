"""Work folders: what is downloaded, what is uploaded and in which order, and what happens on errors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from shardify.errors import UsageError, WorkError
from shardify.storage import open_store
from shardify.storage.object_store import ObjectStore
from shardify.storage.work_folder import WorkFolder, downloaded, require_writable, uploaded, work_folder


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the objects, in the order in which they are stored."""
    names: list[str] = []
    original = ObjectStore.write

    def write(self: ObjectStore, name: str, data: bytes) -> None:
        names.append(name)
        original(self, name, data)

    monkeypatch.setattr(ObjectStore, "write", write)
    return names


def test_a_local_folder_is_itself(tmp_path: Path) -> None:
    with work_folder(tmp_path / "a" / "b") as folder:
        assert folder.path == tmp_path / "a" / "b"
        (folder.path / "x").write_text("1")
        folder.publish()
    assert (tmp_path / "a" / "b" / "x").read_text() == "1"
    with work_folder(tmp_path / "absent", create=False) as folder:
        assert not folder.path.exists()


def test_files_are_uploaded_once_and_again_when_they_change(s3_url: str, written: list[str]) -> None:
    with work_folder(f"{s3_url}/run") as folder:
        (folder.path / "deep").mkdir()
        (folder.path / "deep" / "x").write_text("1")
        (folder.path / ".hidden").write_text("no")
        (folder.path / "deep" / ".x.123.tmp").write_text("half")
        folder.publish()
        folder.publish()
        assert written == ["deep/x"]
        (folder.path / "deep" / "x").write_text("2")  # as long as before
        folder.publish()
        path = folder.path
    assert written == ["deep/x", "deep/x"]
    assert not path.exists(), "the copy is gone"
    store = open_store(f"{s3_url}/run")
    assert isinstance(store, ObjectStore)
    assert (store.tree(), store.read("deep/x")) == ({"deep/x": 1}, b"2")


def test_only_wanted_files_are_downloaded_and_they_are_not_uploaded_again(s3_url: str, written: list[str]) -> None:
    with work_folder(s3_url) as folder:
        for name in ("a.json", "b.json", "c.bin"):
            (folder.path / name).write_text(name)
        folder.publish()
    written.clear()
    with work_folder(s3_url, lambda name: name.endswith(".json")) as folder:
        assert sorted(path.name for path in folder.path.iterdir()) == ["a.json", "b.json"]
        assert (folder.path / "a.json").read_text() == "a.json"
        folder.publish()
    with work_folder(s3_url, ("c.bin", "absent")) as folder:
        assert [path.name for path in folder.path.iterdir()] == ["c.bin"]
        (folder.path / "c.bin").write_text("new")
        folder.publish()
    assert written == ["c.bin"]
    assert open_store(s3_url).names() == ["a.json", "b.json", "c.bin"], (
        "files that were not downloaded are not deleted either"
    )


def test_files_are_uploaded_oldest_change_first_and_the_last_ones_last(s3_url: str, written: list[str]) -> None:
    with work_folder(s3_url, last=("row.json",)) as folder:
        (folder.path / "sub").mkdir()
        now = time.time_ns()
        for age, name in enumerate(["z", "sub/row.json", "b", "a"]):
            path = folder.path / name
            path.write_text(name)
            os.utime(path, ns=(now, now + age))
        folder.publish()
    assert written == ["z", "b", "a", "sub/row.json"]


def test_names_that_lead_out_of_the_copy_are_ignored(s3_url: str, tmp_path: Path) -> None:
    folder = WorkFolder(s3_url)
    with folder.opened(("../outside", f"/{tmp_path}/outside", ".hidden")):
        assert list(folder.path.iterdir()) == []


def test_one_file_is_downloaded_and_uploaded(s3_url: str, tmp_path: Path) -> None:
    with uploaded(f"{s3_url}/deep/x.bin") as path:
        path.write_bytes(b"contents")
    with downloaded(f"{s3_url}/deep/x.bin") as path:
        assert (path.name, path.read_bytes()) == ("x.bin", b"contents")
    assert not path.exists()
    with pytest.raises(FileNotFoundError), downloaded(f"{s3_url}/deep/y.bin"):
        pass
    with uploaded(tmp_path / "new" / "x") as path:
        assert path == tmp_path / "new" / "x"
        path.write_bytes(b"here")
    with downloaded(tmp_path / "new" / "x") as path:
        assert path == tmp_path / "new" / "x"


def test_a_file_is_not_uploaded_after_an_error(s3_url: str) -> None:
    def write_half() -> None:
        with uploaded(f"{s3_url}/x") as path:
            path.write_bytes(b"half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert open_store(s3_url).names() == []


def test_read_only_locations_are_found_before_the_work(s3_url: str, tmp_path: Path) -> None:
    require_writable(s3_url)
    assert open_store(s3_url).names() == []
    require_writable(tmp_path / "not" / "yet")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to .*/file/x: .*/file is a file"):
        require_writable(tmp_path / "file" / "x")
    with pytest.raises(UsageError, match="there is no such bucket"):
        require_writable("s3://no-such-bucket-anywhere/x")
    with pytest.raises(UsageError, match="can only be read"):
        require_writable("https://example.org/x")


def test_a_full_disk_under_the_copy_is_one_clear_error(s3_url: str) -> None:
    """/dev/full takes nothing, like a disk without space."""

    def write() -> None:
        with work_folder(s3_url) as folder:
            (folder.path / "x").symlink_to("/dev/full")
            (folder.path / "x").write_text("1")

    with pytest.raises(WorkError, match=r"no space left in .*TMPDIR"):
        write()
    assert open_store(s3_url).names() == []


@pytest.mark.parametrize("use", [uploaded, downloaded, work_folder, nullcontext])
def test_a_misspelt_url_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[str], AbstractContextManager[Any]]
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(UsageError, match=r"^s3:/bucket/x: for a URL, write s3://bucket/x;"),
        use("s3:/bucket/x"),
    ):
        require_writable("s3:/bucket/x")
    assert list(tmp_path.iterdir()) == []
