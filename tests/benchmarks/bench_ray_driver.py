"""Memory of a Ray build's driver while it hands out a large data set: one million videos in six thousand shards.

    RAY_ADDRESS=local python tests/benchmarks/bench_ray_driver.py [--shards 6000] [--videos-per-shard 167]

The tasks are a build's whole tasks, but the workers do nothing. Prints one JSON object: resident megabytes of the
driver before (with catalog and plan) and after a tenth, a half and all of the tasks, and tasks per second.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shardify.build.config import BuildConfig
from shardify.build.plan import make_plan
from shardify.build.planned import find_shards
from shardify.build.pool import Task
from shardify.build.ray_cluster import run_on_ray
from shardify.build.shard_writer import Report, VideoDone
from shardify.catalogs.base import Catalog, Video
from shardify.storage import open_store

CLASSES = tuple(f"class {label:03d}" for label in range(400))


@dataclass(frozen=True, kw_only=True)
class Idle:
    """A build's task that does no work."""

    task: Task

    def write(self, report: Report) -> None:
        """Report one video as done."""
        report(VideoDone(num_frames=1))


def resident_mb() -> int:
    """Resident megabytes of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS:"))


def main() -> None:
    """Hand out the tasks and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shards", type=int, default=6000)
    parser.add_argument("--videos-per-shard", type=int, default=167)
    options = parser.parse_args()
    names = (f"{i:011d}_{i % 300:06d}_{i % 300 + 10:06d}" for i in range(options.shards * options.videos_per_shard))
    videos = tuple(
        Video(key=name, path=f"train/{CLASSES[i % 400]}/{name}.mp4", label=i % 400, splits=("train",))
        for i, name in enumerate(names)
    )
    catalog = Catalog(root="s3://bucket/videos", videos=videos, classes=CLASSES, splits=("train",))
    with tempfile.TemporaryDirectory() as folder:
        source = {"kind": "kinetics", "videos": catalog.root, "lists": "s3://bucket/train.csv", "release": 400}
        values = {"source": source, "out": folder, "videos_per_shard": options.videos_per_shard}
        config = BuildConfig.model_validate(values)
        plan = make_plan(catalog, config.videos_per_shard, config.seed)
        work = find_shards(config, catalog, plan, open_store(folder), retry_failed=False)
        measure(work.tasks, work.num_tasks, len(videos))


def measure(tasks: Iterable[Task], num_tasks: int, num_videos: int) -> None:
    """Hand out all tasks and print the measurements."""
    held: list[int] = []

    def report(done: VideoDone) -> None:
        assert done.num_frames
        held.append(resident_mb())

    before = resident_mb()
    start = time.monotonic()
    run_on_ray((Idle(task=task) for task in tasks), report)
    seconds = time.monotonic() - start
    assert len(held) == num_tasks
    result = {
        "videos": num_videos,
        "shards": num_tasks,
        "mb_with_plan": before,
        "mb_after_a_tenth": held[num_tasks // 10],
        "mb_after_a_half": held[num_tasks // 2],
        "mb_at_the_end": held[-1],
        "mb_most": max(held),
        "tasks_per_second": round(num_tasks / seconds),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
