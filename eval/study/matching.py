"""Equal numbers of clips for tasks that take different numbers of clips from a video.

In: pre-trainings, by row. Out: the same with other epochs and videos a batch. "More transformations help" can only be
told from "more clips help" if all rows see equally many clips, in batches of equal size.
"""

from __future__ import annotations

from collections.abc import Mapping

from shardify.errors import UsageError
from stream_train.tasks import build_task
from stream_train.tasks.config import TaskConfig
from stream_train.training.config import PretrainConfig


def clips_per_video(task: TaskConfig) -> int:
    """How many clips a task takes from each video of a batch."""
    return build_task(task, labels=("a", "b")).clips_per_video


def match_clips(pretrainings: Mapping[str, PretrainConfig], reference: str) -> dict[str, PretrainConfig]:
    """Give each row as many clips a batch, and in all, as the reference has, as nearly as whole numbers allow.

    Raises UsageError if the reference is not pre-trained.
    """
    if reference not in pretrainings:
        raise UsageError(
            f"match is clips, but the reference {reference} is not pre-trained; name another row, or set match=videos"
        )
    usual = pretrainings[reference]
    num_clips = clips_per_video(usual.task)
    return {name: _matched(config, usual, num_clips) for name, config in pretrainings.items()}


def _matched(config: PretrainConfig, usual: PretrainConfig, num_clips: int) -> PretrainConfig:
    share = num_clips / clips_per_video(config.task)
    videos = max(1, round(usual.data.videos_per_batch * share))
    data = config.data.model_copy(update={"videos_per_batch": videos})
    return config.model_copy(update={"epochs": max(1, round(usual.epochs * share)), "data": data})
