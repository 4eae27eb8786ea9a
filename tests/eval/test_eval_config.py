"""Configs of evaluations: what they may hold, what a mistake is answered with, and that the shipped ones are sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers_eval import tiny_eval_config, tiny_eval_values

from eval.config import EvalConfig
from eval.evaluations.probe import BUDGETS
from eval.features.config import LabelBudget
from eval.judging.config import CheckpointWeights, JudgingConfig, RandomWeights, SplitPair
from eval.suite import EVALUATIONS
from shardify.config import dump_config, load_config, validate_config
from shardify.errors import UsageError

SECTIONS = tuple(evaluation.name for evaluation in EVALUATIONS)
CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "configs" / "eval"
CONFIGS = sorted(CONFIG_FOLDER.glob("*.yaml"))


def config_of(**changes: Any) -> EvalConfig:
    return tiny_eval_config(Path("shards"), Path("out"), **changes)


def refusal(**changes: Any) -> str:
    with pytest.raises(UsageError) as caught:
        config_of(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_numbers_are_short_for_splits() -> None:
    pairs = tuple(SplitPair(train=f"train{i}", test=f"test{i}") for i in (1, 2, 3))
    assert config_of(splits=[1, 2, 3]).splits == pairs
    assert config_of(splits=[1, {"train": "train2", "test": "test2"}, 3]).splits == pairs
    assert config_of(splits=[{"train": None, "test": "val"}]).splits == (SplitPair(train=None, test="val"),)


@pytest.mark.parametrize("splits", [[], 1, "1", None, {"train": "train1", "test": "test1"}])
def test_splits_are_a_list(splits: object) -> None:
    assert "give a list such as [1] or [{train: train1, test: test1}]" in refusal(splits=splits)


@pytest.mark.parametrize(
    ("splits", "part"),
    [
        ([{"train": "train1"}], "splits.0.test is missing"),
        (["train1"], "splits.0 = 'train1'"),
        ([1.5], "splits.0 = 1.5"),
        ([True], "splits.0 = True"),
        ([{"train": "train1", "test": "test1", "tset": "x"}], "unknown key splits.0.tset"),
    ],
)
def test_a_split_is_a_number_or_two_names(splits: object, part: str) -> None:
    assert part in refusal(splits=splits)


def test_a_config_reads_back_as_it_is_shown(tmp_path: Path) -> None:
    config = config_of(
        splits=[1, {"train": None, "test": "val"}],
        seeds=[0, 7],
        networks={
            "pretrained": {"kind": "checkpoint", "path": "runs/x"},
            "random": {"kind": "random", "like": "pretrained"},
            "kinetics": {"kind": "torchvision", "network": {"kind": "r3d18", "variant": "torchvision"}, "weights": "x"},
            "colour": {"kind": "trivial", "features": "colour"},
        },
        probe__fc=["100%", "12.5%", 3],
    )
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(EvalConfig, tmp_path / "config.yaml") == config
    shown = yaml.safe_load(dump_config(config))
    assert shown["probe"]["fc"] == ["100%", "12.5%", 3]
    assert list(shown["networks"]) == ["pretrained", "random", "kinetics", "colour"]


def test_the_defaults_are_the_method_s() -> None:
    """Sections 5 and 6: fine-tuning at a sixth of the learning rate, 24 videos a batch, strides and epochs."""
    values = tiny_eval_values(Path("shards"), Path("out"))
    config = validate_config(EvalConfig, {name: values[name] for name in ("shards", "networks", "out")}, "x")
    assert config.splits == (SplitPair(train="train1", test="test1"),)
    assert (config.seeds, config.data.videos_per_batch, config.data.crop) == ((0,), 24, 112)
    assert (config.transfer.epochs, config.transfer.stride, config.transfer.optimizer.learning_rate) == (75, 4, 5e-5)
    assert (config.probe.epochs, config.probe.stride, config.probe.frozen_norm) == (50, 4, "evaluation")
    assert (config.probe.linear, config.probe.knn) == (BUDGETS, BUDGETS)
    assert [budget.value for budget in BUDGETS] == ["100%", "10%", 10, 5, 1]
    assert (config.retrieval.top, config.retrieval.features.clips_per_video) == ((1, 5, 10, 20, 50), 10)
    assert (config.sync.stride, config.sync.frozen) == (1, True)
    assert (config.before_after.stride, config.before_after.frozen) == (1, False)
    assert config.probe.fc == (LabelBudget.parse("100%"),)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"transfer__epoch": 3}, "unknown key transfer.epoch (did you mean epochs?); allowed: all_clips, epochs"),
        ({"retreival__top": [1]}, "unknown key retreival (did you mean retrieval?)"),
        ({"data__crops": 24}, "unknown key data.crops (did you mean crop?)"),
        ({"transfer__optimizer__lr": 1}, "unknown key transfer.optimizer.lr"),
        ({"transfer__epochs": 0}, "transfer.epochs = 0"),
        ({"seeds": []}, "seeds = []"),
        ({"seeds": [-1]}, "seeds.0 = -1"),
        ({"retrieval__top": []}, "retrieval.top = []"),
        ({"retrieval__top": [0]}, "retrieval.top.0 = 0"),
        ({"retrieval__features__layer": "conv"}, "retrieval.features.layer = 'conv'"),
        ({"probe__linear": ["0%"]}, "probe.linear.0 = '0%': 0% is out of range"),
        ({"probe__knn": ["ten"]}, "write a number of videos per class, such as 5"),
        ({"probe__fc": [True]}, "write a number of videos per class, such as 5"),
        ({"device": "tpu"}, "device = 'tpu'"),
        ({"precision": "float64"}, "precision = 'float64'"),
        ({"networks": {}}, "names are letters, digits"),
        ({"networks": {"a/b": {"kind": "trivial", "features": "colour"}}}, "not allowed: ['a/b']"),
        ({"networks": {"..": {"kind": "trivial", "features": "colour"}}}, "not allowed: ['..']"),
        ({"networks": {"x": {"kind": "trivial", "features": "sound"}}}, "'colour' or 'difference'"),
        (
            {"networks": {"x": {"path": "runs/x"}}},
            "networks.x.kind is missing; allowed: checkpoint, random, torchvision, trivial",
        ),
        (
            {"networks": {"x": {"kind": "checkpiont", "path": "runs/x"}}},
            "networks.x.kind = 'checkpiont': there is no such kind (did you mean checkpoint?)",
        ),
        (
            {"networks": {"x": {"kind": "checkpoint", "file": "runs/x"}}},
            "unknown key networks.x.file; allowed: below_out, kind, learning_rate, path",
        ),
        (
            {"networks": {"x": {"kind": "random", "network": {"kind": "c3d", "depth": 2}}}},
            "unknown key networks.x.network.depth (did you mean width?); allowed: ",
        ),
        ({"networks": {"x": {"kind": "random"}}}, "give `network` (an architecture) or `like`"),
        ({"networks": {"x": {"kind": "checkpoint"}}}, "networks.x.path is missing; set it in the file or"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], part: str) -> None:
    assert part in refusal(**changes)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_says_how_it_is_used_and_names_only_what_it_has(path: Path) -> None:
    config = load_config(EvalConfig, path)
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any("make " in line for line in header)
    assert Path(config.out).parts[0] == "runs"
    for section in SECTIONS:
        assert set(getattr(config, section).networks or ()) <= set(config.networks), section
    for name, entry in config.networks.items():
        if isinstance(entry, RandomWeights) and entry.like is not None:
            assert entry.like in config.networks, name
        if isinstance(entry, CheckpointWeights):
            assert Path(entry.path).parts[0] == "runs"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_supervised_network_is_where_transfer_puts_it(path: Path) -> None:
    """Below `out`, in the folder of random weights that were fine-tuned on the config's own data and split."""
    config = load_config(EvalConfig, path)
    moved = load_config(EvalConfig, path, ["out=s3://bucket/run/eval"])
    data_set = Path(config.shards).parts[1]  # its manifest has this name too
    for name in (name for name in config.networks if name.startswith("supervised")):
        random = name.replace("supervised", "random")
        below = f"transfer/finetune/{random}/{data_set}-{config.splits[0].train}/seed0"
        assert config.networks[name] == CheckpointWeights(path=f"{config.out}/{below}")
        assert moved.networks[name] == CheckpointWeights(path=f"s3://bucket/run/eval/{below}")


