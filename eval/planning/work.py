"""What a config does: clips to train and to test on, files to keep, bytes to fetch.

In: a config of a pre-training, of evaluations or of a study. Out: :class:`Work`s. Only manifests and indexes are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from eval.config import EvalConfig
from eval.evaluations.base import Clips, Evaluation
from eval.judging.config import CheckpointWeights, RandomWeights, TorchvisionWeights, WeightsConfig
from eval.judging.networks import entry_of, open_checkpoint
from eval.judging.setting import own_learning_rate
from eval.study.jobs import Job
from shardify.arrays import IntArray
from shardify.errors import UsageError
from shardify.storage.locations import is_url
from stream_train.data.config import DataConfig
from stream_train.data.evaluation_pass import sample_lengths
from stream_train.data.reader import ShardSet, open_shard_set
from stream_train.networks import build_backbone
from stream_train.networks.config import NetworkConfig
from stream_train.tasks import build_task
from stream_train.tasks.config import ActionLabelsConfig, TaskConfig
from stream_train.training.config import PretrainConfig, TrainConfig
from stream_train.transformations.sequences import CLIP_LENGTH

FLOAT_BYTES = 4
WITH_OPTIMIZER = 3
"""A checkpoint holds each weight, and AdamW's two moments of it."""
EXPORTS = 2
"""backbone.safetensors and network.safetensors."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What decides the speed: data, network and task."""

    shards: str
    split: str | None
    data: DataConfig
    network: NetworkConfig
    task: TaskConfig

    @property
    def words(self) -> str:
        """For the user: `c3d, width 0.25, crops of 56, rotation`."""
        width = getattr(self.network, "width", 1)
        parts = [self.network.kind, *([] if width == 1 else [f"width {width:g}"])]
        return ", ".join([*parts, f"crops of {self.data.crop}", self.task.kind.replace("_", " ")])


@dataclass(frozen=True, kw_only=True)
class Work:
    """A training or an evaluation, with its tests."""

    part: str
    """pre-training, or the evaluation's name."""
    setup: Setup | None
    """None for features without a network."""
    clips: Clips
    kept_bytes: int
    """Checkpoints and exports."""
    sources: tuple[tuple[str, int], ...]
    """Location of each split of shards, and the bytes of its tars."""


