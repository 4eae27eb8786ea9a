"""What building a run refuses before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers_datasets import write_dataset
from helpers_training import run_tiny, tiny_config

from shardify.errors import UsageError
from stream_train.training.config import PretrainConfig
from stream_train.training.distributed import World
from stream_train.training.loop import build_pretraining
from stream_train.training.run import resume


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


def test_a_run_longer_than_accepted_smaller_data_allow_is_not_called_complete(tmp_path: Path) -> None:
    """It would export weights under a wrong number of steps."""
    large, small = write_dataset(tmp_path / "large", [[16] * 14]), write_dataset(tmp_path / "small", [[16] * 7])
    run_tiny(large, tmp_path / "run", epochs=1, data__videos_per_batch=7)
    changed = config(small, tmp_path / "run", accept_changed_data=True)
    with pytest.raises(UsageError, match=r"has done 2 steps, but 1 epochs of this data are only 1"):
        resume(build_pretraining(changed, World(), print))
