"""The command video-eval: all evaluations after each other, what it prints, exit codes, one clear line a mistake."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from helpers_datasets import write_dataset
from helpers_results import pretraining_of, trained_at, write_result
from helpers_training import run_tiny
from helpers_video_eval import RANDOM, assert_error, contents, invoke, two_networks, write_config
from safetensors.torch import load_file, save_file

from eval.cli import row_line
from eval.config import EvalConfig
from eval.results.rows import Row, find_rows, read_row
from shardify.config import load_config

COMMANDS = ("transfer", "probe", "retrieval", "sync", "before-after", "still")
TRAINED = ("transfer", "sync", "before-after", "still")
"""Those that need a trained network for every entry."""
pytestmark = pytest.mark.usefixtures("blank_charts")


@pytest.fixture(scope="module")
def everything(world: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a finished `video-eval all`, with a network that its own transfer trains; read-only."""
    folder = tmp_path_factory.mktemp("all")
    out = folder / "out"
    supervised = "transfer/finetune/random/ucf101-tiny-train1/seed3"
    networks = two_networks(world[1]) | {
        "supervised": {"kind": "checkpoint", "path": supervised, "below_out": True},
        "colour": {"kind": "trivial", "features": "colour"},
    }
    path = write_config(
        folder / "config.yaml",
        world[0],
        out,
        networks=networks,
        transfer__networks=["random"],
        retrieval__networks=["pretrained", "colour"],
        sync__networks=["pretrained"],
        before_after__networks=["random"],
        still__networks=["supervised"],
        probe={
            "networks": ["pretrained", "supervised", "colour"],
            "epochs": 1,
            "linear": ["100%"],
            "knn": [1],
            "low_label_seeds": [0],
        },
        saliency={"num_videos": 1},
    )
    result = invoke("all", path, "--json")
    assert result.exit_code == 0, result.output
    (folder / "printed.json").write_text(result.stdout)
    return path


# Everything


def test_all_evaluations_in_an_order_in_which_later_ones_use_earlier_ones(everything: Path) -> None:
    rows = json.loads((everything.parent / "printed.json").read_text())
    probes = [*("fc-all", "linear-all", "knn-1")]
    assert [(row["evaluation"], row["variant"], row["network"]) for row in rows] == [
        ("transfer", "finetune", "random"),
        *(("probe", variant, name) for name in ("pretrained", "supervised") for variant in probes),
        *(("probe", variant, "colour") for variant in probes[1:]),
        *(("retrieval", "pooled", name) for name in ("pretrained", "colour")),
        ("sync", "frozen", "pretrained"),
        ("before_after", "finetune", "random"),
        *(("still", variant, "supervised") for variant in ("moving", "still")),
    ]
    questions = {row["network"]: (row["pretraining"] or {}).get("question") for row in rows}
    assert questions == {"pretrained": "transformations", "random": None, "supervised": "transfer", "colour": None}
    out = everything.parent / "out"
    assert len(find_rows(out)) == len(rows)
    assert {path.name for path in (out / "saliency").iterdir()} == {"saliency.png", "saliency.mp4"}
    assert {path.name for path in out.iterdir()} == {
        "transfer", "probe", "retrieval", "sync", "before_after", "still", "saliency",
    }  # fmt: skip