def work_of_pretraining(config: PretrainConfig) -> Work:
    """Raises UsageError if a data set or split does not exist."""
    shard_set = open_shard_set(config.shards, config.split, config.data)
    task = build_task(config.task, shard_set.classes)
    per_video, num_samples = task.clips_per_video, num_long_enough(shard_set, task.min_frames)
    trained = config.num_steps(num_samples) * config.data.videos_per_batch * per_video
    tested, sources = 0, [_source(shard_set)]
    if config.validation is not None:
        held_out = open_shard_set(config.shards, config.validation.split, config.data)
        sources.append(_source(held_out))
        every = config.validation.every_epochs
        passes = -(-config.epochs // every) if every else 0
        tested = passes * config.validation.draws_per_video * per_video * held_out.num_samples
    return Work(
        part="pre-training",
        setup=_setup(config.shards, config.split, config.data, config.network, config.task),
        clips=Clips(trained=trained, tested=tested, num_trainings=1),
        kept_bytes=kept_bytes(config, config.network, config.data.crop),
        sources=tuple(sources),
    )


def work_of_evaluations(
    config: EvalConfig, evaluations: Iterable[Evaluation], like: PretrainConfig | None = None
) -> Iterator[Work]:
    """The work of some evaluations; `like` is the pre-training of networks whose file does not exist yet.

    Raises UsageError if a data set, split or network does not exist.
    """
    evaluations = tuple(evaluations)
    names = {evaluation.name for evaluation in evaluations}
    for evaluation in evaluations:
        for name in evaluation.section_of(config).networks or config.networks:
            entry = entry_of(name, config.networks)
            network = _network_of(entry, config, like)
            for pair in config.splits:
                train = open_shard_set(config.shards, pair.train, config.data)
                test = open_shard_set(config.test_shards or config.shards, pair.test, config.data)
                clips = evaluation.clips(config, _lengths(train), _lengths(test), names)
                if network is None or own_learning_rate(entry) is not None:
                    clips = clips.only_features() if network is None else clips.only_trained()
                if not clips:
                    continue
                yield Work(
                    part=evaluation.name,
                    setup=None
                    if network is None
                    else _setup(config.shards, pair.train, config.data, network, ActionLabelsConfig()),
                    clips=clips * len(config.seeds),
                    kept_bytes=0
                    if network is None
                    else clips.num_trainings * len(config.seeds) * kept_bytes(config, network, config.data.crop),
                    sources=(_source(train), _source(test)),
                )


def work_of_job(job: Job) -> list[Work]:
    """The work of a study's job. Raises as the parts do, and names the study's key for places of data sets."""
    try:
        found = [] if job.pretraining is None else [work_of_pretraining(job.pretraining)]
        for judging in job.judgings.values():
            found += work_of_evaluations(judging.config, judging.evaluations, job.pretraining)
    except UsageError as error:
        raise UsageError(f"{error} (the study's key `shards` says where data sets lie)") from None
    return found


def num_long_enough(shard_set: ShardSet, min_frames: int) -> int:
    """How many videos have the frames that a task needs."""
    if min_frames <= shard_set.manifest.min_frames:
        return shard_set.num_samples
    return int(np.count_nonzero(_lengths(shard_set) >= min_frames))


def kept_bytes(config: TrainConfig | EvalConfig, network: NetworkConfig, crop: int) -> int:
    """Bytes of a finished training: its checkpoints and exports."""
    return num_parameters(network, crop) * FLOAT_BYTES * (config.checkpoint.keep * WITH_OPTIMIZER + EXPORTS)


@cache
def num_parameters(network: NetworkConfig, crop: int) -> int:
    """Weights of a backbone."""
    with torch.device("meta"):
        backbone = build_backbone(network, crop=crop, num_frames=CLIP_LENGTH)
    return sum(parameter.numel() for parameter in backbone.parameters())


def _setup(shards: str, split: str | None, data: DataConfig, network: NetworkConfig, task: TaskConfig) -> Setup:
    plain = DataConfig(**{name: getattr(data, name) for name in DataConfig.model_fields})
    return Setup(shards=shards, split=split, data=plain, network=network, task=task)


def _network_of(entry: WeightsConfig, config: EvalConfig, like: PretrainConfig | None) -> NetworkConfig | None:
    """The architecture of an entry; None for features without a network."""
    if isinstance(entry, CheckpointWeights):
        if like is not None:
            return like.network
        try:
            return open_checkpoint(entry.path, name="", key="path").config
        except UsageError:  # an evaluation will make it, out of another entry
            if not entry.path.startswith(config.out):
                raise
            return next(found for other in config.networks.values() if (found := _network_of(other, config, like)))
    if isinstance(entry, RandomWeights):
        return entry.network or _network_of(entry_of(str(entry.like), config.networks), config, like)
    return entry.network if isinstance(entry, TorchvisionWeights) else None


def _source(shard_set: ShardSet) -> tuple[str, int]:
    return f"{shard_set.location} {shard_set.split or 'all'}", sum(shard.tar_bytes for shard in shard_set.shards)


def is_remote(source: tuple[str, int]) -> bool:
    """Whether a source lies in an object store."""
    return is_url(source[0])


_known_lengths: dict[str, IntArray] = {}
"""Fingerprint of a split -> its videos' lengths; a study asks for the same splits again and again."""


def _lengths(shard_set: ShardSet) -> IntArray:
    key = shard_set.fingerprint
    if key not in _known_lengths:
        _known_lengths[key] = sample_lengths(shard_set).numpy()
    return _known_lengths[key]
