"""`video-eval probe` and `still` from end to end: which rows there are, whose labels they used, what froze."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_eval import LENGTHS, tiny_setting, ucf_keys
from helpers_training import records
from helpers_video_eval import (
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
from sklearn.linear_model import LogisticRegression

from eval.config import EvalConfig
from eval.evaluations.probe_rows import predict
from eval.features.config import LabelBudget
from eval.features.extraction import features_of
from eval.features.labels import choose_labelled
from eval.features.vectors import Vectors
from eval.judging.setting import Setting
from eval.results.rows import Row, read_row, read_scores
from shardify.arrays import FloatArray, IntArray
from shardify.config import load_config
from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips
from stream_train.data.reader import FrameReader
from stream_train.training.exports import load_model

KEYS = ucf_keys()
COLOUR = {"kind": "trivial", "features": "colour"}
BUDGETS: dict[str, list[Any]] = {"fc": ["100%"], "linear": ["100%", "50%", 1], "knn": ["100%", 1]}
FEATURE_ROWS = [
    *(("linear-all", 3), ("linear-50pct", 0), ("linear-50pct", 1), ("linear-1", 0), ("linear-1", 1)),
    *(("knn-all", 3), ("knn-1", 0), ("knn-1", 1)),
]
"""Variant and seed, in their order."""
ALL_ROWS = [("fc-all", 3), *FEATURE_ROWS]
pytestmark = pytest.mark.usefixtures("blank_charts")


@pytest.fixture(scope="module")
def config(world: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose probes and still videos have been measured; read-only."""
    folder = tmp_path_factory.mktemp("measured")
    path = write_config(
        folder / "config.yaml",
        world[0],
        folder / "out",
        networks=two_networks(world[1]) | {"colour": COLOUR},
        checkpoint__every_steps=2,
        **{f"probe__{kind}": budgets for kind, budgets in BUDGETS.items()},
        still__networks=["pretrained"],
    )
    for name in ("probe", "still"):
        result = invoke(name, path)
        assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def out(config: Path) -> Path:
    return config.parent / "out"


def folder_of(out: Path, variant: str, network: str, seed: int = 3, evaluation: str = "probe") -> Path:
    return out / evaluation / variant / network / "ucf101-tiny-train1" / f"seed{seed}"


def setting_of(config: Path, network: str) -> Setting:
    return tiny_setting(load_config(EvalConfig, config), network)


def vectors_of(config: Path, network: str, seed: int = 3) -> tuple[Vectors, Vectors]:
    """Of the training and the test split; the seed decides random weights only."""
    setting = setting_of(config, network).with_seed(seed)
    section = load_config(EvalConfig, config).probe.features
    return features_of(setting, setting.train, section), features_of(setting, setting.test, section)


# Rows and files


def test_the_rows_of_each_network_in_their_order(config: Path) -> None:
    """Trivial features have no convolutions for new layers to stand on."""
    rows = json.loads(invoke("probe", config, "--json").stdout)
    assert [(row["network"], row["variant"], row["seed"]) for row in rows] == [
        *(("pretrained", *row) for row in ALL_ROWS),
        *(("random", *row) for row in ALL_ROWS),
        *(("colour", *row) for row in FEATURE_ROWS),
    ]


def test_what_rows_say(out: Path) -> None:
    by_network = {name: read_row(folder_of(out, "linear-all", name)) for name in ("pretrained", "random", "colour")}
    assert {name: row.architecture for name, row in by_network.items()} == {
        "pretrained": "c3d",
        "random": "c3d",
        "colour": "none",
    }
    assert [bool(row.weights) for row in by_network.values()] == [True, False, False]
    assert [row.pretraining is None for row in by_network.values()] == [False, True, True]
    assert by_network["colour"].config["network"] == COLOUR
    for network in by_network:
        for variant, seed in FEATURE_ROWS:
            row = read_row(folder_of(out, variant, network, seed))
            assert (row.seed, row.chance) == (seed, {"accuracy": 0.5})
            assert row.reported == {}
            assert row.config["labels"] == {"all": "100%", "50pct": "50%", "1": 1}[variant.partition("-")[2]]


def test_files(out: Path) -> None:
    """Pictures of single draws of scarce labels would only be many."""
    pictures = {"confusion.png", "classes.png"}
    always = {"row.json", "videos.csv", "config.yaml"}
    trained = {"curves.png", "metrics.jsonl", "tensorboard", "backbone.safetensors", "network.safetensors"}
    for variant, seed, wanted in (
        ("linear-all", 3, always | pictures),
        ("knn-all", 3, always | pictures),
        ("linear-1", 1, always),
        ("fc-all", 3, always | pictures | trained | {"checkpoint-00000004.pt"}),
    ):
        folder = folder_of(out, variant, "pretrained", seed)
        assert {path.name for path in folder.iterdir()} - {".lock"} == wanted
    assert (out / "probe" / "low_labels-ucf101-tiny.png").read_bytes().startswith(b"\x89PNG")


