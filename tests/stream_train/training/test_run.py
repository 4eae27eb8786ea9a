"""What building a run refuses before anything is written."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers_datasets import write_dataset
from helpers_training import run_tiny, tiny_config

from shardify.errors import UsageError
from stream_train.training.checkpoint import require_same
from stream_train.training.config import PretrainConfig
from stream_train.training.distributed import World
from stream_train.training.loop import build_pretraining
from stream_train.training.run import resume, synchronises


def config(shards: Path, out: Path, **changes: object) -> PretrainConfig:
    """One epoch in batches of seven videos."""
    return tiny_config(shards, out, epochs=1, data__videos_per_batch=7, **changes)


@pytest.mark.parametrize(("ranks", "allowed"), [(1, True), (3, True), (4, False), (7, False)])
def test_a_process_with_a_single_clip_is_refused(
    small_dataset: Path, tmp_path: Path, ranks: int, allowed: bool
) -> None:
    """Speed alone gives one clip a video, and with 7 videos over 4 processes the smallest share is one video."""
    alone = config(small_dataset, tmp_path, task={"sampling": {"motions": []}})
    world = World(rank=0, size=ranks)
    if allowed:
        build_pretraining(alone, world, print)
        return
    with pytest.raises(UsageError, match=r"a batch of one clip .or pair., from which BatchNorm cannot take"):
        build_pretraining(alone, world, print)


@pytest.mark.parametrize(
    ("chosen", "ranks", "device", "shared"),
    [
        ("auto", 1, "cuda", False),
        ("auto", 2, "cuda", True),
        ("auto", 2, "cpu", False),
        (False, 7, "cuda", False),
        (True, 1, "cuda", True),
    ],
)
def test_ranks_share_batch_norm_s_statistics_if_each_has_few_videos(
    tmp_path: Path, chosen: bool | str, ranks: int, device: str, shared: bool
) -> None:
    """Seven videos over two ranks leave three for one of them."""
    few = config(tmp_path, tmp_path, sync_batchnorm=chosen)
    world = World(rank=0, size=ranks, device=torch.device(device))
    assert synchronises(few, world) == shared
    assert not synchronises(tiny_config(tmp_path, tmp_path, data__videos_per_batch=8), replace(world, size=2))
    assert few.identity()["sync_batchnorm"] is (chosen is True)


@pytest.mark.parametrize(("ranks", "videos", "warned"), [(1, 7, False), (2, 7, True), (2, 8, False), (1, 3, True)])
def test_few_videos_a_process_are_warned_about_once(
    small_dataset: Path, tmp_path: Path, ranks: int, videos: int, warned: bool
) -> None:
    said: list[str] = []
    few = tiny_config(small_dataset, tmp_path, epochs=1, data__videos_per_batch=videos)
    for rank in range(ranks):
        build_pretraining(few, World(rank=rank, size=ranks), said.append)
    assert [line.split()[0] for line in said] == ["warning:"] * warned


@pytest.mark.parametrize(
    ("changes", "is_named"),
    [
        ({}, False),
        ({"data": {"crop": 16, "resize": (24, 32)}}, True),
        ({"data": {"crop": 16, "scale": (0.5, 1.0)}}, True),
        ({"task": {"kind": "space_time_puzzle", "layout": "space"}}, True),
    ],
)
def test_runs_that_resize_name_how(
    small_dataset: Path, tmp_path: Path, changes: dict[str, object], is_named: bool
) -> None:
    """Other arithmetic gives other pixels, so such a run is not continued."""
    run = build_pretraining(config(small_dataset, tmp_path, **changes), World(), print)
    assert ("data_set.resizing" in run.identity) == is_named
    before = {key: value for key, value in run.identity.items() if key != "data_set.resizing"}
    with pytest.raises(UsageError, match="earlier version") if is_named else nullcontext():
        require_same(before, run.identity, origin="run")


def test_a_run_longer_than_accepted_smaller_data_allow_is_not_called_complete(tmp_path: Path) -> None:
    """It would export weights under a wrong number of steps."""
    large, small = write_dataset(tmp_path / "large", [[16] * 14]), write_dataset(tmp_path / "small", [[16] * 7])
    run_tiny(large, tmp_path / "run", epochs=1, data__videos_per_batch=7)
    changed = config(small, tmp_path / "run", accept_changed_data=True)
    with pytest.raises(UsageError, match=r"has done 2 steps, but 1 epochs of this data are only 1"):
        resume(build_pretraining(changed, World(), print))
