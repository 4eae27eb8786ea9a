"""The command stream-train: what it prints, its exit codes, one clear line for each mistake."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml
from click.testing import CliRunner, Result
from helpers_training import VALIDATED, tiny_values

from shardify.config import load_config
from shardify.storage.traffic import Traffic, count
from stream_train.cli import main
from stream_train.draws import SampleDraws
from stream_train.tasks import build_task
from stream_train.tasks.config import TaskConfig, TransformationsConfig
from stream_train.training.config import PretrainConfig
from stream_train.training.exports import load_backbone

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "configs" / "pretrain"
CONFIGS = sorted(CONFIG_FOLDER.rglob("*.yaml"))
TASKS = sorted((CONFIG_FOLDER / "tasks").glob("*.yaml"))


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_one_line(result: Result, exit_code: int, *parts: str) -> None:
    assert result.exit_code == exit_code, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]


@pytest.fixture(scope="module")
def config_path(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    values = tiny_values(small_dataset, folder / "run", epochs=1, validation=VALIDATED)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(values))
    return folder / "tiny.yaml"


@pytest.mark.usefixtures("blank_charts")
def test_pretrain_then_validate(config_path: Path) -> None:
    run = config_path.parent / "run"
    count(Traffic(bytes_read=10, requests=1))  # what this process read before is not this run's
    trained = invoke("pretrain", config_path)
    assert trained.exit_code == 0, trained.output
    assert trained.stdout == ""
    lines = trained.stderr.splitlines()
    shards = yaml.safe_load(config_path.read_text())["shards"]
    size = sum(path.stat().st_size for path in Path(shards).glob("*.tar")) / 1e6
    data = f"reading {shards}, split train1: 23 videos in 5 shards, {size:.1f} MB, local"
    assert lines[0] == f"{data}; 5 steps with 100 clips; writing to {run}"
    assert lines[-3].startswith("step 5/5  epoch 1.09  loss ")
    assert re.fullmatch(
        r"step 5/5  held out  motion 0\.\d\d \(guessing 0\.\d\d\)  speed 0\.\d\d \(guessing 0\.\d\d\)", lines[-2]
    )
    assert lines[-1] == f"{run}: backbone.safetensors, network.safetensors, curves.png"
    assert load_backbone(run / "backbone.safetensors")[1]["step"] == 5
    text = invoke("validate", run)
    assert text.exit_code == 0, text.output
    assert "step 5, split train1: 23 videos, each with 1 draws" in text.stdout
    assert "motion (rows: what a clip is, columns: what the network says)" in text.stdout
    assert re.search(r"\n +1x +2x +4x +8x\n", text.stdout)
    assert "speed best from length: " in text.stdout
    assert str(run / "confusion_motion.png") in text.stdout
    parsed = json.loads(invoke("validate", run, "--json").stdout)
    assert parsed == json.loads((run / "validation.json").read_text())
    assert parsed["class_names"]["speed"] == ["speed 0", "speed 1", "speed 2", "speed 3"], "files keep their names"
    again = invoke("pretrain", config_path)
    assert again.stderr.splitlines()[0] == f"{run} is complete: 5 steps, 1 epochs"
    other = invoke("pretrain", config_path, "--set", "seed=8")
    assert_one_line(other, 2, "checkpoint-00000005.pt", "seed was 3, now 8")


def test_show_config_prints_every_key_and_reads_back(config_path: Path, tmp_path: Path) -> None:
    shown = invoke("show-config", config_path, "--set", "optimizer.learning_rate=5e-4")
    assert shown.exit_code == 0
    (tmp_path / "again.yaml").write_text(shown.stdout)
    again = load_config(PretrainConfig, tmp_path / "again.yaml")
    assert again.optimizer.learning_rate == 5e-4
    assert again == load_config(PretrainConfig, config_path, ("optimizer.learning_rate=5e-4",))
    assert "decay_rule: decoupled" in shown.stdout


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_configs_are_valid_and_say_what_they_cost(path: Path) -> None:
    config = load_config(PretrainConfig, path)
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    text = "\n".join(header)
    assert len(header) >= 4
    assert "make " in text
    assert "GPU" in text or "CPU" in text
    assert "Expect" in text or "Reported" in text
    assert str(config.out).startswith("runs/")
    assert config.validation is not None or config.split is None
    assert invoke("show-config", path).exit_code == 0


def test_each_pretext_task_has_a_config_with_the_common_recipe() -> None:
    """About 28 clips a step, and BatchNorm over at least four videos; all else as for the paper's task."""
    kinds = {get_args(one.model_fields["kind"].annotation)[0] for one in get_args(get_args(TaskConfig)[0])}
    assert {path.stem for path in TASKS} == kinds - {"transformations"}
    common = load_config(PretrainConfig, CONFIG_FOLDER / "c3d_ucf101.yaml")
    for path in TASKS:
        config = load_config(PretrainConfig, path)
        assert config.task.kind == path.stem
        num_clips = len(build_task(config.task, labels=("a", "b")).draw_clips(200, SampleDraws(0, 0, 0)))
        assert 27 <= num_clips * config.data.videos_per_batch <= 30, path.stem
        assert config.data.videos_per_batch >= 4
        data = config.data.model_copy(update={"videos_per_batch": common.data.videos_per_batch})
        assert config.model_copy(update={"task": common.task, "data": data, "out": common.out}) == common