def test_again_nothing_is_measured(config: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("features_of", "fit_and_test"):
        monkeypatch.delattr(f"eval.evaluations.probe_rows.{name}")
    before = contents(out)
    result = invoke("probe", config)
    assert result.exit_code == 0, result.output
    assert len([line for line in result.stderr.splitlines() if "is measured already" in line]) == 26
    picture = "probe/low_labels-ucf101-tiny.png"  # drawn again from the rows, and equal
    after = contents(out)
    assert after.pop(picture)[0] == before.pop(picture)[0]
    assert after == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("probe.epochs=2", "fc-all/pretrained/ucf101-tiny-train1/seed3/row.json"),
        ("probe.frozen_norm=training", "probe.frozen_norm was 'evaluation', now 'training'"),
        ("probe.features.layer=features", "features.layer was 'pooled', now 'features'"),
        ("probe.logistic.inverse_penalty=2", "options.inverse_penalty was 1.0, now 2.0"),
        ("probe.neighbours.num_neighbours=3", "options.num_neighbours was 20, now 3"),
        ("networks.colour.features=difference", "network.features was 'colour', now 'difference'"),
    ],
)
def test_other_settings_are_refused_by_name(config: Path, out: Path, change: str, named: str) -> None:
    words = ["--set", change]
    if not change.startswith("probe.e") and "norm" not in change:
        words += [
            "--set",
            "probe.fc=[]",
            "--set",
            f"probe.networks=[{'colour' if 'colour' in change else 'pretrained'}]",
        ]
    before = contents(out)
    assert_error(invoke("probe", config, *words), 2, named)
    assert contents(out) == before


# Which labels


def budget_of(variant: str) -> LabelBudget:
    text = variant.partition("-")[2]
    return LabelBudget.parse({"all": "100%", "50pct": "50%"}.get(text) or int(text))


@pytest.mark.parametrize("network", ["pretrained", "random"])
def test_predictions_follow_from_the_vectors_of_the_drawn_videos(config: Path, out: Path, network: str) -> None:
    for number in (3, 0, 1):
        train, test = vectors_of(config, network, number)
        assert train.keys == tuple(KEYS[:16])
        assert test.keys == tuple(KEYS[16:])
        for variant, seed in FEATURE_ROWS:
            if seed != number:
                continue
            chosen = choose_labelled(train.labels, train.keys, budget_of(variant), seed)
            assert len(chosen) == {"all": 16, "50pct": 8, "1": 2}[variant.partition("-")[2]]
            slow = slow_linear if variant.startswith("linear") else slow_neighbours
            values = [vectors.astype(np.float64) for vectors in (train.values[chosen], test.values)]
            probabilities = slow(values[0], train.labels[chosen], values[1])
            scores = read_scores(folder_of(out, variant, network, seed))
            assert scores.predicted is not None
            is_sure = np.abs(probabilities - 0.5) > 1e-4  # otherwise, rounding decides
            assert is_sure.sum() >= 4
            assert np.array_equal(scores.predicted[is_sure], (probabilities > 0.5)[is_sure]), variant


def standardised(train: FloatArray, queries: FloatArray) -> tuple[FloatArray, FloatArray]:
    deviation = train.std(axis=0)
    scale = np.where(deviation > 1e-6 * np.abs(train).max(axis=0), 1 / np.where(deviation > 0, deviation, 1), 0)
    return (train - train.mean(axis=0)) * scale, (queries - train.mean(axis=0)) * scale


def slow_linear(train: FloatArray, labels: IntArray, queries: FloatArray) -> FloatArray:
    """Probability of the second class."""
    train, queries = standardised(train, queries)
    probabilities: FloatArray = LogisticRegression(max_iter=5000).fit(train, labels).predict_proba(queries)[:, 1]
    return probabilities


def slow_neighbours(train: FloatArray, labels: IntArray, queries: FloatArray) -> FloatArray:
    """Share of the second class's votes; there are fewer than 20 videos, so that all of them vote."""
    train, queries = standardised(train, queries)
    shares = []
    for query in queries:
        weights = np.zeros(2)
        for target, label in zip(train, labels, strict=True):
            lengths = np.linalg.norm(query) * np.linalg.norm(target)
            weights[label] += np.exp((query @ target / lengths if lengths else 0) / 0.07)
        shares.append(weights[1] / weights.sum())
    return np.array(shares)


