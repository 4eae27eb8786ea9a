"""`video-eval transfer` from end to end: rows and files, repeats, refusals, deaths on the way, splits and seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_datasets import numbered_jpeg, write_dataset
from helpers_eval import LENGTHS, SPLITS, tiny_eval_config, ucf_keys
from helpers_training import assert_same_run, records
from helpers_video_eval import (
    RANDOM,
    Killed,
    assert_error,
    contents,
    invoke,
    slow_clips,
    stop_after,
    two_networks,
    write_config,
)
from safetensors.torch import load_file

from eval.evaluations.transfer_rows import evaluate_transfer
from eval.judging.config import FitConfig
from eval.judging.fitting import Fit
from eval.judging.setting import Setting
from eval.results.rows import read_row, read_scores
from eval.results.training import learning_rate_of
from shardify.config import load_config
from stream_train.data.reader import open_shard_set
from stream_train.training.distributed import World
from stream_train.training.exports import load_model

KEYS = ucf_keys()
TEST_VIDEOS = range(16, 24)
"""Numbers of the videos of test1, which is the third shard."""
CROP, STRIDE = 16, 4
pytestmark = pytest.mark.usefixtures("blank_charts")


@pytest.fixture(scope="module")
def config(world: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose transfer has been measured; read-only."""
    folder = tmp_path_factory.mktemp("measured")
    path = write_config(
        folder / "config.yaml", world[0], folder / "out", networks=two_networks(world[1]), checkpoint__every_steps=2
    )
    result = invoke("transfer", path)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def out(config: Path) -> Path:
    return config.parent / "out"


def folder_of(out: Path, network: str, split: str = "train1", seed: int = 3, data_set: str = "ucf101-tiny") -> Path:
    return out / "transfer" / "finetune" / network / f"{data_set}-{split}" / f"seed{seed}"


# What a command leaves behind


@pytest.mark.parametrize("network", ["pretrained", "random"])
def test_a_row_says_what_was_measured(world: tuple[Path, Path], out: Path, network: str) -> None:
    shards, run = world
    folder = folder_of(out, network)
    row, scores = read_row(folder), read_scores(folder)
    trained = network == "pretrained"
    assert (row.evaluation, row.variant, row.network, row.architecture) == ("transfer", "finetune", network, "c3d")
    assert (row.data_set, row.train_split, row.test_split, row.seed) == ("ucf101-tiny", "train1", "test1", 3)
    assert row.fingerprint == open_shard_set(shards, "test1").fingerprint
    assert row.config["train_fingerprint"] == open_shard_set(shards, "train1").fingerprint
    digest = hashlib.sha256((run / "backbone.safetensors").read_bytes()).hexdigest()
    assert row.weights == (digest if trained else "")
    assert (row.pretraining is None) == (not trained)
    if trained:
        assert row.pretraining is not None
        assert (row.pretraining["question"], row.pretraining["epochs"]) == ("transformations", 1)
    assert row.reported == {}, "a part of UCF101 is not the paper's data"
    assert row.network_config == {"kind": "c3d", "width": 0.05, "classifier_init": "torch", "input_statistics": "none"}
    assert learning_rate_of(row) == 1e-3
    assert (row.num_videos, row.num_groups, row.num_left_out, row.num_classes) == (8, 4, 0, 2)
    assert row.chance == {"accuracy": 0.5}
    assert row.config["transfer"]["epochs"] == 1
    assert row.config["data"]["crop"] == CROP
    assert scores.keys == tuple(KEYS[16:])
    assert scores.groups == tuple(key[:-4] for key in KEYS[16:])
    assert scores.labels.tolist() == [0, 1] * 4
    assert scores.predicted is not None
    hits = scores.predicted == scores.labels
    assert scores.values["accuracy"].tolist() == hits.tolist()
    assert list(row.metrics) == ["accuracy"]
    assert row.metrics["accuracy"].value == hits.mean()
    assert row.metrics["accuracy"].low <= hits.mean() <= row.metrics["accuracy"].high


