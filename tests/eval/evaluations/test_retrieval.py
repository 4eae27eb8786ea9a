"""`video-eval retrieval` from end to end: ranked lists, hits and chance against slow ones, the picture, weights."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from helpers_datasets import numbered_jpeg, write_dataset
from helpers_eval import LENGTHS, tiny_setting, ucf_keys
from helpers_video_eval import (
    RANDOM,
    assert_error,
    contents,
    invoke,
    torchvision_file,
    two_networks,
    write_config,
)

from eval.config import EvalConfig
from eval.evaluations.retrieval_rows import spread_over_classes
from eval.features.extraction import features_of
from eval.features.vectors import Vectors
from eval.pictures.retrieval import Query
from eval.results.rows import read_row, read_scores
from shardify.config import load_config
from stream_train.data.reader import open_shard_set

KEYS = ucf_keys()
TRAIN, TEST = KEYS[:16], KEYS[16:]
NETWORKS = ("pretrained", "random", "colour", "difference")
TRIVIAL = {name: {"kind": "trivial", "features": name} for name in ("colour", "difference")}
TOP = (1, 5, 10, 20, 50)


@pytest.fixture(scope="module")
def config(world: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose retrieval has been measured; read-only."""
    folder = tmp_path_factory.mktemp("measured")
    networks = two_networks(world[1]) | TRIVIAL
    path = write_config(folder / "config.yaml", world[0], folder / "out", networks=networks)
    result = invoke("retrieval", path)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def out(config: Path) -> Path:
    return config.parent / "out"


def folder_of(
    out: Path, network: str, variant: str = "pooled", data: str = "ucf101-tiny-train1", seed: int = 3
) -> Path:
    return out / "retrieval" / variant / network / data / f"seed{seed}"


def class_of(key: str) -> str:
    return f"class{key[len('v_Class')]}"


def slow_ranking(train: Vectors, test: Vectors) -> dict[str, list[tuple[float, str]]]:
    """Query -> (cosine of standardised vectors, key) of all training videos, best first."""
    targets, queries = (vectors.values.astype(np.float64) for vectors in (train, test))
    mean, deviation = targets.mean(axis=0), targets.std(axis=0)
    varies = deviation > 1e-6 * np.abs(targets).max(axis=0)
    targets, queries = ((values - mean)[:, varies] / deviation[varies] for values in (targets, queries))
    ranking = {}
    for key, query in zip(test.keys, queries, strict=True):
        cosines = [float(query @ target / np.linalg.norm(query) / np.linalg.norm(target)) for target in targets]
        ranking[key] = sorted(zip(cosines, train.keys, strict=True), reverse=True)
    return ranking


@pytest.mark.parametrize("network", NETWORKS)
def test_ranked_lists_are_those_of_a_slow_comparison_of_the_vectors(config: Path, out: Path, network: str) -> None:
    setting = tiny_setting(load_config(EvalConfig, config), network)
    section = load_config(EvalConfig, config).retrieval.features
    vectors = [features_of(setting, samples, section) for samples in (setting.train, setting.test)]
    assert [part.keys for part in vectors] == [tuple(TRAIN), tuple(TEST)]
    ranking = slow_ranking(*vectors)
    lists = json.loads((folder_of(out, network) / "neighbours.json").read_text())
    assert sorted(lists) == sorted(TEST)
    for key, neighbours in lists.items():
        similarities = [neighbour["similarity"] for neighbour in neighbours]
        assert similarities == sorted(similarities, reverse=True)
        assert similarities == pytest.approx([cosine for cosine, _ in ranking[key]], abs=2e-5)
        by_key = {target: cosine for cosine, target in ranking[key]}
        assert sorted(neighbour["key"] for neighbour in neighbours) == sorted(TRAIN)
        assert similarities == pytest.approx([by_key[neighbour["key"]] for neighbour in neighbours], abs=2e-5)
        assert all(neighbour["class"] == class_of(neighbour["key"]) for neighbour in neighbours)


