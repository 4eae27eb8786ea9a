"""Pretext tasks: what a network can learn from videos without labels.

To add a task: its config in `config.py`, one file beside `transformations.py`, one line in :func:`build_task`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_train.networks import build_backbone
from stream_train.networks.config import NetworkConfig
from stream_train.tasks import config as c
from stream_train.tasks.config import TaskConfig
from stream_train.transformations.config import SamplingConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_train.tasks.base import ClipModel, ClipTask


def build_task(config: TaskConfig, labels: Sequence[str] = ()) -> ClipTask:
    """The task that a config describes. `labels`: the data set's classes, for tasks that learn from labels."""
    from stream_train.tasks.action_labels import ActionLabels
    from stream_train.tasks.arrow_of_time import ArrowOfTime
    from stream_train.tasks.clip_order import ClipOrder
    from stream_train.tasks.dense_prediction import DensePrediction
    from stream_train.tasks.flow_statistics import FlowStatistics
    from stream_train.tasks.odd_one_out import OddOneOut
    from stream_train.tasks.order_prediction import OrderPrediction
    from stream_train.tasks.playback_rate import PlaybackRate
    from stream_train.tasks.ranking import Ranking
    from stream_train.tasks.rotation import Rotation
    from stream_train.tasks.shuffle_learn import ShuffleLearn
    from stream_train.tasks.space_time_puzzle import SpaceTimePuzzle
    from stream_train.tasks.speednet import SpeedNet
    from stream_train.tasks.transformations import Transformations

    if isinstance(config, c.ActionLabelsConfig):
        return ActionLabels.of(config, labels)
    if isinstance(config, c.PaceConfig):  # the row "Speed" of Table 1
        return Transformations(c.TransformationsConfig(sampling=SamplingConfig(motions=())))
    tasks = {
        c.TransformationsConfig: Transformations,
        c.RankingConfig: Ranking,
        c.ShuffleLearnConfig: ShuffleLearn,
        c.RotationConfig: Rotation,
        c.ArrowOfTimeConfig: ArrowOfTime,
        c.OddOneOutConfig: OddOneOut,
        c.OrderPredictionConfig: OrderPrediction,
        c.ClipOrderConfig: ClipOrder,
        c.PlaybackRateConfig: PlaybackRate,
        c.SpeedNetConfig: SpeedNet,
        c.SpaceTimePuzzleConfig: SpaceTimePuzzle,
        c.DensePredictionConfig: DensePrediction,
        c.FlowStatisticsConfig: FlowStatistics,
    }
    task: ClipTask = tasks[type(config)](config)
    return task


def build_model(network: NetworkConfig, task: ClipTask, *, crop: int) -> ClipModel:
    """A network with the task's heads for crop x crop pixels, newly initialised from torch's global generator."""
    from stream_train.tasks.base import ClipModel, HeadWidth

    backbone = build_backbone(network, crop=crop, num_frames=task.num_frames)
    heads = task.build_heads(HeadWidth.of(backbone, network.classifier_init))
    return ClipModel(backbone, heads, task.select_frames, task.merge_maps)