@pytest.mark.parametrize("network", ["pretrained", "random"])
def test_the_files_of_a_row(out: Path, network: str) -> None:
    folder = folder_of(out, network)
    assert {path.name for path in folder.iterdir()} - {".lock"} == {
        "row.json", "videos.csv", "config.yaml", "confusion.png", "classes.png", "curves.png", "metrics.jsonl",
        "tensorboard", "backbone.safetensors", "network.safetensors", "checkpoint-00000004.pt",
    }  # fmt: skip
    for name in ("confusion.png", "classes.png", "curves.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert [line["step"] for line in records(folder)] == [2, 4]
    assert len((folder / "videos.csv").read_text().splitlines()) == 9


@pytest.mark.parametrize("network", ["pretrained", "random"])
def test_predictions_are_those_of_a_slow_test(out: Path, network: str) -> None:
    """Clip by clip from the pictures, with the exported network: mean softmax over the sub-sequences of a video."""
    model, metadata = load_model(folder_of(out, network) / "network.safetensors")
    assert metadata["class_names"] == {"action": ["class0", "class1"]}
    predicted = []
    for video, num_frames in zip(TEST_VIDEOS, LENGTHS[2], strict=True):
        stride = max(1, min(STRIDE, (num_frames - 1) // 15))
        num_starts = max(num_frames, 16) - 15 * stride  # below 64: every one of them
        clips = slow_clips(video, num_frames, range(num_starts), STRIDE, CROP)
        with torch.inference_mode():
            mean = torch.softmax(model(clips)["action"], dim=1).mean(dim=0)
        assert abs(float(mean[0] - mean[1])) > 1e-5  # else rounding would decide
        predicted.append(int(mean.argmax()))
    scores = read_scores(folder_of(out, network))
    assert scores.predicted is not None
    assert scores.predicted.tolist() == predicted


def test_all_layers_were_trained_from_the_weights(world: tuple[Path, Path], out: Path) -> None:
    """The learning rate is 1e-3 and there are four steps, so that no weight is far from where it started."""
    before = load_file(world[1] / "backbone.safetensors")
    after = load_file(folder_of(out, "pretrained") / "backbone.safetensors")
    scratch = load_file(folder_of(out, "random") / "backbone.safetensors")
    for name in (name for name in before if name.endswith("weight") and before[name].ndim == 5):
        distance = (after[name] - before[name]).abs().max()
        assert 0 < distance < 5e-3, name
        assert (scratch[name] - before[name]).abs().max() > 1e-2, name


def test_a_network_learns_at_its_own_rate(
    world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training and the row's settings have it; nothing is trained here."""
    trained: dict[str, Fit] = {}
    settings: dict[str, Any] = {}

    def fit(setting: Setting, plan: Fit, _: object) -> None:
        trained[setting.name] = plan

    def write(setting: Setting, _: str, __: str, details: dict[str, Any], ___: object) -> None:
        settings[setting.name] = details

    monkeypatch.setattr("eval.evaluations.transfer_rows.fit_and_test", fit)
    monkeypatch.setattr("eval.evaluations.transfer_rows.write_action_result", write)
    networks = {"random": RANDOM, "random_3e-4": RANDOM | {"learning_rate": 3e-4}}
    evaluate_transfer(tiny_eval_config(world[0], tmp_path, networks=networks), World(), lambda _: None)
    rates = {"random": 1e-3, "random_3e-4": 3e-4}
    assert {name: plan.optimizer.learning_rate for name, plan in trained.items()} == rates
    assert {name: found["transfer"]["optimizer"]["learning_rate"] for name, found in settings.items()} == rates


# Again


def test_the_same_command_again_measures_nothing_and_changes_no_byte(config: Path, out: Path) -> None:
    before = contents(out)
    result = invoke("transfer", config)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == [
        f"transfer finetune: {name} is measured already ({folder_of(out, name)})" for name in ("pretrained", "random")
    ]
    assert contents(out) == before


def other_data(folder: Path) -> list[str]:
    other = write_dataset(
        folder / "ucf101-tiny", LENGTHS, splits=SPLITS, keys=KEYS, jpeg=lambda v, f: numbered_jpeg(v + 50, f)
    )
    return ["shards", str(other)]


def other_test(folder: Path) -> list[str]:
    return ["test_shards", other_data(folder)[1]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["transfer.stride", "2"], "transfer.stride was 4, now 2"),
        (["transfer.all_clips", "true"], "transfer.all_clips was False, now True"),
        (["transfer.optimizer.learning_rate", "1e-4"], "transfer.optimizer.learning_rate was 0.001, now 0.0001"),
        (["data.flip_scope", "none"], "data.flip_scope was 'video', now 'none'"),
        (["precision", "float32"], "precision was 'auto', now 'float32'"),
        (["networks.pretrained", json.dumps(RANDOM)], "weights was "),
        (other_data, "train_fingerprint was "),
        (other_test, "row with other settings (test_fingerprint was "),
    ],
)
def test_other_settings_are_refused_by_name(config: Path, out: Path, tmp_path: Path, change: Any, named: str) -> None:
    key, value = change(tmp_path) if callable(change) else change
    before = contents(out)
    result = invoke("transfer", config, "--set", f"{key}={value}")
    assert_error(
        result, 2, str(folder_of(out, "pretrained") / "row.json"), named.replace("row with", "run with"), "out"
    )
    assert contents(out) == before


def test_what_changes_no_number_may_change(config: Path, out: Path) -> None:
    changes = ["checkpoint.keep=3", "threads=2", "data.num_workers=1", "data.max_test_clips=3"]
    changes += ["data.reader.access=ranged", "data.reader.cache.max_gigabytes=1", "data.reader.ahead_batches=3"]
    before = contents(out)
    result = invoke("transfer", config, *(word for change in changes for word in ("--set", change)))
    assert result.exit_code == 0, result.output
    assert contents(out) == before


def test_a_damaged_row_is_named(config: Path, out: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "pretrained")
    folder.mkdir(parents=True)
    (folder / "row.json").write_text((folder_of(out, "pretrained") / "row.json").read_text()[:-40])
    result = invoke("transfer", config, "--set", f"out={tmp_path}")
    assert_error(result, 1, f"{folder / 'row.json'} is damaged or not a result row")


# Deaths on the way


def kill_training(steps: int) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: stop_after(patch, steps)


def kill_in(module: str, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def die(*_: object, **__: object) -> None:
        raise Killed

    return lambda patch: patch.setattr(f"{module}.{name}", die)


@pytest.mark.parametrize(
    ("kill", "said"),
    [
        (kill_training(3), "after step 2 of 4"),
        (kill_in("eval.evaluations.actions", "class_figure"), "is complete: 4 steps, 1 epochs"),
    ],
    ids=["after a checkpoint", "drawing"],
)
def test_a_killed_command_goes_on_bit_identically(
    config: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: Any, said: str
) -> None:
    """Then all is there that an uninterrupted command leaves, and equal: weights, pictures, row."""
    words = ("--set", f"out={tmp_path}", "--set", "transfer.networks=[pretrained]")
    with monkeypatch.context() as patch:
        kill(patch)
        with pytest.raises(Killed):
            assert isinstance(invoke("transfer", config, *words).exception, Exception)
    folder, whole = folder_of(tmp_path, "pretrained"), folder_of(out, "pretrained")
    assert not (folder / "row.json").exists()
    result = invoke("transfer", config, *words)
    assert result.exit_code == 0, result.output
    assert any(said in line for line in result.stderr.splitlines())
    assert_same_run(folder, whole)
    equal = ("row.json", "videos.csv", "confusion.png", "classes.png", "curves.png")
    for name in (*equal, "backbone.safetensors", "network.safetensors"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert not [path for path in folder.rglob("*") if path.suffix in (".tmp", ".partial")]


# Splits, seeds, data


def test_splits_and_seeds_are_rows_of_their_own(world: tuple[Path, Path], tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", world[0], tmp_path / "out", splits=[1, 2], seeds=[0, 1])
    rows = json.loads(invoke("transfer", path, "--json").stdout)
    assert [(row["train_split"], row["test_split"], row["seed"]) for row in rows] == [
        *(("train1", "test1", 0), ("train1", "test1", 1), ("train2", "test2", 0), ("train2", "test2", 1)),
    ]
    exports = set()
    for row in rows:
        folder = folder_of(tmp_path / "out", "random", row["train_split"], row["seed"])
        videos = range(16, 24) if row["test_split"] == "test1" else range(8)
        assert read_scores(folder).keys == tuple(KEYS[video] for video in videos)
        assert row["fingerprint"] == open_shard_set(world[0], row["test_split"]).fingerprint
        assert json.loads((folder / "row.json").read_text()) == row
        trained = load_config(FitConfig, folder / "config.yaml")
        assert (trained.seed, trained.split) == (row["seed"], row["train_split"])
        exports.add(hashlib.sha256((folder / "backbone.safetensors").read_bytes()).hexdigest())
    assert len(exports) == 4
    named = invoke("transfer", path, "--set", "splits=[{train: train2, test: test2}]", "--set", "seeds=[1]", "--json")
    assert named.stderr.splitlines()[-1].startswith("transfer finetune: random is measured already")
    assert json.loads(named.stdout) == rows[3:]


def test_the_last_split_is_looked_at_before_the_first_is_trained_on(world: tuple[Path, Path], tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", world[0], tmp_path / "out", splits=[1, 7])
    assert_error(invoke("transfer", path), 2, "no split 'train7'", "train1")
    assert not (tmp_path / "out").exists()


def test_another_data_set_to_test_on(world: tuple[Path, Path], tmp_path: Path) -> None:
    """All of one data set to learn from, all of another to test on; curves of the test are left out."""
    other = write_dataset(tmp_path / "hmdb51", [[20, 30], [25, 16]], splits=[["a"], ["b"]])
    path = write_config(
        tmp_path / "c.yaml", world[0], tmp_path / "out", test_shards=str(other), splits=[{"train": None, "test": None}],
        transfer__validate_every_epochs=1,
    )  # fmt: skip
    (row,) = json.loads(invoke("transfer", path, "--json").stdout)
    assert (row["data_set"], row["train_split"], row["test_split"], row["num_videos"]) == ("hmdb51", None, None, 4)
    folder = folder_of(tmp_path / "out", "random", "all", data_set="hmdb51")
    assert read_scores(folder).keys == ("video0000", "video0001", "video0002", "video0003")
    assert [line["step"] for line in records(folder)] == [2, 4, 6]


def test_judging_on_the_way_changes_no_result(
    world: tuple[Path, Path], out: Path, config: Path, tmp_path: Path
) -> None:
    words = ("--set", f"out={tmp_path}", "--set", "transfer.networks=[pretrained]")
    assert invoke("transfer", config, *words, "--set", "transfer.validate_every_epochs=1").exit_code == 0
    folder, quiet = folder_of(tmp_path, "pretrained"), folder_of(out, "pretrained")
    for name in ("row.json", "videos.csv"):
        assert (folder / name).read_bytes() == (quiet / name).read_bytes()
    assert any("validation_action_accuracy" in line for line in records(folder))


def test_classes_without_videos_are_named_and_no_obstacle(tmp_path: Path) -> None:
    """Training videos of class0 and class1, test videos of class2 and class0."""
    data = write_dataset(tmp_path / "data", [[20, 18], [17, 18]], splits=[["train1"], ["test1"]], num_classes=3)
    path = write_config(tmp_path / "c.yaml", data, tmp_path / "out", data__videos_per_batch=2)
    result = invoke("transfer", path)
    assert result.exit_code == 0, result.output
    assert any("no test video (class1)" in line for line in result.stderr.splitlines())
    assert any("no training video (class2)" in line for line in result.stderr.splitlines())
    folder = folder_of(tmp_path / "out", "random", data_set="data")
    row = read_row(folder)
    assert (row.num_classes, row.chance) == (3, {"accuracy": 1 / 3})
    assert (folder / "classes.png").is_file()
    assert read_scores(folder).labels.tolist() == [2, 0]


def test_all_sub_sequences_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A video of 126 frames has 66 starts, of which the usual test looks at every second."""
    looked_at: list[int] = []
    original = torch.softmax

    def softmax(logits: torch.Tensor, *, dim: int) -> torch.Tensor:
        looked_at.append(len(logits))
        return original(logits, dim=dim)

    monkeypatch.setattr("eval.evaluations.actions.torch.softmax", softmax)
    data = write_dataset(tmp_path / "data", [[20, 21], [126, 16]], splits=[["train1"], ["test1"]])
    path = write_config(tmp_path / "c.yaml", data, tmp_path / "out", data__videos_per_batch=2)
    result = invoke("transfer", path, "--all-clips")
    assert result.exit_code == 0, result.output
    assert sum(looked_at) == 66 + 1
    assert read_row(folder_of(tmp_path / "out", "random", data_set="data")).config["transfer"]["all_clips"] is True
