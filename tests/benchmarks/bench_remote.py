"""Reading from an object store: traffic, speed compared with local files, and the cost of starting up.

    . env.sh   # the endpoint variables of an S3 server, a bucket in S3_BUCKET
    python tests/benchmarks/bench_remote.py --shards data/ucf101-8/shards --split train1

Prints one JSON object. Compare ratios within one run; absolute speeds on a shared machine mean little. Without a server
(no AWS_ENDPOINT_URL) the parts that need one are reported as left out.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from shardify.shards.manifest import Manifest
from shardify.shards.record import ShardRecord
from shardify.storage import open_store
from shardify.storage.traffic import take
from stream_train.data.config import DataConfig
from stream_train.data.loader import ClipStream
from stream_train.data.plans import DrawClips
from stream_train.data.reader import ShardSet, open_shard_set
from stream_train.data.shard_access import direct_access
from stream_train.transformations.config import SamplingConfig
from stream_train.transformations.sampling import draw_clips

FOUR_CLIPS = functools.partial(draw_clips, config=SamplingConfig())
ONE_CLIP = functools.partial(draw_clips, config=SamplingConfig(motions=()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, default=Path("data/demo/shards"))
    parser.add_argument("--split", default=None)
    parser.add_argument("--batches", type=int, default=40, help="batches that the speeds are measured on")
    parser.add_argument("--start-up-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.start_up_of:
        print(json.dumps(start_up(arguments.start_up_of)))
        return
    local = open_shard_set(arguments.shards, arguments.split)
    result: dict[str, object] = {
        "nodes": {name: moved_by_nodes(data) for name, data in (("given", local), ("million", million()))}
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "manifest.json").write_bytes(million().manifest.to_json())
        command = [sys.executable, __file__, "--start-up-of", folder]
        result["million_videos_start_up"] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if os.environ.get("AWS_ENDPOINT_URL"):
        result["bucket"] = against_bucket(arguments.shards, local, arguments.batches)
    else:
        result["bucket"] = "left out: AWS_ENDPOINT_URL is not set"
    print(json.dumps(result, indent=1))


def against_bucket(folder: Path, local: ShardSet, num_batches: int) -> dict[str, object]:
    """Copy the shards into the bucket; measure an epoch's bytes, and compare speeds."""
    location = f"s3://{os.environ['S3_BUCKET']}/bench-{uuid.uuid4().hex[:8]}"
    source, store = open_store(folder), open_store(location)
    try:
        for name in source.names():
            store.write(name, source.read(name))
        total = sum(shard.tar_bytes for shard in local.shards)
        epoch = -(-local.num_samples // 7)
        with tempfile.TemporaryDirectory() as cache:
            shares = {
                name: bytes_of(stream_of(location, local.split, config("ranged", cache), draw, epoch)) / total
                for name, draw in (("one clip", ONE_CLIP), ("four clips", FOUR_CLIPS))
            }
            speeds = {
                name: clips_per_second(stream_of(place, local.split, config(access, cache), FOUR_CLIPS, num_batches))
                for name, place, access in (
                    ("local", str(folder), "ranged"),
                    ("ranged", location, "ranged"),
                    ("cached, first time", location, "cached"),
                    ("cached, then", location, "cached"),
                    ("local again", str(folder), "ranged"),
                )
            }
        return {"share_of_bytes_by_ranged_reads": shares, "clips_per_second": speeds}
    finally:
        for name in store.names():
            store.delete(name)


def config(access: str, cache: str) -> DataConfig:
    reader = {"kind": "indexed", "access": access, "cache": {"folder": cache}}
    return DataConfig.model_validate({"crop": 56, "num_workers": 0, "reader": reader})


def stream_of(location: str, split: str | None, settings: DataConfig, draw: DrawClips, num_batches: int) -> ClipStream:
    return ClipStream(open_shard_set(location, split, settings), settings, draw, seed=0, num_batches=num_batches)


def bytes_of(stream: ClipStream) -> int:
    take()
    for _ in stream:
        pass
    return take().bytes_read


def clips_per_second(stream: ClipStream) -> float:
    start = time.perf_counter()
    clips = sum(len(batch) for batch in stream)
    return clips / (time.perf_counter() - start)


def moved_by_nodes(data: ShardSet) -> dict[str, float]:
    """Bytes that the caches of 1 and 8 nodes download in one epoch, as a share of the data set's.

    Each simulated node starts with an empty, unlimited cache and reads its share of each batch of 56 videos.
    """
    settings = DataConfig.model_validate({"crop": 32, "videos_per_batch": 56})
    total, shares = sum(shard.tar_bytes for shard in data.shards), {}
    for nodes in (1, 8):
        moved = 0
        for node in range(nodes):
            batches = data.num_samples // 56
            stream = ClipStream(data, settings, FOUR_CLIPS, seed=0, rank=node, world_size=nodes, num_batches=batches)
            used = {data.shard_of(slot.position) for request in stream.requests() for slot in request.slots}
            moved += sum(data.shards[place].tar_bytes for place in used)
        shares[f"{nodes} nodes"] = moved / total
    return shares


def million() -> ShardSet:
    """A data set of a million videos in six thousand shards; only its manifest exists."""
    shards = tuple(
        ShardRecord(
            number=number,
            num_samples=166 + (number % 3 != 0),
            num_frames=50_000,
            tar_bytes=245_000_000,
            tar_sha256=hashlib.sha256(b"tar %d" % number).hexdigest(),
            index_bytes=410_000,
            index_sha256=hashlib.sha256(b"index %d" % number).hexdigest(),
            splits=("train",),
        )
        for number in range(6000)
    )
    manifest = Manifest(
        name="million",
        shards=shards,
        classes=tuple(f"class {i}" for i in range(700)),
        splits=("train",),
        height=128,
        width=171,
        packing="mjpg",
        min_frames=16,
        ffmpeg_version="none",
        ffmpeg_filter="none",
    )
    starts = [0]
    for shard in shards:
        starts.append(starts[-1] + shard.num_samples)
    fingerprint = manifest.fingerprint("train")
    return ShardSet(
        access=direct_access(open_store(".")),
        split="train",
        manifest=manifest,
        shards=shards,
        starts=tuple(starts),
        fingerprint=fingerprint,
    )


def start_up(folder: Path) -> dict[str, float]:
    """Seconds and memory from the manifest to the first request, and to a request in the middle of epoch 3."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    data = open_shard_set(folder, "train")
    opened = time.perf_counter()
    settings = DataConfig.model_validate({"crop": 112, "videos_per_batch": 56})
    next(ClipStream(data, settings, FOUR_CLIPS, seed=0, num_batches=10).requests())
    first = time.perf_counter()
    middle = data.num_samples * 7 // 2 // 56 * 56
    next(ClipStream(data, settings, FOUR_CLIPS, seed=0, start_sample=middle, num_batches=10).requests())
    resumed = time.perf_counter()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "videos": data.num_samples,
        "manifest_megabytes": (folder / "manifest.json").stat().st_size / 1e6,
        "manifest_seconds": opened - start,
        "first_request_seconds": first - opened,
        "request_after_resuming_seconds": resumed - first,
        "megabytes_added": (after - before) / 1e3,
    }


if __name__ == "__main__":
    main()
