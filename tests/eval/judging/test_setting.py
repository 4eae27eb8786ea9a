"""What a setting refuses or says of its network before anything is judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers_eval import tiny_eval_config, tiny_setting, write_eval_dataset

from eval.judging.config import FineTuneOptimizer
from eval.judging.setting import require_unseen, settings_of
from shardify.errors import UsageError
from stream_train.training.distributed import World


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_eval_dataset(tmp_path_factory.mktemp("setting") / "shards")


@pytest.mark.parametrize(
    ("pretraining", "refused"),
    [
        (None, False),
        ({"question": "transformations", "split": "train2"}, False),
        ({"question": "pretext_task_arrow", "split": "train2"}, False),
        ({"question": "action_labels", "split": "train2"}, True),
        ({"question": "torchvision", "data_set": "kinetics400"}, False),
        ({"question": "transfer", "split": "train1"}, False),
        ({"question": "transfer", "split": "train2", "data_set": "another"}, False),
        ({"question": "transfer", "split": "train2"}, True),
        ({"question": "transfer after pre-training", "split": "train2"}, True),
        ({"question": "probe", "split": None}, True),
    ],
)
def test_labels_of_another_split_may_be_those_of_the_test(
    shards: Path, tmp_path: Path, pretraining: dict[str, Any] | None, refused: bool
) -> None:
    setting = tiny_setting(tiny_eval_config(shards, tmp_path))
    if pretraining is not None:
        pretraining = {"data_set": setting.train.shard_set.name} | pretraining
    network = replace(setting.network, pretraining=pretraining)
    if not refused:
        require_unseen(network, setting)
        return
    with pytest.raises(UsageError, match=r"was trained with the labels of split (train2|all), .* not on train1"):
        require_unseen(network, setting)


def test_a_network_with_its_own_learning_rate_takes_part_where_all_layers_are_trained(
    shards: Path, tmp_path: Path
) -> None:
    random = {"kind": "random", "network": {"kind": "c3d", "width": 0.05}}
    networks = {"random": random, "random_3e-4": random | {"learning_rate": 3e-4}}
    config = tiny_eval_config(shards, tmp_path, networks=networks)

    def rates(names: tuple[str, ...] | None, **options: bool) -> dict[str, float]:
        settings = settings_of(config, names, World(), lambda _: None, **options)
        return {setting.name: setting.optimizer_of(FineTuneOptimizer()).learning_rate for setting in settings}

    assert rates(None) == {"random": 5e-5}
    assert rates(None, with_own_rate=True) == {"random": 5e-5, "random_3e-4": 3e-4}
    assert rates(("random_3e-4",)) == {"random_3e-4": 3e-4}, "by its name, anywhere"


@pytest.mark.parametrize(
    ("metadata", "size"),
    [
        ({}, None),
        ({"data_set.height": 48, "data_set.width": 64}, (48, 64)),
        ({"data_set.height": 48, "data_set.width": 64, "data.resize": None}, (48, 64)),
        ({"data_set.height": 48, "data_set.width": 64, "data.resize": [24, 32]}, (24, 32)),
        ({"data_set.height": 48, "data_set.width": 64, "data.scale": [0.5, 1.0]}, None),
    ],
)
def test_the_size_of_training_frames(
    shards: Path, tmp_path: Path, metadata: dict[str, Any], size: tuple[int, int] | None
) -> None:
    network = tiny_setting(tiny_eval_config(shards, tmp_path)).network
    assert replace(network, metadata=metadata).frame_size == size
