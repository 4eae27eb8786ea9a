"""Equal videos under different names are found in the shards, with the splits and classes that they mix up."""

from __future__ import annotations

from pathlib import Path

from helpers_shards import build_config, make_video

from shardify.build.run import build
from shardify.inspection.copies import Copies, find_copies
from shardify.inspection.summary import summarise_dataset, summary_lines
from shardify.shards.index import read_index
from shardify.shards.manifest import read_manifest
from shardify.storage import open_store


def test_equal_videos_are_counted_by_what_they_mix_up(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    make_video(videos / "train" / "cat" / "1.avi", num_frames=17)
    make_video(videos / "train" / "dog" / "2.avi", num_frames=18)
    content = (videos / "train" / "cat" / "1.avi").read_bytes()
    for copy in ("train/cat/again.avi", "train/dog/other.avi", "test/cat/seen.avi"):
        (videos / copy).parent.mkdir(parents=True, exist_ok=True)
        (videos / copy).write_bytes(content)
    build(build_config(tmp_path, tmp_path / "out", source={"kind": "folder", "videos": str(videos)}))
    store = open_store(tmp_path / "out")
    shards = read_manifest(store).shards
    copies = find_copies([(shard, read_index(store, shard)) for shard in shards])
    assert (copies.num_samples, copies.num_other_splits) == (3, 1)
    assert 1 <= copies.num_other_class <= 2  # by which of those in train comes first
    assert "test__cat__seen" in copies.example
    summary = summarise_dataset(store)
    assert Copies(**summary["copies"]) == copies
    (line,) = (line for line in summary_lines(summary) if "frame by frame" in line)
    counts = f"(1 in other splits, {copies.num_other_class} of another class)"
    assert line == f"  3 videos equal to another frame by frame {counts}: {copies.example[0]} is {copies.example[1]}"


def test_a_data_set_without_copies_says_nothing(built_folder: Path) -> None:
    store = open_store(built_folder)
    summary = summarise_dataset(store)
    assert summary["copies"]["num_samples"] == 0
    assert not [line for line in summary_lines(summary) if "frame by frame" in line]
