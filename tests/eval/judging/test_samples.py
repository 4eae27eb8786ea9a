"""The videos of a split: names, classes, lengths, pictures; and pairs of splits that a test makes no sense on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from helpers_datasets import numbered_jpeg, write_dataset
from helpers_eval import LENGTHS, SPLITS, tiny_eval_config, ucf_keys, write_eval_dataset

from eval.judging.samples import Samples, open_pair, open_samples, read_frames, scores_of
from shardify.errors import UsageError

KEYS = ucf_keys()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_eval_dataset(tmp_path_factory.mktemp("samples") / "data")


def pair_of(location: Path, /, **changes: Any) -> tuple[Samples, Samples]:
    config = tiny_eval_config(location, Path("out"), **changes)
    return open_pair(config, config.splits[0])


@pytest.mark.parametrize("split", ["train1", "test1", "test2", None])
def test_names_classes_and_lengths_are_those_that_were_written(shards: Path, split: str | None) -> None:
    chosen = [i for i, splits in enumerate(SPLITS) if split is None or split in splits]
    numbers = [8 * shard + place for shard in chosen for place in range(8)]
    samples = open_samples(shards, split)
    assert samples.keys == tuple(KEYS[number] for number in numbers)
    assert samples.labels.tolist() == [number % 2 for number in numbers]
    assert samples.labels.dtype == np.int64
    assert samples.num_frames.tolist() == [length for shard in chosen for length in LENGTHS[shard]]
    assert samples.positions.tolist() == list(range(len(numbers)))
    assert (len(samples), samples.split, samples.classes) == (len(numbers), split, ("class0", "class1"))


def test_samples_that_are_long_enough(shards: Path) -> None:
    samples = open_samples(shards, "test1")  # 17 62 5 23 45 26 21 16
    assert samples.at_least(21).tolist() == [1, 3, 4, 5, 6]
    assert samples.at_least(62).tolist() == [1]
    with pytest.raises(UsageError, match=r"split test1: no video has the 63 frames .* the longest has 62; lower the"):
        samples.at_least(63)


def test_frames_for_pictures_are_whole_and_in_the_order_asked_for(shards: Path) -> None:
    samples = open_samples(shards, "test1")  # videos 16 to 23 of the data set
    frames = read_frames(samples, 3, [22, 0, 22, 7])
    wanted = [simplejpeg.decode_jpeg(numbered_jpeg(19, frame)) for frame in (22, 0, 22, 7)]
    assert all(np.array_equal(*both) for both in zip(frames, wanted, strict=True))


def test_scores_carry_the_names_of_their_videos(shards: Path) -> None:
    samples = open_samples(shards, "test1")
    scores = scores_of(samples, np.array([1, 4]), {"accuracy": np.array([True, False])}, np.array([1, 1]))
    assert scores.keys == ("v_Class1_g05_c01", "v_Class0_g06_c01")
    assert scores.groups == ("v_Class1_g05", "v_Class0_g06")
    assert scores.labels.tolist() == [1, 0]
    assert scores.values["accuracy"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (
            "train1",
            "train2",
            "8 videos, such as v_Class0_g03_c01, are in the training split train1 and in the test split",
        ),
        (None, None, "24 videos, such as v_Class0_g01_c01, are in the training split all and in the test split all"),
        (
            None,
            "test1",
            "8 videos, such as v_Class0_g05_c01, are in the training split all and in the test split test1",
        ),
        ("train1", "test9", "no split 'test9'"),
        ("train9", "test1", "no split 'train9'"),
    ],
)
def test_splits_that_cannot_be_tested_on(shards: Path, train: str | None, test: str | None, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        pair_of(shards, splits=[{"train": train, "test": test}])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_data_set_to_test_on(shards: Path, tmp_path: Path) -> None:
    """Its videos may have the names of the training videos as long as they are other videos."""
    other = write_dataset(
        tmp_path / "other", LENGTHS, splits=SPLITS, keys=KEYS, jpeg=lambda v, f: numbered_jpeg(v + 50, f)
    )
    train, test = pair_of(shards, test_shards=str(other), splits=[{"train": None, "test": None}])
    assert (train.shard_set.location, test.shard_set.location) == (str(shards), str(other))
    assert train.keys == test.keys
    mixed = write_dataset(
        tmp_path / "mixed", LENGTHS, splits=SPLITS, keys=KEYS, jpeg=lambda v, f: numbered_jpeg(v + 50 * (v != 3), f)
    )
    with pytest.raises(UsageError, match=f"1 videos, such as {KEYS[3]}, are in the training split all"):
        pair_of(shards, test_shards=str(mixed), splits=[{"train": None, "test": None}])
    with pytest.raises(UsageError, match="16 videos"):
        pair_of(shards, test_shards=str(shards), splits=[{"train": "train1", "test": "train1"}])


def test_every_video_needs_a_label_of_two_classes(shards: Path, tmp_path: Path) -> None:
    open_samples(shards, None).require_labels()
    alone = open_samples(write_dataset(tmp_path / "one", [[20, 20]], num_classes=1), "train1")
    with pytest.raises(UsageError, match=r"split train1 has classes \('class0',\); this evaluation needs a label"):
        alone.require_labels()
    samples = open_samples(shards, "test1")
    samples.labels[2:4] = -1
    with pytest.raises(UsageError, match="has 2 of 8 videos without a label"):
        samples.require_labels()