def test_all_again_measures_nothing(everything: Path) -> None:
    before = contents(everything.parent / "out")
    result = invoke("all", everything, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((everything.parent / "printed.json").read_text())
    assert re.search(r"^plan: [\d,.]+ .*clips to train on, .* to test on", result.stderr, re.MULTILINE)
    after = contents(everything.parent / "out")
    assert {name: data for name, (data, _) in after.items()} == {name: data for name, (data, _) in before.items()}
    drawn_again = {"probe/low_labels-ucf101-tiny.png", "saliency/saliency.png", "saliency/saliency.mp4"}
    assert {name for name in after if after[name] != before[name]} <= drawn_again


def test_a_line_names_what_differs_from_the_paper(tmp_path: Path) -> None:
    config = trained_at(5e-5, epochs=20)
    folder = write_result(tmp_path, "transfer", "finetune", [1, 1, 0, 1], pretraining=pretraining_of(), config=config)
    line = row_line(read_row(folder)).replace("\N{NO-BREAK SPACE}", " ")
    assert line.endswith("chance 12.5, paper 68.3 % (here: 20 epochs of training (paper 75)))")


def test_lines_and_json_agree(everything: Path) -> None:
    rows = json.loads((everything.parent / "printed.json").read_text())
    lines = invoke("all", everything, "--set", "saliency.networks=[]").stdout.splitlines()
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert line.split()[:3] == [row["evaluation"], row["variant"], row["network"]]
        assert "paper" not in line, "its data is another"
        for name, metric in row["metrics"].items():
            percent = name != "mae"
            assert (
                f"{name} {100 * metric['value']:.1f} %" in line if percent else f"mae {metric['value']:.2f} (" in line
            )


def test_tables_and_report_of_the_results(everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", opened.append)
    out = everything.parent / "out"
    tables = invoke("tables", out, "--out", tmp_path / "tables")
    assert tables.exit_code == 0, tables.output
    for name in ("pretrained", "random", "supervised", "colour"):
        assert name in tables.stdout
    assert list((tmp_path / "tables").glob("*.csv"))
    report = invoke("report", out, "--out", tmp_path / "report.html")
    assert report.exit_code == 0, report.output
    assert report.stdout.strip() == str(tmp_path / "report.html")
    assert "retrieval" in (tmp_path / "report.html").read_text()
    assert opened == []
    assert invoke("report", out, "--out", tmp_path / "again.html", "--open").exit_code == 0
    assert opened == [str(tmp_path / "again.html")]


def test_all_without_a_network_that_was_trained_here_has_no_saliency(world: tuple[Path, Path], tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "c.yaml", world[0], tmp_path / "out", networks={"random": RANDOM}, retrieval={"top": [1]},
        **{f"{name}__networks": [] for name in ("transfer", "probe", "sync", "before_after", "still")},
    )  # fmt: skip
    result = invoke("all", path, "--json")
    assert result.exit_code == 0, result.output
    assert [row["evaluation"] for row in json.loads(result.stdout)] == ["retrieval"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["retrieval"]
    named = invoke("all", path, "--set", "saliency.networks=[random]")
    assert named.exit_code == 2
    assert "networks.random has no trained head" in named.stderr


def test_bounds_that_cannot_be_given_are_null(world: tuple[Path, Path], tmp_path: Path) -> None:
    """Test videos of a single source give no interval; the JSON is one that every program reads."""
    data = write_dataset(
        tmp_path / "data", [[20] * 4, [20, 21]], splits=[["train1"], ["test1"]],
        keys=[*"abcd", "v_A_g01_c01", "v_A_g01_c02"],
    )  # fmt: skip
    path = write_config(tmp_path / "c.yaml", data, tmp_path / "out")
    result = invoke("transfer", path, "--json")
    assert result.exit_code == 0, result.output
    assert "NaN" not in result.stdout
    (row,) = json.loads(result.stdout)
    assert (row["metrics"]["accuracy"]["low"], row["metrics"]["accuracy"]["high"]) == (None, None)
    assert row["num_groups"] == 1
    (line,) = invoke("transfer", path).stdout.splitlines()
    assert line.endswith(" % (chance 50.0)")


def test_the_flag_for_every_sub_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_config(tmp_path / "c.yaml", tmp_path / "shards", tmp_path / "out")
    given: list[EvalConfig] = []

    def evaluate(config: EvalConfig, *_: object) -> list[Row]:
        given.append(config)
        return []

    for evaluation in ("transfer", "probe", "still"):
        monkeypatch.setattr(f"eval.evaluations.{evaluation}_rows.evaluate_{evaluation}", evaluate)
        assert invoke(evaluation, path, "--all-clips").exit_code == 0
        config = given.pop()
        assert (config.transfer if evaluation == "transfer" else config.probe).all_clips is True
    for command in ("retrieval", "sync", "before-after"):
        result = invoke(command, path, "--all-clips")
        assert result.exit_code == 2
        assert "No such option" in result.stderr


# Printing


def test_help_names_every_command() -> None:
    text = invoke("--help").stdout
    for name in (*COMMANDS, "all", "saliency", "features", "tables", "report", "show-config"):
        assert f"\n  {name} " in text
        assert len(invoke(name, "-h").stdout.splitlines()) > 3


def test_show_config_prints_every_key_and_reads_back(everything: Path, tmp_path: Path) -> None:
    shown = invoke("show-config", everything, "--set", "transfer.epochs=7")
    assert shown.exit_code == 0
    (tmp_path / "again.yaml").write_text(shown.stdout)
    again = load_config(EvalConfig, tmp_path / "again.yaml")
    assert again == load_config(EvalConfig, everything, ("transfer.epochs=7",))
    assert again.transfer.epochs == 7
    assert "frozen_norm: evaluation" in shown.stdout


# Mistakes, of every command


def test_tables_of_a_run_without_results_name_the_command_that_makes_them(tmp_path: Path) -> None:
    result = invoke("tables", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    start = f"error: {tmp_path} holds no results of evaluations. `video-eval all CONFIG --set networks.pretrained"
    assert result.stderr.startswith(start)
    assert "measured" in invoke("tables").stdout, "the paper's tables need no results"


@pytest.fixture(scope="module")
def files(world: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths for the mistakes below, by name."""
    folder = tmp_path_factory.mktemp("files")
    export = (world[1] / "backbone.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(export[:-100])
    state = load_file(world[1] / "backbone.safetensors")
    save_file(state, folder / "foreign.safetensors")
    manifest = write_dataset(folder / "empty", [[20, 20]]) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"splits": ["test1", "train1"]}))
    write_dataset(folder / "classes", [[20] * 6], splits=[["test1"]], num_classes=3)
    torchvision_state = torchvision.models.video.mc3_18(weights=None).state_dict()
    torch.save(torchvision_state, folder / "mc3_18.pth")
    damaged = write_dataset(folder / "damaged", [[20] * 4, [20] * 4], splits=[["train1"], ["test1"]])
    index = damaged / "shard-000001.idx.npz"
    index.write_bytes(index.read_bytes()[:-20])
    return {path.name: str(path) for path in folder.iterdir()} | {"run": str(world[1]), "shards": str(world[0])}


def network(**values: Any) -> str:
    return f"networks.x={json.dumps(values)}"


MISTAKES: dict[str, tuple[list[str], int, str]] = {
    "unknown key": (["retrieval.tpo=[1]"], 2, "unknown key retrieval.tpo (did you mean top?)"),
    "no such network": (["{command}.networks=[nobody]"], 2, "networks has no entry 'nobody'; it has: x"),
    "no data set": (["shards=/nowhere"], 2, "/nowhere does not exist"),
    "no split": (["splits=[5]"], 2, "data set ucf101-tiny has no split 'train5'; its splits: test1, test2, train1"),
    "one training split twice": (
        ["splits=[1, {train: train1, test: test1}]"],
        2,
        "splits names the training split train1 more than once",
    ),
    "empty split": (["shards={empty}"], 2, "data set empty holds no samples of split 'test1'"),
    "overlap": (["splits=[{train: train1, test: train2}]"], 2, "8 videos, such as v_Class0_g03_c01, are in the"),
    "one set": (["splits=[{train: null, test: null}]"], 2, "24 videos, such as v_Class0_g01_c01, are in the"),
    "other classes": (["test_shards={classes}"], 2, "only to train: [], only to test: ['class2']"),
    "no checkpoint": ([network(kind="checkpoint", path="/nowhere")], 2, "networks.x.path = /nowhere: there is no"),
    "a later checkpoint": (
        ['networks.z={"kind": "checkpoint", "path": "/no"}'],
        2,
        "networks.z.path = /no: there is no",
    ),
    "like one that is missing": (
        [
            "{command}.networks=[x, y]",
            'networks.y={"kind": "random", "like": "z"}',
            'networks.z={"kind": "checkpoint", "path": "/no"}',
        ],
        2,
        "networks.z.path = /no: there is no",
    ),
    "a place to read": (["out=https://host/x"], 2, "out = 'https://host/x': can only be read; write to"),
    "another crop": (
        [network(kind="checkpoint", path="{run}"), "data.crop=32"],
        2,
        "trained on crops of 16 pixels, which its fully connected layers demand",
    ),
    "damaged": ([network(kind="checkpoint", path="{cut.safetensors}")], 1, "cut.safetensors is damaged"),
    "foreign": ([network(kind="checkpoint", path="{foreign.safetensors}")], 1, "or was not exported by this program"),
    "other weights": (
        [network(kind="torchvision", network={"kind": "r3d18", "variant": "torchvision"}, weights="{mc3_18.pth}")],
        2,
        "give the state dict of torchvision.models.video.r3d_18",
    ),
    "no such weights": (
        [network(kind="torchvision", network={"kind": "r3d18", "variant": "torchvision"}, weights="KINETICS1")],
        2,
        "KINETICS1 is neither a file nor weights of torchvision's r3d_18",
    ),
    "large crop": (["data.crop=49"], 2, "crop = 49 does not fit into frames of 48x64; set data.crop to at most 48"),
    "bfloat16": (["precision=bfloat16"], 2, "precision is bfloat16, but on a CPU"),
    "cuda": (["device=cuda"], 2, "device is cuda, but PyTorch finds no GPU here"),
    "damaged shards": (["shards={damaged}"], 1, "shard-000001.idx.npz"),
}


@pytest.mark.parametrize(("mistake", "command"), list(zip(MISTAKES, itertools.cycle(COMMANDS), strict=False)))
def test_a_mistake_is_one_line_and_leaves_nothing(
    tmp_path: Path, files: dict[str, str], command: str, mistake: str
) -> None:
    changes, exit_code, message = MISTAKES[mistake]
    if mistake == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    path = write_config(tmp_path / "c.yaml", Path(files["shards"]), tmp_path / "out", networks={"x": RANDOM})
    words = []
    for change in changes:
        text = change.replace("{command}", command.replace("-", "_"))
        for name, value in files.items():
            text = text.replace(f"{{{name}}}", value)
        words += ["--set", text]
    assert_error(invoke(command, path, *words), exit_code, message)
    assert not (tmp_path / "out").exists()


def test_all_evaluations_begin_only_if_every_network_is_there(files: dict[str, str], tmp_path: Path) -> None:
    networks = {"x": RANDOM, "z": {"kind": "checkpoint", "path": "/no"}}
    others = ("transfer", "retrieval", "sync", "before_after", "saliency")
    sections = {f"{name}__networks": ["x"] for name in others} | {"still__networks": ["z"], "probe__networks": ["x"]}
    path = write_config(tmp_path / "c.yaml", Path(files["shards"]), tmp_path / "out", networks=networks, **sections)
    assert_error(invoke("all", path), 2, "networks.z.path = /no: there is no /no; give the folder of a finished")
    assert not (tmp_path / "out").exists()


def test_there_is_no_config(tmp_path: Path) -> None:
    for command in (*COMMANDS, "all", "saliency", "show-config"):
        assert_error(invoke(command, tmp_path / "none.yaml"), 2, "cannot read config", "No such file or directory")


@pytest.mark.parametrize("command", TRAINED)
def test_features_without_a_network_are_nothing_to_train(
    world: tuple[Path, Path], tmp_path: Path, command: str
) -> None:
    networks = {"colour": {"kind": "trivial", "features": "colour"}}
    path = write_config(tmp_path / "c.yaml", world[0], tmp_path / "out", networks=networks)
    section = command.replace("-", "_")
    result = invoke(command, path, "--set", f"{section}.networks=[colour]")
    assert_error(result, 2, "networks.colour is colour features without a network; they serve retrieval and the linear")
    silent = invoke(command, path, "--json")
    assert (silent.exit_code, json.loads(silent.stdout)) == (0, [])
    assert not (tmp_path / "out").exists()


def test_questions_about_time_need_longer_videos(world: tuple[Path, Path], tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", world[0], tmp_path / "out")
    result = invoke("sync", path, "--set", "sync.stride=9")
    assert_error(result, 2, "split train1: no video has the 190 frames that this question needs, the longest has 70")
    result = invoke("before-after", path, "--set", "before_after.stride=5")
    assert_error(result, 2, "split train1: no video has the 72 frames")
    result = invoke("before-after", path, "--set", "before_after.stride=4", "--set", "splits=[2]")
    assert result.exit_code == 0, result.output
    assert not list((tmp_path / "out").glob("sync/**/row.json"))


def test_a_batch_of_one_clip_is_refused_before_training(world: tuple[Path, Path], tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", world[0], tmp_path / "out", data__videos_per_batch=1)
    for command in ("transfer", "sync", "before-after"):
        assert_error(invoke(command, path), 2, "BatchNorm cannot take statistics; raise data.videos_per_batch")
    assert not (tmp_path / "out").exists()


def test_a_network_that_learnt_nothing_finite_is_told(world: tuple[Path, Path], tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", world[0], tmp_path / "out", transfer__optimizer__learning_rate=1e30)
    assert_error(invoke("transfer", path), 1, "the loss is", "there is no checkpoint yet", "learning_rate")
    assert not find_rows(tmp_path / "out")


def test_a_run_in_the_place_of_a_training_is_not_touched(world: tuple[Path, Path], tmp_path: Path) -> None:
    """A pretraining of other settings lies where transfer would train: its checkpoints stay."""
    folder = tmp_path / "out" / "transfer" / "finetune" / "random" / "ucf101-tiny-train1" / "seed3"
    run_tiny(world[0], folder, epochs=1)
    before = contents(folder)
    path = write_config(tmp_path / "c.yaml", world[0], tmp_path / "out")
    assert_error(invoke("transfer", path), 2, "belongs to a run with other settings", "question.evaluation was not set")
    assert contents(folder) == before