def test_the_presets_differ_by_the_rows_of_the_method() -> None:
    """Paper against released code, the rows that concern pre-training."""
    paper = load_config(PretrainConfig, CONFIG_FOLDER / "c3d_ucf101.yaml")
    official = load_config(PretrainConfig, CONFIG_FOLDER / "c3d_ucf101_official.yaml")
    official_r18 = load_config(PretrainConfig, CONFIG_FOLDER / "r3d18_kinetics600_official.yaml")
    assert (paper.data.videos_per_batch, official.data.videos_per_batch) == (7, 6)
    assert official_r18.data.videos_per_batch == 16
    assert isinstance(paper.task, TransformationsConfig)
    assert isinstance(official.task, TransformationsConfig)
    assert (paper.task.speed_loss_on, official.task.speed_loss_on) == ("speed", "speed_and_periodic")
    assert (paper.task.sampling.frames_for_speed, official.task.sampling.frames_for_speed) == ("exact", "full_steps")
    assert (paper.task.sampling.periodic, official.task.sampling.periodic) == ("formula", "window")
    assert (paper.task.sampling.random_identity, official.task.sampling.random_identity) == ("excluded", "possible")
    assert (paper.data.resize, official.data.resize, official_r18.data.resize) == (None, (128, 171), None)
    assert (paper.data.crop, official_r18.data.crop) == (112, 128)
    assert (paper.data.colour, official_r18.data.colour) == ("none", "frame")
    assert (official.network.classifier_init, official_r18.network.classifier_init) == ("glorot", "normal")
    assert paper.optimizer.torch_weight_decay == pytest.approx(1 / 3)
    assert (paper.epochs, load_config(PretrainConfig, CONFIG_FOLDER / "r2plus1d18_ucf101.yaml").epochs) == (100, 200)
    assert load_config(PretrainConfig, CONFIG_FOLDER / "c3d_kinetics600.yaml").epochs == 15


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("task.samplig.motions=[]", ("unknown key task.samplig", "did you mean sampling?")),
        ("network.kind=c4d", ("network", "c3d")),
        ("optimizer.learning_rate=-1", ("optimizer.learning_rate", "greater than 0")),
        ("task.sampling.motions=[sideways]", ("task.sampling.motions", "random")),
        ("network.depth=3", ("unknown key network.depth", "allowed: ", "width")),
        ("epochs=0", ("epochs", "greater than 0")),
        ("shards=/nowhere/at/all", ("/nowhere/at/all does not exist",)),
        ("split=train7", ("no split 'train7'", "train1")),
        ("seed", ("dotted.key=value",)),
    ],
)
def test_mistakes_end_with_one_clear_line(
    config_path: Path, tmp_path: Path, override: str, parts: tuple[str, ...]
) -> None:
    assert_one_line(invoke("pretrain", config_path, "--set", f"out={tmp_path / 'x'}", "--set", override), 2, *parts)
    assert not (tmp_path / "x").exists()


def test_a_wrong_shards_folder_is_named_before_the_slow_import(
    config_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "stream_train.training.loop", None)  # importing it would fail
    words = ["pretrain", config_path, "--set", f"out={tmp_path / 'x'}", "--set", f"shards={tmp_path / 'gone'}"]
    assert_one_line(invoke(*words), 2, f"{tmp_path / 'gone'} does not exist")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert_one_line(invoke("pretrain", tmp_path / "none.yaml"), 2, "cannot read config")
    assert_one_line(invoke("validate", tmp_path), 2, "holds no config.yaml")


def test_an_unusable_out_folder(config_path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_one_line(invoke("pretrain", config_path, "--set", f"out={tmp_path / 'file' / 'run'}"), 2, "cannot make")


def test_a_non_finite_loss_is_exit_code_1(config_path: Path, tmp_path: Path) -> None:
    changes = ["--set", f"out={tmp_path / 'run'}", "--set", "optimizer.learning_rate=1e30"]
    result = invoke("pretrain", config_path, *changes)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "step 2: the loss is" in line
    assert "there is no checkpoint yet" in line