@pytest.mark.parametrize("network", NETWORKS)
def test_hits_are_those_of_the_lists(out: Path, network: str) -> None:
    folder = folder_of(out, network)
    lists = json.loads((folder / "neighbours.json").read_text())
    row, scores = read_row(folder), read_scores(folder)
    assert scores.keys == tuple(TEST)
    assert scores.predicted is None
    assert list(row.metrics) == [f"top{k}" for k in TOP]
    for k in TOP:
        hits = [any(n["class"] == class_of(key) for n in lists[key][:k]) for key in TEST]
        assert scores.values[f"top{k}"].tolist() == hits
        assert row.metrics[f"top{k}"].value == np.mean(hits)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_row_says_what_was_measured(world: tuple[Path, Path], out: Path, network: str) -> None:
    shards, run = world
    row = read_row(folder_of(out, network))
    digest = hashlib.sha256((run / "backbone.safetensors").read_bytes()).hexdigest()
    assert (row.evaluation, row.variant, row.network) == ("retrieval", "pooled", network)
    assert row.architecture == ("none" if network in TRIVIAL else "c3d")
    assert row.weights == (digest if network == "pretrained" else "")
    assert (row.pretraining is None) == (network != "pretrained")
    assert (row.train_split, row.test_split, row.seed) == ("train1", "test1", 3)
    assert row.fingerprint == open_shard_set(shards, "test1").fingerprint
    assert row.config["train_fingerprint"] == open_shard_set(shards, "train1").fingerprint
    assert row.reported == {}  # Table 4 has no such network
    assert (row.num_videos, row.num_groups, row.num_left_out, row.num_classes) == (8, 4, 0, 2)
    for k in TOP:  # 8 of the 16 training videos are of a query's class
        none = math.comb(8, k) / math.comb(16, k) if k <= 16 else 0
        assert row.chance[f"top{k}"] == pytest.approx(1 - none)


def test_files(out: Path) -> None:
    for network in NETWORKS:
        folder = folder_of(out, network)
        assert {path.name for path in folder.iterdir()} == {
            "row.json", "videos.csv", "config.yaml", "neighbours.json", "retrieval.png",
        }  # fmt: skip
        assert (folder / "retrieval.png").read_bytes().startswith(b"\x89PNG")


def test_again_nothing_is_measured(config: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("eval.evaluations.retrieval_rows.features_of")
    before = contents(out)
    result = invoke("retrieval", config, "--set", "retrieval.num_shown=2", "--set", "threads=2")
    assert result.exit_code == 0, result.output
    assert len(result.stderr.splitlines()) == 4
    assert contents(out) == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (["retrieval.features.stride=2"], "retrieval.features.stride was 4, now 2"),
        (["retrieval.top=[1]"], "retrieval.top was [1, 5, 10, 20, 50], now [1]"),
        (["data.crop=24", "retrieval.networks=[colour]"], "data.crop was 16, now 24"),
        (
            ["retrieval.networks=[difference]", "networks.difference.features=colour"],
            "network.features was 'difference'",
        ),
        (
            ["retrieval.networks=[random]", f"networks.random={json.dumps(RANDOM | {'network': {'kind': 'r3d18'}})}"],
            "network.kind was 'c3d', now 'r3d18'",
        ),
    ],
)
def test_other_settings_are_refused_by_name(config: Path, out: Path, changes: list[str], named: str) -> None:
    before = contents(out)
    result = invoke("retrieval", config, *(word for change in changes for word in ("--set", change)))
    assert_error(result, 2, "row.json belongs to a run with other settings", named)
    assert contents(out) == before


def test_the_other_layer_is_another_variant(config: Path, out: Path, tmp_path: Path) -> None:
    words = ["--set", f"out={tmp_path}", "--set", "retrieval.networks=[pretrained]"]
    assert invoke("retrieval", config, *words, "--set", "retrieval.features.layer=features").exit_code == 0
    lists = json.loads((folder_of(tmp_path, "pretrained", "features") / "neighbours.json").read_text())
    pooled = json.loads((folder_of(out, "pretrained") / "neighbours.json").read_text())
    assert lists.keys() == pooled.keys()
    assert lists != pooled


