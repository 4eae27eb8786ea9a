"""Parts that replace shards while others write the manifest: none that stays names other bytes than the shards have."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers_shards import build_config, contents
from helpers_turns import interleave, interrupt

import shardify.build.run
import shardify.build.shard_writer
from shardify.build.description import read_description
from shardify.build.plan import Part, make_plan
from shardify.build.planned import find_shards
from shardify.build.run import build, build_part, write_final_objects
from shardify.build.shard_writer import decode_source
from shardify.build.summary import PartSummary
from shardify.catalogs import read_catalog
from shardify.errors import UnfinishedError
from shardify.frames.decoding import Frames, VideoError
from shardify.shards.format import shard_name
from shardify.shards.manifest import read_manifest
from shardify.storage.folder_store import FolderStore

NUM_INTERLEAVINGS = 60


@pytest.fixture(scope="module")
def lacking(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished build whose shard 1 lacks a video that may be had now."""
    out = tmp_path_factory.mktemp("shards") / "lacking"
    with pytest.MonkeyPatch.context() as patch:
        reject(4, patch)
        assert build(build_config(source, out, max_rejected_share=1)).num_transient == 1
    assert json.loads((out / "rejected.jsonl").read_bytes())["shard"] == 1
    return out


@pytest.fixture
def out(lacking: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lacking, tmp_path / "out"))


def reject(index: int, patch: pytest.MonkeyPatch) -> None:
    """Have the n-th video from now on rejected."""
    count = itertools.count()

    def decode(video: Any, recipe: Any) -> Frames | VideoError:
        if next(count) == index:
            return VideoError(status="transient", reason="no time")
        return decode_source(video, recipe)

    patch.setattr(shardify.build.shard_writer, "decode_source", decode)


def test_a_torn_shard_is_the_matter_of_its_part(source: Path, built: dict[str, bytes], tmp_path: Path) -> None:
    config = build_config(source, tmp_path)
    build(config)
    (tmp_path / "shard-000001.tar").unlink()
    idle = build_part(config, Part(number=1, count=2))
    assert isinstance(idle, PartSummary)
    assert (idle.num_shards_written, idle.num_shards_missing) == (0, 1)
    assert build_part(config, Part(number=2, count=2)).num_shards_written == 1
    assert contents(tmp_path) == built


def test_a_shard_that_comes_out_as_it_was_is_not_written(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a worker that was taken for lost, and ends after the build has, does not undo it."""

    def shards() -> dict[str, tuple[int, bytes]]:
        return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.glob("shard-*")}

    config, before = build_config(source, out, max_rejected_share=1), shards()
    reject(0, monkeypatch)
    summary = build(config, retry_failed=True)
    assert (summary.num_shards_written, summary.num_transient) == (1, 1)
    assert shards() == before
    (out / "shard-000001.tar").write_bytes(b"cut")
    reject(0, monkeypatch)
    build(config)
    assert (out / "shard-000001.tar").read_bytes() == before["shard-000001.tar"][1]


class Ends:
    """Two ways in which a part ends, in a build whose shard 1 may be replaced."""

    def __init__(self, source: Path, lacking: Path, folder: Path) -> None:
        self.outcomes: Counter[str] = Counter()
        self._lacking, self._folder = lacking, folder
        self._config = build_config(source, folder)
        self._catalog = read_catalog(self._config.source)
        self._plan = make_plan(self._catalog, self._config.videos_per_shard, self._config.seed)
        self._description = read_description(FolderStore(lacking))

    def begin(self, *, has_manifest: bool) -> FolderStore:
        shutil.rmtree(self._folder, ignore_errors=True)
        self.store = FolderStore(Path(shutil.copytree(self._lacking, self._folder)))
        if not has_manifest:
            self.store.delete("manifest.json")
        [self._task] = find_shards(self._config, self._catalog, self._plan, self.store, retry_failed=True).tasks
        return self.store

    def idle(self) -> None:
        """Nothing was to be done."""
        try:
            write_final_objects(self.store, self._description)
        except UnfinishedError:
            self.outcomes["unfinished"] += 1
        else:
            self.outcomes["finished"] += 1

    def replace(self) -> None:
        self._task.write(lambda _: None)
        self.idle()

    def check(self, built: dict[str, bytes] | None) -> None:
        """If there is a manifest, it names the bytes of tars and indexes."""
        if self.store.exists("manifest.json"):
            self.outcomes["has manifest"] += 1
            for shard in read_manifest(self.store).shards:
                data = [self.store.read(shard_name(shard.number, part)) for part in ("tar", "idx.npz")]
                assert [hashlib.sha256(d).hexdigest() for d in data] == [shard.tar_sha256, shard.index_sha256]
        if built is not None:
            assert contents(self.store.path) == built


@pytest.fixture
def ends(source: Path, lacking: Path, tmp_path: Path) -> Ends:
    return Ends(source, lacking, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("has_manifest", [False, True])
@pytest.mark.parametrize("interrupted", ["idle", "replace"])
def test_one_part_ends_in_the_midst_of_anothers_end(
    ends: Ends, built: dict[str, bytes], interrupted: str, has_manifest: bool
) -> None:
    """At every point of it; and the one that was interrupted may be killed, at every later point, and done again."""
    act, other = (ends.idle, ends.replace) if interrupted == "idle" else (ends.replace, ends.idle)
    for at in itertools.count(1):
        ends.begin(has_manifest=has_manifest)
        num_accesses = interrupt(act, other, at, None)
        if num_accesses < at:
            break
        ends.check(built)
        for killed_at in range(at, num_accesses + 1):
            ends.begin(has_manifest=has_manifest)
            interrupt(act, other, at, killed_at)
            ends.check(None)
            ends.idle()
            ends.check(built if interrupted == "idle" else None)
    assert at > 5
    assert ends.outcomes["has manifest"] > 10


@pytest.mark.slow
def test_three_parts_end_at_once(ends: Ends, built: dict[str, bytes]) -> None:
    for seed in range(NUM_INTERLEAVINGS):
        ends.begin(has_manifest=seed % 2 == 0)
        interleave([ends.replace, ends.idle, ends.idle], seed)
        ends.check(built)
    assert min(ends.outcomes["finished"], ends.outcomes["unfinished"]) > 10, ends.outcomes
