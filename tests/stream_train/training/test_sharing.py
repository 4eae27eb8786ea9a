"""`stream-train export`: a folder for others with a model card, loaded again from a folder, a bucket and the Hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from helpers_shards import make_video

from shardify.errors import UsageError
from shardify.storage.locations import join_location
from stream_train.cli import main
from stream_train.networks.base import Backbone
from stream_train.pretrained import clips_of, embed, from_pretrained
from stream_train.training.card import _recipe
from stream_train.training.config import PretrainConfig
from stream_train.training.hub import split_hub_location

ROW: dict[str, Any] = {
    "evaluation": "probe",
    "variant": "knn-all",
    "network": "pretrained",
    "data_set": "small",
    "test_split": "test1",
    "num_videos": 16,
    "seed": 0,
    "chance": {"accuracy": 0.125},
    "metrics": {"accuracy": {"value": 0.5, "low": 0.25, "high": 0.625}},
}


FIGURES = {
    "motion_accuracy": 0.5,
    "speed_accuracy": 0.375,
    "speed_best_constant": 0.25,
    "speed_best_from_length": 0.3125,
    "speed_accuracy_batch_statistics": 0.75,
}
AUDIT_ROW: dict[str, Any] = {
    "group": "network",
    "name": "as in training",
    "num_videos": 23,
    "scores": {"motion_accuracy": 0.5},
    "intervals": {"motion_accuracy": [0.4, 0.6]},
}


def export(run: Path | str, out: Path | str, *words: str) -> Result:
    return CliRunner().invoke(main, ["export", str(run), "--out", str(out), *words])


def assert_same_network(first: Backbone, second: Backbone) -> None:
    states = first.state_dict(), second.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.fixture(scope="module")
def evaluated_run(whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(whole_run, run)
    figures = {"split": "train1", "num_videos": 23, "figures": FIGURES}
    (run / "validation.json").write_text(json.dumps(figures))
    (run / "audit.json").write_text(json.dumps({"rows": [AUDIT_ROW]}))
    for number, network in enumerate(("pretrained", "random")):
        folder = run / "eval" / str(number)
        folder.mkdir(parents=True)
        (folder / "row.json").write_text(json.dumps(ROW | {"network": network, "seed": number}))
    return run


def test_an_export_holds_the_network_and_a_card_with_results_and_loads_again(
    evaluated_run: Path, tmp_path: Path
) -> None:
    result = export(evaluated_run, tmp_path / "out", "--card", "--licence", "cc-by-4.0")
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    written = {"backbone.safetensors", "network.safetensors", "config.yaml", "curves.png"}
    assert names == written | {"validation.json", "audit.json", "README.md"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    assert "23 videos of the data set `small0` (split `train1`)" in card
    assert "| probe knn-all | small test1, 16 videos, seed 0 | accuracy | 50.0 (25.0 to 62.5) | 12.5 |" in card
    assert "seed 1" not in card  # random weights are no result of this network
    scores = "| motion accuracy | 50.0 | 25.0 |\n| speed accuracy | 37.5 | 31.2 |\n\n## Audit\n"
    assert scores in card, "with what guessing gets; batch statistics and the audit are no results"
    assert "| network | as in training | 23 | 50.0 (40.0 to 60.0) |\n\n## Limits\n" in card
    assert "2 epochs, 5 videos a step, from random weights, seed 3" in card
    network = from_pretrained(tmp_path / "out")
    assert not network.training
    assert_same_network(network, from_pretrained(evaluated_run))


@pytest.mark.parametrize(
    ("init", "words"),
    [
        (None, "- 1 epoch, 7 videos a step, from random weights, seed 0\n"),
        ({"path": "runs/first"}, ", from the weights of `runs/first`, seed 0\n"),
        ({"kind": "torchvision", "weights": "KINETICS400_V1"}, ", from the weights of `KINETICS400_V1`, seed 0\n"),
    ],
)
def test_a_card_says_with_which_weights_the_run_began(init: dict[str, str] | None, words: str) -> None:
    values = {"shards": "s", "out": "o", "epochs": 1, "network": {"kind": "r3d18"}, "init": init}
    assert words in _recipe(PretrainConfig.model_validate(values))


def test_a_run_in_a_bucket_is_exported_into_a_bucket(evaluated_run: Path, s3_url: str, tmp_path: Path) -> None:
    assert export(evaluated_run, s3_url + "/a", "--card").exit_code == 0
    assert export(s3_url + "/a", s3_url + "/b", "--card").exit_code == 0
    assert_same_network(from_pretrained(s3_url + "/b"), from_pretrained(evaluated_run))
    assert_same_network(
        from_pretrained(join_location(s3_url, "b", "backbone.safetensors")), from_pretrained(evaluated_run)
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--out", "out"], "nowhere"),
        (["RUN", "--out", "RUN"], "is the run itself"),
        (["RUN", "--out", "out", "--upload", "hf://name"], "hf://name: write it as hf://user/name"),
    ],
)
def test_a_wrong_request_is_refused(
    words: list[str], message: str, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["export", *(str(whole_run) if word == "RUN" else word for word in words)])
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_hub_locations() -> None:
    assert split_hub_location("hf://me/net") == ("me/net", None)
    assert split_hub_location("hf://me/net@v1.0") == ("me/net", "v1.0")
    with pytest.raises(UsageError, match=r"hf://user/name"):
        split_hub_location("hf://me")


def test_clips_and_vectors_are_those_of_the_features_command(whole_run: Path, tmp_path: Path) -> None:
    """Two of the README's lines; the whole of `video-eval features` is compared in tests of the docs."""
    make_video(tmp_path / "video.mp4", num_frames=70)
    network = from_pretrained(whole_run)
    clips = clips_of(tmp_path / "video.mp4", network, count=3)
    assert clips.shape == (3, 3, 16, 16, 16)
    assert float(clips.min()) >= -1
    assert float(clips.max()) <= 1
    with torch.inference_mode():
        assert network(clips).shape == (3, network.num_features)
        maps = network.forward_features(clips)
    assert maps.shape == (3, *network.conv_dim)
    (vector,) = embed([tmp_path / "video.mp4"], network, count=3)
    np.testing.assert_allclose(vector, maps.mean(dim=(2, 3, 4)).mean(dim=0).numpy(), rtol=1e-5)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(UsageError, match=r"bad.mp4"):
        clips_of(tmp_path / "bad.mp4", network)
