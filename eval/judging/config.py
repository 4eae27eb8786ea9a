"""What an evaluation reads, and how it trains: the parts of a config that several evaluations share."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveFloat, PositiveInt

from shardify.config import StrictModel
from stream_train.data.loader import DataConfig
from stream_train.data.reader_config import IndexedReaderConfig
from stream_train.training.config import TrainConfig
from stream_train.training.optim import OptimizerConfig


class SplitPair(StrictModel):
    """A training and a test split that belong together."""

    train: str | None
    """null is every sample."""
    test: str | None


class EvalDataConfig(DataConfig):
    """How clips are read and batched; the defaults are those of fine-tuning (section 5 of the method)."""

    videos_per_batch: int = Field(default=24, ge=1, le=8192)
    """Videos in the global training batch, each with one clip."""
    reader: IndexedReaderConfig = IndexedReaderConfig()
    """Tests look at every video once and subsets of the training videos are drawn, so shards need their indexes."""
    max_test_clips: PositiveInt = 64
    """Most clips that a rank puts through a network at a time when it tests."""


class FineTuneOptimizer(OptimizerConfig):
    """AdamW as in pre-training, more slowly."""

    learning_rate: PositiveFloat = 5e-5


class FitConfig(TrainConfig):
    """A training run of an evaluation: a run's keys, and what tells its question from others."""

    question: dict[str, Any]
    """Everything else that decides what is learnt; part of the run's identity."""
