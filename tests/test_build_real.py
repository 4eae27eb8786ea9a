"""Real clips of every source become shards: nothing lost, frame counts as an independent decoder has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import pytest

from shardify.build_config import BuildConfig
from shardify.format import read_index, read_manifest
from shardify.inspection import sample_record
from shardify.run import build
from shardify.storage import open_store
from shardify.verify import verify

pytestmark = pytest.mark.slow

SOURCES: dict[str, tuple[dict[str, Any], int, int]] = {
    "ucf101": ({"kind": "ucf101", "videos": "ucf101/videos", "lists": "ucf101/ucfTrainTestlist"}, 68, 101),
    "hmdb51": (
        {"kind": "hmdb51", "videos": "hmdb51/videos", "lists": "hmdb51/testTrainMulti_7030_splits"},
        4,
        51,
    ),
    "kinetics": ({"kind": "flat", "videos": "kinetics/videos"}, 6, 0),
    "weizmann": ({"kind": "folder", "videos": "weizmann/videos"}, 36, 4),
    "fights": ({"kind": "folder", "videos": "fights/videos"}, 30, 2),
}
"""Source section with paths below the data folder, number of clips, number of classes."""


def build_real(source: dict[str, Any], data_dir: Path, out: Path, **changes: Any) -> BuildConfig:
    paths = {key: value if key == "kind" else str(data_dir / value) for key, value in source.items()}
    values = {"source": paths, "out": str(out), "videos_per_shard": 16, "max_missing_share": 1.0, **changes}
    return BuildConfig.model_validate(values)


def count_frames(path: Path) -> int:
    with av.open(str(path), metadata_errors="replace") as container:
        return sum(1 for _ in container.decode(container.streams.video[0]))


@pytest.mark.parametrize("name", SOURCES)
def test_real_clips(name: str, data_dir: Path, tmp_path: Path) -> None:
    source, num_clips, num_classes = SOURCES[name]
    config = build_real(source, data_dir, tmp_path)
    summary = build(config)
    assert (summary.num_samples, summary.reasons, summary.problems) == (num_clips, {}, ())
    store = open_store(tmp_path)
    assert verify(store, deep=True).problems == ()
    manifest = read_manifest(store)
    assert len(manifest.classes) == num_classes
    entries = [entry for shard in manifest.shards for entry in read_index(store, shard)]
    for entry in entries:
        path = Path(config.source.videos, sample_record(store, entry.key)["path"])
        assert entry.num_frames == count_frames(path), path


def test_odd_files_end_in_a_shard_or_in_the_ledger(data_dir: Path, tmp_path: Path) -> None:
    config = build_real({"kind": "flat", "videos": "odd"}, data_dir, tmp_path, max_rejected_share=1.0)
    summary = build(config)
    store = open_store(tmp_path)
    assert verify(store, deep=True).problems == ()
    packed = [key for shard in read_manifest(store).shards for key in read_index(store, shard).keys]
    rejected = [json.loads(line) for line in store.read("rejected.jsonl").splitlines()]
    assert len(packed) == summary.num_samples > 0
    assert len(rejected) == summary.num_rejected > 0
    assert (
        len(packed) + len(rejected) == summary.num_videos == 39 == len({*packed, *(line["key"] for line in rejected)})
    )
    assert all(line["reason"] for line in rejected)
