"""The videos of a split: their keys, classes and lengths, read from the shards' indexes.

In: a data set and a split. Out: :class:`Samples`, and scores per video with keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from eval.judging.config import JudgingConfig, SplitPair
from eval.results.rows import VideoScores, group_of_key
from shardify.arrays import ImageArray, IntArray
from shardify.errors import UsageError
from shardify.shards.format import NO_LABEL
from stream_train.data.clips import decode_frame
from stream_train.data.config import DataConfig
from stream_train.data.reader import FrameReader, ShardSet, open_shard_set, pick_from_indexes


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """The samples of a split, by position."""

    shard_set: ShardSet
    keys: tuple[str, ...]
    labels: IntArray
    """int64 (V,), NO_LABEL where there is none."""
    num_frames: IntArray
    """int64 (V,)"""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.shard_set.manifest.classes

    @property
    def split(self) -> str | None:
        return self.shard_set.split

    @property
    def positions(self) -> IntArray:
        """Of all samples."""
        return np.arange(len(self), dtype=np.int64)

    def at_least(self, num_frames: int) -> IntArray:
        """Positions of the samples with that many frames. Raises UsageError if there are none."""
        long_enough = np.flatnonzero(self.num_frames >= num_frames)
        if not len(long_enough):
            raise UsageError(
                f"{self.shard_set.location}, split {self.split or 'all'}: no video has the {num_frames} frames that "
                f"this question needs, the longest has {self.num_frames.max()}; lower the stride, or take other data"
            )
        return long_enough

    def require_labels(self) -> None:
        """Raises UsageError if a sample has no class, or there are fewer than two classes."""
        unlabelled = int((self.labels == NO_LABEL).sum())
        if unlabelled or len(self.classes) < 2:
            given = f"{unlabelled} of {len(self)} videos without a label" if unlabelled else f"classes {self.classes}"
            raise UsageError(
                f"{self.shard_set.location}, split {self.split or 'all'} has {given}; this evaluation needs a label "
                "for every video, of two or more classes"
            )


def open_samples(location: str | Path, split: str | None, data: DataConfig | None = None) -> Samples:
    """Read the samples of a split (None: all) of a data set.

    `data` says how clips will be read; None reads them without a cache.

    Raises:
        UsageError: if the data set or split does not exist or is empty, or the crop does not fit its frames.
        WorkError: if the manifest or an index is damaged.
    """
    shard_set = open_shard_set(location, split, data)
    columns = pick_from_indexes(shard_set, lambda index: (index.keys, index.labels, index.num_frames))
    keys, labels, num_frames = zip(*columns, strict=True)
    return Samples(
        shard_set=shard_set,
        keys=tuple(chain.from_iterable(keys)),
        labels=np.concatenate(labels).astype(np.int64),
        num_frames=np.concatenate(num_frames),
    )


def open_pair(config: JudgingConfig, pair: SplitPair) -> tuple[Samples, Samples]:
    """The training and the test samples. Raises UsageError if their classes differ, or they share videos."""
    train = open_samples(config.shards, pair.train, config.data)
    test = open_samples(config.test_shards or config.shards, pair.test, config.data)
    if train.classes != test.classes:
        only_train, only_test = (
            sorted(set(one.classes) - set(other.classes)) for one, other in ((train, test), (test, train))
        )
        what = f"only to train: {only_train[:5]}, only to test: {only_test[:5]}"
        raise UsageError(
            f"{train.shard_set.location} has {len(train.classes)} classes and {test.shard_set.location} has "
            f"{len(test.classes)} or in another order ({what}); build both with the same list of classes"
        )
    shared = set(train.keys) & set(test.keys)
    if config.test_shards is not None:  # there, other videos may have the same keys
        frames, others = _checksums(train, shared), _checksums(test, shared)
        shared = {key for key in shared if frames[key] == others[key]}
    if shared:
        raise UsageError(
            f"{len(shared)} videos, such as {min(shared)}, are in the training split {pair.train or 'all'} and in the "
            f"test split {pair.test or 'all'}; a test on training videos is worthless, give splits that share none"
        )
    return train, test


def _checksums(samples: Samples, keys: set[str]) -> dict[str, bytes]:
    """The checksums of all frames of the named samples."""
    if not keys:
        return {}
    found = pick_from_indexes(
        samples.shard_set, lambda index: [(e.key, e.frame_crc32.tobytes()) for e in index if e.key in keys]
    )
    return dict(chain.from_iterable(found))


def scores_of(
    samples: Samples, positions: IntArray, values: dict[str, Any], predicted: IntArray | None = None
) -> VideoScores:
    """Scores of the videos at `positions`, int64 (V,), of the test split, with keys, groups and labels.

    `values` maps a metric to (V,) numbers; `predicted` holds int64 (V,) classes, if the evaluation predicts any.
    """
    keys = tuple(samples.keys[position] for position in positions.tolist())
    labels = samples.labels[positions]
    classes = [None if label == NO_LABEL else samples.classes[label] for label in labels.tolist()]
    return VideoScores(
        keys=keys,
        groups=tuple(map(group_of_key, keys, classes)),
        labels=labels,
        predicted=predicted,
        values={name: np.asarray(column, dtype=np.float64) for name, column in values.items()},
    )


def read_frames(samples: Samples, position: int, frames: Sequence[int]) -> list[ImageArray]:
    """Decode frames of a sample: uint8 (H, W, 3) each. Raises WorkError if the shard is damaged."""
    shard_set = samples.shard_set
    jpegs = FrameReader(shard_set).read(position, sorted(set(frames)))
    name = f"{shard_set.location}, sample {samples.keys[position]}"
    return [decode_frame(jpegs[frame], shard_set.geometry, f"{name}: frame {frame}") for frame in frames]