def test_the_picture_shows_the_nearest_of_the_lists(
    config: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole frames at a quarter, the middle and three quarters of each video, of queries of both classes."""
    drawn: list[Query] = []
    monkeypatch.setattr("eval.evaluations.retrieval_rows.retrieval_figure", lambda queries, _: drawn.extend(queries))
    words = ["--set", f"out={tmp_path}", "--set", "retrieval.networks=[pretrained]", "--set", "retrieval.num_shown=3"]
    assert invoke("retrieval", config, *words).exit_code == 0
    lists = json.loads((folder_of(out, "pretrained") / "neighbours.json").read_text())
    lengths = [length for shard in LENGTHS for length in shard]
    assert [query.class_name for query in drawn] == ["class0", "class1", "class0"]
    for query, video in zip(drawn, (16, 17, 18), strict=True):
        shown = [KEYS.index(neighbour["key"]) for neighbour in lists[KEYS[video]][:2]]
        assert [neighbour.class_name for neighbour in query.neighbours] == [f"class{number % 2}" for number in shown]
        similarities = [neighbour["similarity"] for neighbour in lists[KEYS[video]][:2]]
        assert [neighbour.similarity for neighbour in query.neighbours] == pytest.approx(similarities, abs=1e-6)
        for number, frames in zip((video, *shown), (query.frames, *(n.frames for n in query.neighbours)), strict=True):
            places = [round((lengths[number] - 1) * share) for share in (0.25, 0.5, 0.75)]
            wanted = [simplejpeg.decode_jpeg(numbered_jpeg(number, place)) for place in places]
            assert all(np.array_equal(*both) for both in zip(frames, wanted, strict=True))


@pytest.mark.parametrize(
    ("labels", "count", "positions"),
    [
        ([0, 0, 1, 1, 2], 3, [0, 2, 4]),
        ([0, 0, 1, 1, 2], 5, [0, 2, 4, 1, 3]),
        ([0, 0, 1, 1, 2], 9, [0, 2, 4, 1, 3]),
        ([0, 0, 1, 1, 2], 2, [0, 4]),
        ([2, 1, 0], 3, [2, 1, 0]),
        ([0, 0, 0], 2, [0, 1]),
        ([-1, -1], 1, [0]),
        (list(range(101)), 6, [0, 20, 40, 60, 80, 100]),
    ],
)
def test_videos_for_pictures_are_of_different_classes(labels: list[int], count: int, positions: list[int]) -> None:
    assert spread_over_classes(labels, count) == positions


@pytest.mark.slow
def test_splits_seeds_and_another_data_set(world: tuple[Path, Path], tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "c.yaml", world[0], tmp_path / "out", splits=[1, {"train": "train2", "test": "test2"}], seeds=[0, 1]
    )
    rows = json.loads(invoke("retrieval", path, "--json").stdout)
    assert [(row["test_split"], row["seed"]) for row in rows] == [
        ("test1", 0),
        ("test1", 1),
        ("test2", 0),
        ("test2", 1),
    ]
    lists = [
        (
            folder_of(tmp_path / "out", "random", data=f"ucf101-tiny-train{split}", seed=seed) / "neighbours.json"
        ).read_bytes()
        for split in (1, 2)
        for seed in (0, 1)
    ]
    assert len(set(lists)) == 4
    other = write_dataset(tmp_path / "own", [[20, 30, 16]], splits=[["mine"]])
    changes = [f"test_shards={other}", "splits=[{train: null, test: mine}]", "seeds=[0]"]
    result = invoke("retrieval", path, "--json", *(word for change in changes for word in ("--set", change)))
    (row,) = json.loads(result.stdout)
    assert (row["data_set"], row["train_split"], row["test_split"], row["num_videos"]) == ("own", None, "mine", 3)
    found = json.loads((folder_of(tmp_path / "out", "random", data="own-all", seed=0) / "neighbours.json").read_text())
    assert list(found) == ["video0000", "video0001", "video0002"]
    assert {neighbour["key"] for neighbour in found["video0000"]} == set(KEYS)
    assert all(neighbour["class"] == class_of(neighbour["key"]) for each in found.values() for neighbour in each)


@pytest.mark.slow
def test_weights_of_torchvision_and_random_ones_like_them(tmp_path: Path) -> None:
    """Full width, from a file."""
    file = torchvision_file(tmp_path / "r3d_18.pth")
    shards = write_dataset(tmp_path / "data", [[16, 17], [16]], splits=[["train1"], ["test1"]])
    networks: dict[str, Any] = {
        "kinetics": {
            "kind": "torchvision",
            "network": {"kind": "r3d18", "variant": "torchvision"},
            "weights": str(file),
        },
        "random": {"kind": "random", "like": "kinetics"},
    }
    few = {"features": {"clips_per_video": 1}}
    path = write_config(tmp_path / "c.yaml", shards, tmp_path / "out", networks=networks, data__crop=16, retrieval=few)
    result = invoke("retrieval", path, "--json")
    assert result.exit_code == 0, result.output
    kinetics, random = json.loads(result.stdout)
    assert (kinetics["network"], kinetics["architecture"], kinetics["reported"]) == ("kinetics", "r3d18", {})
    assert kinetics["weights"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert kinetics["pretraining"]["question"] == "torchvision"
    assert (random["architecture"], random["weights"], random["pretraining"]) == ("r3d18", "", None)
    assert random["config"]["network"]["input_statistics"] == "kinetics400"
    lists = [(folder_of(tmp_path / "out", n, data="data-train1") / "neighbours.json").read_bytes() for n in networks]
    assert lists[0] != lists[1]
