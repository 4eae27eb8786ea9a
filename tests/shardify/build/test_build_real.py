"""Real clips of every source become shards: nothing lost, frame counts as an independent decoder has them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest

from shardify.build.config import BuildConfig
from shardify.build.run import build
from shardify.inspection.summary import sample_record
from shardify.inspection.verify import verify
from shardify.shards.index import read_index
from shardify.shards.manifest import read_manifest
from shardify.storage import open_store

pytestmark = pytest.mark.slow


@dataclass(frozen=True, kw_only=True)
class Real:
    """A source below the data folder, and what must come of it."""

    source: dict[str, Any]
    num_clips: int
    num_missing: int
    num_classes: int
    num_unlisted: int = 0


SOURCES = {
    "ucf101": Real(
        source={"kind": "ucf101", "videos": "ucf101/videos", "lists": "ucf101/ucfTrainTestlist"},
        num_clips=68,
        num_missing=13_320 - 68,
        num_classes=101,
    ),
    "hmdb51": Real(
        source={"kind": "hmdb51", "videos": "hmdb51/videos", "lists": "hmdb51/testTrainMulti_7030_splits"},
        num_clips=4,
        num_missing=6766 - 4,
        num_classes=51,
    ),
    "kinetics400": Real(
        source={
            "kind": "kinetics",
            "release": 400,
            "videos": "kinetics/videos",
            "lists": "kinetics/annotations/kinetics-400_val.csv",
            "label_map": "kinetics/annotations/label_map_k400.txt",
        },
        num_clips=3,
        num_missing=19_903,
        num_classes=400,
        num_unlisted=3,
    ),
    "kinetics600": Real(
        source={
            "kind": "kinetics",
            "release": 600,
            "videos": "kinetics/videos",
            "lists": "kinetics/annotations/kinetics-600_val.csv",
            "label_map": "kinetics/annotations/label_map_k600.txt",
        },
        num_clips=2,
        num_missing=29_998,
        num_classes=600,
        num_unlisted=4,
    ),
    "kinetics, all six": Real(
        source={"kind": "flat", "videos": "kinetics/videos"}, num_clips=6, num_missing=0, num_classes=0
    ),
    "weizmann": Real(
        source={"kind": "folder", "videos": "weizmann/videos"}, num_clips=36, num_missing=0, num_classes=4
    ),
    "fights": Real(source={"kind": "folder", "videos": "fights/videos"}, num_clips=30, num_missing=0, num_classes=2),
}
PATH_KEYS = ("videos", "lists", "label_map")


def build_real(source: dict[str, Any], data_dir: Path, out: Path, **changes: Any) -> BuildConfig:
    paths = {key: str(data_dir / value) if key in PATH_KEYS else value for key, value in source.items()}
    values = {"source": paths, "out": str(out), "videos_per_shard": 16, "max_missing_share": 1.0, **changes}
    return BuildConfig.model_validate(values)


def count_frames(path: Path) -> int:
    with av.open(str(path), metadata_errors="replace") as container:
        return sum(1 for _ in container.decode(container.streams.video[0]))


@pytest.mark.parametrize("name", SOURCES)
def test_real_clips(name: str, data_dir: Path, tmp_path: Path) -> None:
    real = SOURCES[name]
    config = build_real(real.source, data_dir, tmp_path)
    summary = build(config)
    assert (summary.num_samples, summary.reasons, summary.problems) == (real.num_clips, {}, ())
    assert (summary.num_missing, summary.num_unlisted) == (real.num_missing, real.num_unlisted)
    store = open_store(tmp_path)
    assert verify(store, deep=True).problems == ()
    manifest = read_manifest(store)
    assert len(manifest.classes) == real.num_classes
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
