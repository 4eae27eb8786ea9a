"""Clips of the tasks through the readers: ranks and workers, videos that are too short, a stopped run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_datasets import write_dataset
from helpers_tasks import task_of_kind
from helpers_training import VALIDATED, assert_same_run, records, run_tiny

from shardify.errors import UsageError
from stream_train.data import build_stream, open_data
from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.reader import open_shard_set
from stream_train.training.metrics import Interval
from stream_train.training.run import long_enough

LENGTHS = (
    *(20, 16, 31, 61, 125, 130, 17, 40, 45, 5, 150, 33, 34, 35, 36, 64, 65, 66, 70, 71, 72, 121, 16),
)  # fmt: skip
"""Frames of the videos of the small data set."""
NUM_LONG = sum(length >= 64 for length in LENGTHS)
NUM_BATCHES = 3
VIDEOS_PER_BATCH = 7


def clips_of(kind: str, folder: Path, *, num_workers: int = 0, **place: Any) -> dict[str, torch.Tensor]:
    """All that the batches of a stream hold, by name, videos in order; `ranks` of them give it together."""
    task = task_of_kind(kind)
    config = DataConfig.model_validate({"crop": 32, "num_workers": num_workers})
    data = open_data(folder, "train1", config)
    _, positions = long_enough(data, task, lambda _: None)
    ranks = place.pop("ranks", 1)
    streams = [
        build_stream(
            data,
            config,
            task.draw_clips,
            seed=5,
            num_batches=NUM_BATCHES,
            rank=rank,
            world_size=ranks,
            positions=positions,
            min_frames=task.min_frames,
        )
        for rank in range(ranks)
    ]
    parts: list[Batch] = [part for step in zip(*streams, strict=True) for part in step]
    names = [name for name, _ in parts[0].tensors()]
    return {name: torch.cat([dict(part.tensors())[name] for part in parts]) for name in names}


@pytest.mark.parametrize(
    ("kind", "targets"),
    [
        ("rotation", {"rotation"}),
        ("space_time_puzzle", {"order"}),
        ("playback_rate", {"rate"}),
        ("flow_statistics", {"motion", "appearance"}),
    ],
)
def test_ranks_and_workers_do_not_change_the_clips(small_dataset: Path, kind: str, targets: set[str]) -> None:
    alone = clips_of(kind, small_dataset)
    assert targets == alone.keys() - {"frames", "flip", "label", "sample", "indices"}
    needed = task_of_kind(kind).min_frames
    videos = alone["sample"].reshape(NUM_BATCHES * VIDEOS_PER_BATCH, -1)[:, 0].tolist()
    assert all(LENGTHS[video] >= needed for video in videos)
    long = sum(length >= needed for length in LENGTHS)
    assert len(set(videos[:long])) == min(long, len(videos)), "an epoch is each of them once"
    for together in (clips_of(kind, small_dataset, num_workers=2), clips_of(kind, small_dataset, ranks=3)):
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            assert torch.equal(together[name], value), name


def test_videos_that_are_too_short_are_left_out_and_counted(small_dataset: Path, tmp_path: Path) -> None:
    """Of training and of validation: three clips of 16 frames and two gaps of 8 need 64."""
    said = run_tiny(small_dataset, tmp_path / "run", task={"kind": "clip_order"}, epochs=1, validation=VALIDATED)
    left_out = f"{len(LENGTHS) - NUM_LONG} of {len(LENGTHS)} videos have fewer than 64 frames"
    assert sum(line.startswith(left_out) for line in said) == 1
    validation = json.loads((tmp_path / "run" / "validation.json").read_text())
    assert validation["num_videos"] == NUM_LONG
    assert sum(map(sum, validation["counts"]["order"])) == NUM_LONG
    assert records(tmp_path / "run")[-1]["step"] == -(-NUM_LONG // 5), "an epoch is one of the videos that are left"


def test_a_data_set_without_a_long_enough_video_is_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "short", [[20, 40], [63]])
    words = r"3 of 3 videos have fewer than 64 frames.*the longest has 63"
    with pytest.raises(UsageError, match=words):
        run_tiny(folder, tmp_path / "run", task={"kind": "clip_order"})
    data = open_shard_set(write_dataset(tmp_path / "long", [[64, 65]]), None)
    assert long_enough(data, task_of_kind("clip_order"), lambda _: None) == (data, None)


def test_a_split_without_a_long_enough_video_cannot_be_validated_on(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "s", [[64] * 5, [20, 63]], splits=[["train1"], ["test1"]])
    validation = VALIDATED | {"split": "test1"}
    with pytest.raises(UsageError, match=r"no video of .*split test1, has the 64 frames"):
        run_tiny(folder, tmp_path / "run", task={"kind": "clip_order"}, validation=validation, epochs=1)


def test_the_sequential_reader_skips_short_videos(small_dataset: Path, tmp_path: Path) -> None:
    task = task_of_kind("clip_order")
    config = DataConfig.model_validate({"crop": 32, "num_workers": 0, "reader": {"kind": "sequential"}})
    data = open_data(small_dataset, None, config)
    said: list[str] = []
    usable, positions = long_enough(data, task, said.append)
    left_out = f"{len(LENGTHS) - NUM_LONG} of {len(LENGTHS)} videos have fewer than 64 frames"
    assert (usable.num_samples, positions) == (NUM_LONG, None), "an epoch is one of the videos that are left"
    assert [line.startswith(left_out) for line in said] == [True]
    stream = build_stream(usable, config, task.draw_clips, seed=1, num_batches=4, min_frames=task.min_frames)
    videos = torch.cat([batch.sample[::3] for batch in stream])
    assert len(videos) == 4 * VIDEOS_PER_BATCH
    assert len(set(videos[:NUM_LONG].tolist())) == len(set(videos.tolist())) == NUM_LONG
    short = open_data(write_dataset(tmp_path / "short", [[20, 40]]), None, config)
    with pytest.raises(UsageError, match="no video of at least 64 frames"):
        next(iter(build_stream(short, config, task.draw_clips, seed=1, num_batches=1, min_frames=task.min_frames)))


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def test_a_killed_run_of_another_task_continues_bit_identically(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"task": {"kind": "space_time_puzzle"}, "epochs": 3}
    run_tiny(small_dataset, tmp_path / "whole", **settings)
    original, done = Interval.add, [0]

    def add(self: Interval, *arguments: Any) -> None:
        done[0] += 1
        if done[0] > 5:
            raise Killed
        original(self, *arguments)

    with monkeypatch.context() as patches:
        patches.setattr(Interval, "add", add)
        with pytest.raises(Killed):
            run_tiny(small_dataset, tmp_path / "run", **settings)
    said = run_tiny(small_dataset, tmp_path / "run", **settings)
    assert any(line.startswith(f"continuing {tmp_path / 'run'} after step 4 of ") for line in said)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
