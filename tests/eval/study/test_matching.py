from __future__ import annotations

from pathlib import Path

import pytest
from helpers_study import study_config

from eval.study.jobs import pretrainings_of
from eval.study.matching import clips_per_video
from shardify.config import StrictModel
from stream_train.tasks.config import TaskConfig

MOTIONS = {
    "all": ["random", "periodic", "warp"],
    "pair": ["random", "warp"],
    "one": ["warp"],
    "speed": [],
}


def task_of(**values: object) -> TaskConfig:
    class Holder(StrictModel):
        task: TaskConfig

    return Holder.model_validate({"task": values}).task


@pytest.mark.parametrize(
    ("kind", "count"), [("rotation", 4), ("shuffle_learn", 2), ("clip_order", 3), ("action_labels", 1), ("ranking", 4)]
)
def test_tasks_take_so_many_clips_of_a_video(kind: str, count: int) -> None:
    assert clips_per_video(task_of(kind=kind)) == count


def test_equal_clips_mean_more_videos_and_epochs_for_tasks_of_few_clips(tmp_path: Path) -> None:
    rows = {name: {"changes": {"task": {"sampling": {"motions": motions}}}} for name, motions in MOTIONS.items()}
    changes = {"data": {"videos_per_batch": 7, "crop": 16}, "epochs": 50, "network": {"kind": "c3d", "width": 0.05}}
    values = {"rows": rows, "pretrain": {"changes": changes | {"shards": "x", "out": "y"}}}
    found = pretrainings_of(study_config(tmp_path, tmp_path, **values, match="clips"))
    assert {name: (c.data.videos_per_batch, c.epochs) for name, c in found.items()} == {
        "all": (7, 50),
        "pair": (9, 67),  # 27 clips a step instead of 28; 201 clips of each video instead of 200
        "one": (14, 100),
        "speed": (28, 200),
    }
    found = pretrainings_of(study_config(tmp_path, tmp_path, **values, match="videos"))
    assert {(c.data.videos_per_batch, c.epochs) for c in found.values()} == {(7, 50)}
