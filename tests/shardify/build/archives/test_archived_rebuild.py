"""Builds of archives go on after any end and mend what is missing, to the same bytes; other sources are refused."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers_archives import archived_config, write_tar
from helpers_shards import NUM_VIDEOS, contents

import shardify.build.archives.windows
import shardify.build.archives.writer
from shardify.build.run import build
from shardify.build.shard_writer import decode_source
from shardify.errors import UsageError
from shardify.frames.decoding import Frames, VideoError
from shardify.storage.folder_store import FolderStore


def test_a_rerun_decodes_and_writes_nothing(
    archived_source: Path, archived_shards: Path, tmp_path: Path, decoded: list[int]
) -> None:
    copy = Path(shutil.copytree(archived_shards, tmp_path / "copy"))
    written = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    summary = build(archived_config(archived_source / "archives", copy, workers=2))
    assert (summary.num_shards_written, summary.num_samples, decoded) == (0, NUM_VIDEOS - 1, [])
    assert {path.name: path.stat().st_mtime_ns for path in copy.iterdir() if path.name != ".lock"} == {
        name: time for name, time in written.items() if name != ".lock"
    }


@pytest.mark.parametrize(
    ("lost", "num_decoded", "num_written"),
    [
        (["shard-001001.json"], 2, 1),
        (["shard-001001.tar", "shard-002000.idx.npz"], 4, 2),
        (["window-000001.json"], 7, 3),
        (["window-000000.json", "shard-000002.json", "manifest.json"], 8, 3),
        (["manifest.json", "missing.jsonl"], 0, 0),
    ],
)
def test_a_rerun_mends_what_is_missing(
    archived_source: Path,
    archived_shards: Path,
    tmp_path: Path,
    decoded: list[int],
    lost: list[str],
    num_decoded: int,
    num_written: int,
) -> None:
    """Without its record, a window's shards may come from other archives."""
    copy = Path(shutil.copytree(archived_shards, tmp_path / "copy"))
    for name in lost:
        (copy / name).unlink()
    summary = build(archived_config(archived_source / "archives", copy))
    assert contents(copy) == contents(archived_shards)
    assert (len(decoded), summary.num_shards_written) == (num_decoded, num_written)


@pytest.mark.parametrize("after", [0, 1, 4, 9])
def test_a_build_that_ends_anywhere_goes_on(
    archived_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Killed before the n-th tar was written: only whole windows count, and they are kept."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    build(archived_config(archived_source / "archives", whole, videos_per_shard=2))
    real, count = FolderStore.write_file, 0

    def write(self: FolderStore, name: str, path: Path) -> None:
        nonlocal count
        count += name.endswith(".tar")
        if count > after:
            raise KeyboardInterrupt
        real(self, name, path)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "write_file", write)
        with pytest.raises(KeyboardInterrupt):
            build(archived_config(archived_source / "archives", out, videos_per_shard=2))
    left = {path.name[6:9] for path in out.glob("shard-*.json")}
    assert left == {path.name[10:13] for path in out.glob("window-*.json")}
    assert not list(out.glob(".*.tmp"))
    summary = build(archived_config(archived_source / "archives", out, videos_per_shard=2))
    assert contents(out) == contents(whole)
    kept = [path for path in whole.glob("shard-*.tar") if path.name[6:9] in left]
    assert summary.num_shards_written == summary.num_shards - len(kept)


def test_membership_does_not_depend_on_what_decodes(
    archived_source: Path, archived_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    calls = itertools.count()

    def fail_some(memory: Any, recipe: Any) -> Frames | VideoError:
        if next(calls) in (1, 9):
            memory.close()
            return VideoError(status="transient", reason="no time")
        return decode_source(memory, recipe)

    with monkeypatch.context() as patch:
        patch.setattr(shardify.build.archives.writer, "decode_source", fail_some)
        config = archived_config(archived_source / "archives", tmp_path, max_rejected_share=1)
        assert build(config).num_transient == 2
    lacking = contents(tmp_path)
    changed = {name for name, data in contents(archived_shards).items() if lacking[name] != data}
    assert lacking.keys() == contents(archived_shards).keys()
    shards = {name for name in changed if name.startswith("shard-")}
    assert len(shards) == 2 * 3  # two shards of three objects each
    assert changed - shards == {"manifest.json", "rejected.jsonl"}
    decoded.clear()
    build(archived_config(archived_source / "archives", tmp_path), retry_failed=True)
    assert contents(tmp_path) == contents(archived_shards)
    assert 2 <= len(decoded) <= 6  # the shards that lack videos, no others


def test_an_archive_that_changed_is_refused(archives: Path, tmp_path: Path) -> None:
    config = archived_config(archives, tmp_path / "out")
    build(config)
    size = (archives / "a.tar").stat().st_size
    (archives / "a.tar").write_bytes((archives / "a.tar").read_bytes() + bytes(512))
    message = rf"the archive a.tar had {size} bytes when it was packed and has {size + 512} now; delete window-000000"
    with pytest.raises(UsageError, match=message):
        build(config)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "window-000000.json").unlink()
    build(config)
    assert {name for name, data in contents(tmp_path / "out").items() if before[name] != data} == {"window-000000.json"}
    (archives / "a.tar").rename(archives / "c.tar")
    with pytest.raises(UsageError, match=r"there were 3 archives and are now 3 \(without a.tar; with c.tar\)"):
        build(config)
    write_tar(archives / "a.tar", {})
    with pytest.raises(UsageError, match=r"there were 3 archives and are now 4 \(with c.tar\)"):
        build(config)


def test_lists_that_changed_are_refused(archived_source: Path, tmp_path: Path) -> None:
    lists = Path(shutil.copytree(archived_source / "lists", tmp_path / "lists"))
    config = archived_config(archived_source / "archives", tmp_path / "out", source__lists=str(lists))
    build(config)
    path = lists / "trainlist01.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UsageError, match=r"was built differently: .*names, labels or splits"):
        build(config)