def test_new_layers_see_only_the_drawn_videos(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In as many steps as all 16, of four clips each; the reader tells which training videos were opened."""
    opened: set[str] = set()
    original = FrameReader.read

    def read(self: FrameReader, position: int, frames: Any) -> Any:
        if self._shard_set.split == "train1":
            opened.add(KEYS[position])
        return original(self, position, frames)

    monkeypatch.setattr(FrameReader, "read", read)
    words = ["--set", f"out={tmp_path}", "--set", "probe.networks=[pretrained]", "--set", "probe.linear=[]"]
    words += ["--set", "probe.knn=[]", "--set", "probe.fc=[2]"]
    assert invoke("probe", config, *words).exit_code == 0
    chosen = choose_labelled(np.array([0, 1] * 8), KEYS[:16], LabelBudget.parse(2), seed=3)
    assert opened == {KEYS[position] for position in chosen}
    assert len(opened) == 4
    folder = folder_of(tmp_path, "fc-2", "pretrained")
    assert (records(folder)[-1]["step"], records(folder)[-1]["epoch"]) == (4, 4)
    assert read_row(folder).reported == {}


def test_scarce_labels_have_seeds_of_their_own_and_random_weights_go_with_them(
    world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors are extracted once a network, split and seed, and not at all if no row is missing."""
    extracted: list[tuple[int, str | None]] = []

    def extract(setting: Setting, samples: Any, section: Any) -> Vectors:
        extracted.append((setting.seed, samples.split))
        return features_of(setting, samples, section)

    monkeypatch.setattr("eval.evaluations.probe_rows.features_of", extract)
    path = write_config(tmp_path / "c.yaml", world[0], tmp_path / "out", seeds=[5, 6], probe__fc=[])
    rows = json.loads(invoke("probe", path, "--json").stdout)
    assert [(row["variant"], row["seed"]) for row in rows] == [
        *(("linear-all", 5), ("linear-1", 0), ("linear-1", 1), ("knn-all", 5), ("knn-1", 0), ("knn-1", 1)),
        *(("linear-all", 6), ("knn-all", 6)),
    ]
    seeds = [5, 0, 1, 6] if rows[0]["pretraining"] is None else [5, 6]
    assert extracted == [(seed, split) for seed in seeds for split in ("train1", "test1")]
    assert invoke("probe", path).exit_code == 0
    assert invoke("probe", path, "--set", "seeds=[6]").exit_code == 0, "another first seed changes none of the rows"
    assert len(extracted) == 2 * len(seeds)


# What is frozen


def test_convolutions_and_their_statistics_stay(world: tuple[Path, Path], out: Path) -> None:
    before = load_file(world[1] / "backbone.safetensors")
    after = load_file(folder_of(out, "fc-all", "pretrained") / "backbone.safetensors")
    assert before.keys() == after.keys()
    convolutional = [name for name in before if name.startswith("convolutions.")]
    assert any("running_mean" in name for name in convolutional)
    assert all(torch.equal(before[name], after[name]) for name in convolutional)
    others = [
        name for name in before if name not in convolutional and name.endswith("weight") and before[name].ndim == 2
    ]
    assert others
    for name in others:  # drawn anew
        assert (before[name] - after[name]).abs().max() > 0.05, name


# Still videos


def test_the_moving_row_is_the_probe_s(out: Path) -> None:
    moving, probe = folder_of(out, "moving", "pretrained", evaluation="still"), folder_of(out, "fc-all", "pretrained")
    assert (moving / "videos.csv").read_bytes() == (probe / "videos.csv").read_bytes()
    row, source = read_row(moving), read_row(probe)
    assert (row.metrics, row.config, row.fingerprint) == (source.metrics, source.config, source.fingerprint)
    assert {path.name for path in moving.iterdir()} >= {"row.json", "videos.csv", "config.yaml", "confusion.png"}


def test_still_clips_repeat_the_middle_frame_in_the_test(out: Path) -> None:
    folder = folder_of(out, "still", "pretrained", evaluation="still")
    model, _ = load_model(folder / "network.safetensors")
    predicted = []
    for video, num_frames in zip(range(16, 24), LENGTHS[2], strict=True):
        stride = max(1, min(4, (num_frames - 1) // 15))
        clips = slow_clips(video, num_frames, range(max(num_frames, 16) - 15 * stride), 4, 16)
        with torch.inference_mode():
            logits = model(clips[:, :, 8:9].expand(clips.shape))["action"]
        mean = torch.softmax(logits, dim=1).mean(dim=0)
        assert abs(float(mean[0] - mean[1])) > 1e-5
        predicted.append(int(mean.argmax()))
    scores = read_scores(folder)
    assert scores.predicted is not None
    assert scores.predicted.tolist() == predicted
    row: Row = read_row(folder)
    assert row.config["still"] is True
    moving = load_file(folder_of(out, "fc-all", "pretrained") / "backbone.safetensors")
    still = load_file(folder / "backbone.safetensors")
    assert any(not torch.equal(moving[name], still[name]) for name in moving)  # trained on still clips too


def test_still_videos_measure_what_they_need_of_the_probe(
    config: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the probe, in which no clip stands still, then the same with still clips alone."""
    stands_still: dict[str, list[bool]] = {"train": [], "test": []}

    def watch(name: str) -> Callable[[Batch], torch.Tensor]:
        def prepare(batch: Batch) -> torch.Tensor:
            stands_still[name] += [bool((clip == clip[:1]).all()) for clip in batch.frames]
            return prepare_clips(batch)

        return prepare

    monkeypatch.setattr("stream_train.training.loop.prepare_clips", watch("train"))
    monkeypatch.setattr("eval.evaluations.actions.prepare_clips", watch("test"))
    result = invoke("still", config, "--set", f"out={tmp_path}")
    assert result.exit_code == 0, result.output
    assert stands_still["train"] == [False] * 16 + [True] * 16
    num_tested = len(stands_still["test"]) // 2
    assert stands_still["test"] == [False] * num_tested + [True] * num_tested
    for evaluation, variant in (("probe", "fc-all"), ("still", "moving"), ("still", "still")):
        one, other = (folder_of(root, variant, "pretrained", evaluation=evaluation) for root in (tmp_path, out))
        assert (one / "row.json").read_bytes() == (other / "row.json").read_bytes()
    assert not (tmp_path / "probe" / "linear-all").exists()
    before = contents(tmp_path)
    assert invoke("still", config, "--set", f"out={tmp_path}").exit_code == 0
    assert contents(tmp_path) == before


# Deaths on the way


def test_killed_among_the_rows_and_in_a_training(
    config: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First in the training, then after the third of the rows on features: at the end all rows are equal."""
    words = ("--set", f"out={tmp_path}", "--set", "probe.networks=[pretrained]")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Killed):
            assert isinstance(invoke("probe", config, *words).exception, Exception)
    done: list[object] = []

    def die_after_three(*arguments: Any) -> Any:
        if len(done) == 3:
            raise Killed
        done.append(arguments)
        return predict(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("eval.evaluations.probe_rows.predict", die_after_three)
        with pytest.raises(Killed):
            assert isinstance(invoke("probe", config, *words).exception, Exception)
    assert not (folder_of(tmp_path, "linear-1", "pretrained", 0) / "row.json").exists()
    result = invoke("probe", config, *words)
    assert result.exit_code == 0, result.output
    assert [line.split(":")[0] for line in result.stderr.splitlines() if "measured already" in line] == [
        *("probe fc-all", "probe linear-all", "probe linear-50pct", "probe linear-50pct"),
    ]
    for variant, seed in ALL_ROWS:
        one, other = (folder_of(root, variant, "pretrained", seed) for root in (tmp_path, out))
        for name in ("row.json", "videos.csv"):
            assert (one / name).read_bytes() == (other / name).read_bytes()


# Odd requests


@pytest.mark.parametrize("words", [["probe.networks=[]"], ["probe.fc=[]", "probe.linear=[]", "probe.knn=[]"]])
def test_nothing_asked_for_is_nothing_done(config: Path, tmp_path: Path, words: list[str]) -> None:
    sets = [word for change in (*words, f"out={tmp_path / 'out'}") for word in ("--set", change)]
    result = invoke("probe", config, *sets, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, []), result.output
    assert not (tmp_path / "out").exists()


def test_a_fit_that_does_not_converge_leaves_a_warning_and_a_row(config: Path, tmp_path: Path) -> None:
    words = ["--set", f"out={tmp_path}", "--set", "probe.networks=[pretrained]", "--set", "probe.fc=[]"]
    words += ["--set", "probe.knn=[]", "--set", "probe.logistic.max_iterations=1", "--set", "probe.linear=['100%']"]
    result = invoke("probe", config, *words)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("pretrained, labels 100%: ")]
    assert "the linear probe did not converge (1 of at most 1 iterations" in line
