"""Builds in parts: any number of them, in any order or at once, give the bytes of one build."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_shards import build_config, contents

from shardify.build.plan import Part, parse_part
from shardify.build.run import build, build_part, finish
from shardify.build.summary import BuildSummary, PartSummary
from shardify.config import dump_config
from shardify.errors import UsageError, WorkError
from shardify.storage import open_store
from shardify.storage.lock import locked


def in_bucket(url: str) -> dict[str, bytes]:
    store = open_store(url)
    return {name: store.read(name) for name in store.names()}


@pytest.mark.parametrize("count", [1, 2, 3, 5, 20])
def test_parts_in_any_order_give_the_bytes_of_one_build(
    source: Path, built: dict[str, bytes], tmp_path: Path, count: int
) -> None:
    config = build_config(source, tmp_path)
    numbers = random.Random(count).sample(range(1, count + 1), count)
    summaries = [build_part(config, Part(number=number, count=count)) for number in numbers]
    assert contents(tmp_path) == built
    assert isinstance(summaries[-1], BuildSummary) or count > 5  # a part without a shard may come last
    written = sum(summary.num_shards_written for summary in summaries)
    assert written == sum(name.startswith("shard-") and name.endswith(".json") for name in built)
    assert build(config).num_shards_written == 0


def test_a_part_says_what_it_did_and_what_is_missing(source: Path, built: dict[str, bytes], tmp_path: Path) -> None:
    config = build_config(source, tmp_path)
    summary = build_part(config, Part(number=2, count=3))
    assert isinstance(summary, PartSummary)
    planned = sum(name.endswith(".tar") for name in built)
    assert summary.num_shards + summary.num_shards_missing == planned
    assert summary.num_shards == summary.num_shards_written == len(range(1, planned, 3))
    assert "manifest.json" not in contents(tmp_path)
    assert "part 2/3 is done" in summary.lines()[0]
    with pytest.raises(WorkError, match=rf"{summary.num_shards_missing} of {planned} shards are not written yet \(0,"):
        finish(config)
    again = build_part(config, Part(number=2, count=3))
    assert (again.num_shards_written, again.problems) == (0, ())


def test_finish_writes_what_the_last_part_would(source: Path, built: dict[str, bytes], tmp_path: Path) -> None:
    config = build_config(source, tmp_path)
    build(config)
    for name in ("manifest.json", "rejected.jsonl", "missing.jsonl"):
        (tmp_path / name).unlink()
    summary = finish(config)
    assert contents(tmp_path) == built
    assert (summary.num_samples, summary.num_shards_written) == (build(config).num_samples, 0)


@pytest.mark.parametrize("lost", ["shard-000001.tar", "shard-000002.idx.npz"])
def test_finish_is_not_content_with_half_a_shard(
    source: Path, built: dict[str, bytes], tmp_path: Path, lost: str
) -> None:
    config = build_config(source, tmp_path)
    build(config)
    (tmp_path / lost).unlink()
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(WorkError, match=rf"tar or index of 1 shards \({int(lost[6:12])} ...\) are missing or of"):
        finish(config)
    assert not (tmp_path / "manifest.json").exists()
    assert build(config).num_shards_written == 1
    assert contents(tmp_path) == built


def test_finish_of_nothing(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no build.json: run `shardify build` first"):
        finish(build_config(source, tmp_path))


def test_parts_of_another_build_are_refused(source: Path, tmp_path: Path) -> None:
    build_part(build_config(source, tmp_path), Part(number=1, count=2))
    with pytest.raises(UsageError, match=r"was built differently: min_frames was \d+ and is now 3"):
        build_part(build_config(source, tmp_path, min_frames=3), Part(number=2, count=2))


def test_parts_work_side_by_side_and_a_whole_build_alone(source: Path, tmp_path: Path) -> None:
    config, part = build_config(source, tmp_path), Part(number=1, count=2)
    store = open_store(tmp_path)
    with locked(store, doing="building", together=True):
        build_part(config, part)
        for command in (build, finish):
            with pytest.raises(WorkError, match=r"another process .*is building in"):
                command(config)
    with locked(store, doing="building"), pytest.raises(WorkError, match=r"another process .*is building in"):
        build_part(config, part)


def test_a_part_leaves_the_half_written_files_of_others(source: Path, built: dict[str, bytes], tmp_path: Path) -> None:
    foreign = tmp_path / ".shard-000009.tar.1-abc.tmp"
    foreign.write_bytes(b"half")
    config = build_config(source, tmp_path)
    build_part(config, Part(number=1, count=2))
    assert foreign.exists()
    build(config)
    assert not foreign.exists()
    assert contents(tmp_path) == built


def test_parts_into_a_bucket(source: Path, built: dict[str, bytes], s3_url: str) -> None:
    config = build_config(source, Path("x")).model_copy(update={"out": s3_url})
    for number in (3, 1, 2):
        build_part(config, Part(number=number, count=3))
    assert in_bucket(s3_url) == built


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "-1/3", "a/b", "1/3/5", "", "1 / 3x"])
def test_parts_are_named_i_of_n(text: str) -> None:
    with pytest.raises(UsageError, match=r"write it as i/n with i from 1 to n, for example 3/16"):
        parse_part(text)


def test_every_task_is_in_one_part() -> None:
    tasks = list(range(17))
    for count in (1, 4, 16, 17, 30):
        parts = [parse_part(f"{number}/{count}").of(tasks) for number in range(1, count + 1)]
        assert sorted(task for part in parts for task in part) == tasks
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.slow
def test_parts_as_processes_at_once_and_one_of_them_killed(
    source: Path, built: dict[str, bytes], tmp_path: Path
) -> None:
    config = build_config(source, tmp_path / "out", workers=1)
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))

    def start(part: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "shardify", "build", str(path), "--part", part, "--json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    processes = [start(f"{number}/3") for number in (1, 2, 3)]
    processes[1].kill()
    results = [(process.communicate(timeout=120), process.returncode) for process in processes]
    assert [code for _, code in results] == [0, -9, 0]
    assert "manifest.json" not in contents(tmp_path / "out")
    (output, errors), code = (again := start("2/3")).communicate(timeout=120), 0
    assert again.wait() == code, errors
    assert json.loads(output)["num_shards"] == sum(name.endswith(".tar") for name in built)
    assert contents(tmp_path / "out") == built