@pytest.mark.parametrize(
    ("path", "out", "placed"),
    [
        ("a/b", "there", "there/a/b"),
        ("a/b/", "s3://bucket/run", "s3://bucket/run/a/b"),
        ("/a/b", "s3://bucket/run", "/a/b"),
        ("s3://other/a", "there", "s3://other/a"),
    ],
)
def test_a_network_below_out_goes_where_out_goes(path: str, out: str, placed: str) -> None:
    networks = {"x": {"kind": "checkpoint", "path": path, "below_out": True}, "y": {"kind": "checkpoint", "path": path}}
    found = validate_config(EvalConfig, tiny_eval_values(Path("shards"), out, networks=networks), "tiny").networks
    assert isinstance(found["x"], CheckpointWeights)
    assert found["x"].path == placed
    assert found["y"] == CheckpointWeights(path=path)


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("runs/my run", "runs/my run/eval"),
        ("s3://bucket/run/", "s3://bucket/run/eval"),
        ("s3://bucket/run/backbone.safetensors", "s3://bucket/run/eval"),
    ],
)
def test_results_go_beside_the_checkpoint_unless_out_is_given(path: str, out: str) -> None:
    values = tiny_eval_values(
        Path("shards"), Path("out"), networks={"pretrained": {"kind": "checkpoint", "path": path}}
    )
    assert validate_config(EvalConfig, values, "tiny").out == "out"
    del values["out"]
    assert validate_config(EvalConfig, values, "tiny").out == out


def test_networks_below_an_out_that_is_refused_hide_no_message() -> None:
    networks = {"x": {"kind": "checkpoint", "path": "a", "below_out": True}}
    with pytest.raises(UsageError, match="out = 'https://host/x': can only be read"):
        validate_config(EvalConfig, tiny_eval_values(Path("shards"), "https://host/x", networks=networks), "tiny")


def test_every_evaluation_has_its_section_in_the_config() -> None:
    assert set(EvalConfig.model_fields) - set(JudgingConfig.model_fields) == {item.name for item in EVALUATIONS}
    assert all(isinstance(item.section_of(config_of()), item.section) for item in EVALUATIONS)
