"""The Makefile: which commands it runs, when it installs, what it says. Nothing here touches .venv."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eval.suite import EVALUATIONS as SUITE

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EVALUATIONS = (*(evaluation.command for evaluation in SUITE), "eval-all")
TARGETS = (
    *(
        "help",
        "install",
        "demo",
        "demo-eval",
        "shards",
        "finish",
        "verify",
        "pretrain",
        "audit",
        *EVALUATIONS,
        "features",
    ),
    *(
        "tables",
        "report",
        "ablation",
        "compare",
        "plan",
        "check",
        "docs",
        "test",
        "test-slow",
        "bench",
        "bench-gpu",
        "clean",
    ),
)
DEMO = [".venv/bin/temporal-ssl", "demo"]
DATASETS = (
    *("demo", "ucf101", "hmdb51", "kinetics400", "kinetics600", "kinetics700", "folder", "flat", "csv"),
    *("something_something_v2", "diving48", "finegym"),
)
VARIABLES = re.findall(r"^#: ([A-Z]+)", MAKEFILE, flags=re.MULTILINE)

KEYS = ("out", "shards", "source.videos", "source.lists", "networks.pretrained.path")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def run(*command: str | Path, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in an environment without make variables, whatever the tests themselves were started with."""
    environment = {name: value for name, value in os.environ.items() if name not in {*VARIABLES, "PYTHON"}}
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):
        environment.pop(name, None)
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def commands(*arguments: str, cwd: Path = ROOT) -> list[list[str]]:
    """The commands that `make ARGUMENTS` would run after installing, each as its words."""
    result = run("make", "--dry-run", "--no-print-directory", *arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr
    lines = [shlex.split(line) for line in result.stdout.replace("\\\n", " ").splitlines() if line.strip()]
    return [line for line in lines if line[:3] != [".venv/bin/python", "-m", "pip"] and ".venv/bin" in line[0]]


def overrides(command: list[str]) -> list[str]:
    return [command[i + 1] for i, word in enumerate(command) if word == "--set"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The house without the code: Makefile, packaging files and configs, in a folder of its own."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    return tmp_path


# Help


def test_help_lists_exactly_the_targets_and_is_the_default() -> None:
    result = run("make")
    assert result.returncode == 0
    assert result.stdout == run("make", "help").stdout
    listed = re.findall(r"^  ([a-z-]+) +\S", result.stdout, flags=re.MULTILINE)
    assert sorted(listed) == sorted(TARGETS)
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert sorted(phony.replace("$(EVALUATIONS)", " ".join(EVALUATIONS)).split()) == sorted(TARGETS)
    assert re.findall(r"^  ([A-Z]+) +\S", result.stdout, flags=re.MULTILINE) == VARIABLES


VALUES = {
    "DATASET": "ucf101",
    "VIDEOS": "/some/videos",
    "LISTS": "/some/lists",
    "OUT": "elsewhere",
    "SHARDS": "some/shards",
    "SPLIT": "train1",
    "CONFIG": "configs/shards/ucf101.yaml",
    "SEED": "5",
    "WORKERS": "3",
    "GPUS": "2",
    "NODES": "2",
    "NODE": "1",
    "MASTER": "there:29501",
    "PART": "2/3",
    "ENGINE": "ray",
    "SET": "a.b=1 c=2",
    "CHECKPOINT": "runs/mine",
    "RUN": "runs/other",
    "EXTRAS": "ray,aws",
    "PYTHON": "python3.12",
}
NEEDED = {
    "features": {"SHARDS": "shards", "CHECKPOINT": "run", "OUT": "vectors.npz"},
}
MACHINES = {"NODES": {"NODE": "0", "MASTER": "here:1"}, "NODE": {"NODES": "3", "NODE": "0", "MASTER": "here:1"}}
MACHINES["MASTER"] = MACHINES["NODE"]
"""Variables without which a target only says that it needs them."""


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_documented_variable_changes_the_targets_it_names(variable: str, checkout: Path) -> None:
    (text,) = re.findall(rf"^#: {variable} +(.*)$", MAKEFILE, flags=re.MULTILINE)
    named = [part.partition(":")[0].split(",") for part in text.split("; ")]
    targets = {name.strip() for names in named for name in names} & set(TARGETS)
    assert targets, "the text begins with the targets' names and a colon"
    for target in targets:
        needed = NEEDED.get(target, {}) | MACHINES.get(variable, {})
        words = [f"{name}={value}" for name, value in needed.items()]
        plain = run("make", "--dry-run", target, *words, cwd=checkout).stdout
        changed = run("make", "--dry-run", target, *words, f"{variable}={VALUES[variable]}", cwd=checkout).stdout
        assert plain
        assert changed
        assert plain != changed, f"{variable} does nothing for {target}"


# What the stages run


def test_any_path_reaches_the_command_as_it_is_given(checkout: Path) -> None:
    odd = """/my "runs"/it's #2, $HOME $(OUT) `x`; y/configs/shards/demo.yaml"""
    paths = ("OUT", "VIDEOS", "LISTS", "SHARDS", "CHECKPOINT", "CONFIG", "RUN")
    given = [f"{name}={odd}" for name in paths]
    for target, times in {"shards": 4, "pretrain": 3, "transfer": 4, "features": 3, "verify": 1, "report": 2}.items():
        (command,) = commands(target, *given, cwd=checkout)
        assert sum(word in (odd, *(f"{key}={odd}" for key in KEYS)) for word in command) == times, command


def test_stages_work_on_the_demo_without_any_variable(checkout: Path) -> None:
    synthetic = [".venv/bin/python", "-m", "shardify", "synthetic", "configs/shards/synthetic_demo.yaml"]
    build = [".venv/bin/python", "-m", "shardify", "build", "configs/shards/demo.yaml"]
    pretrain = [".venv/bin/python", "-m", "stream_train", "pretrain", "configs/pretrain/demo.yaml"]
    assert commands("shards", cwd=checkout) == [synthetic, build]
    assert commands("pretrain", cwd=checkout) == [synthetic, build, pretrain]
    assert commands("demo", cwd=checkout) == [DEMO]


def test_pretrain_builds_the_demo_shards_only_where_they_are_absent(checkout: Path) -> None:
    manifest = checkout / "data" / "demo" / "shards" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.touch()
    assert [command[3] for command in commands("pretrain", cwd=checkout)] == ["pretrain"]
    assert [command[3] for command in commands("pretrain", "SHARDS=mine", cwd=checkout)] == ["pretrain"]


def test_values_reach_the_command_whole() -> None:
    words = ["VIDEOS=/Bob's  own", "OUT=$HOME, too", "SEED=7", "SET=seed=8 task.sampling.motions=[random,warp]"]
    (build,) = commands("shards", "DATASET=ucf101", *words)
    given = ["source.videos=/Bob's  own", "out=$HOME, too", "seed=7", "seed=8", "task.sampling.motions=[random,warp]"]
    assert sorted(overrides(build)) == sorted(given)
    assert overrides(build)[-2:] == given[-2:], "SET comes last, and so wins"
    (probe,) = commands("probe", "CHECKPOINT=a b/run", "OUT=my runs/eval", "CONFIG=my configs/eval.yaml")
    assert probe[4] == "my configs/eval.yaml"
    assert overrides(probe) == ["out=my runs/eval", "networks.pretrained.path=a b/run"]
    (features,) = commands("features", "VIDEOS=/my videos", "CHECKPOINT=a b/run", "OUT=x y.npz")
    assert features[4:] == ["/my videos", "a b/run", "--out", "x y.npz"]


def test_gpus_start_torchrun() -> None:
    (command,) = commands("pretrain", "GPUS=4", "SHARDS=mine")
    assert command[:6] == [".venv/bin/torchrun", "--standalone", "--nproc-per-node", "4", "-m", "stream_train"]
    (command,) = commands("pretrain", "GPUS=1", "SHARDS=mine")
    assert command[:3] == [".venv/bin/python", "-m", "stream_train"]


def test_several_machines_run_the_same_target() -> None:
    words = ("SHARDS=s3://bucket/shards", "OUT=s3://bucket/run", "NODES=2", "GPUS=8", "NODE=1", "MASTER=first:29501")
    (command,) = commands("pretrain", *words)
    options = "--nnodes 2 --node-rank 1 --nproc-per-node 8 --master-addr first --master-port 29501 -m stream_train"
    assert command[:13] == [".venv/bin/torchrun", *options.split()]
    assert overrides(command) == ["out=s3://bucket/run", "shards=s3://bucket/shards"]
    (command,) = commands("pretrain", *words[:3], "NODE=0", "MASTER=first")
    assert " ".join(command[5:11]) == "--nproc-per-node 1 --master-addr first --master-port 29500"
    for wrong in (("NODE=2", "MASTER=first"), ("MASTER=first",), ("NODE=0",)):
        result = run("make", "--dry-run", "pretrain", *words[:4], *wrong)
        assert result.returncode == 2
        assert "NODES=2 needs " in result.stderr


@pytest.mark.parametrize("word", ["NODES=two", "GPUS=it's"])
def test_counts_are_numbers(word: str) -> None:
    result = run("make", "--dry-run", "pretrain", word)
    assert (result.returncode, result.stdout) == (2, "")
    assert word in result.stderr


@pytest.mark.parametrize("target", ["pretrain", "help"])
def test_a_misspelt_variable_is_refused_with_those_there_are(target: str) -> None:
    result = run("make", "--dry-run", target, "SHARDS=x", "OUTT=s3://b/x")
    assert (result.returncode, result.stdout) == (2, "")
    assert f"there is no variable OUTT; there are: {' '.join(VARIABLES)}" in result.stderr


def test_parts_and_engines_reach_the_build() -> None:
    (command,) = commands("shards", "DATASET=ucf101", "PART=3/16", "ENGINE=ray", "OUT=gs://bucket/set")
    assert command[3:5] == ["build", "configs/shards/ucf101.yaml"]
    assert command[-4:] == ["--part", "3/16", "--engine", "ray"]
    (command,) = commands("finish", "DATASET=ucf101", "OUT=gs://bucket/set")
    assert command[3:] == ["finish", "configs/shards/ucf101.yaml", "--set", "out=gs://bucket/set"]
    (command,) = commands("verify", "SHARDS=gs://bucket/set")
    assert command[3:] == ["verify", "gs://bucket/set"]
    assert commands("verify")[-1][3:] == ["verify", "data/demo/shards"]


def test_a_misspelt_data_set_reaches_the_command_which_refuses_it() -> None:
    for target, folder in (("shards", "shards"), ("pretrain", "pretrain"), ("transfer", "eval")):
        config = commands(target, "DATASET=nonsense")[-1][4]
        assert config == f"configs/{folder}/nonsense.yaml"
        assert not (ROOT / config).exists()


@pytest.mark.parametrize("dataset", DATASETS)
def test_overrides_of_shards_are_keys_of_the_config(dataset: str) -> None:
    from shardify.build.config import BuildConfig
    from shardify.config import load_config

    words = ["VIDEOS=videos", "OUT=there", "SEED=7", "WORKERS=3", "SET=min_frames=2"]
    words += [] if dataset in {"folder", "flat"} else ["LISTS=lists"]
    command = commands("shards", f"DATASET={dataset}", *words)[-1]
    config = load_config(BuildConfig, ROOT / command[4], overrides(command))
    assert (config.seed, config.workers, config.min_frames, config.out) == (7, 3, 2, "there")
    assert config.source.videos == "videos"


@pytest.mark.parametrize("dataset", DATASETS)
def test_overrides_of_pretrain_are_keys_of_the_config(dataset: str) -> None:
    from shardify.config import load_config
    from stream_train.training.config import PretrainConfig

    words = ["SHARDS=mine", "SPLIT=train9", "OUT=there", "SEED=7", "WORKERS=3", "SET=epochs=2"]
    (command,) = commands("pretrain", f"DATASET={dataset}", *words)
    config = load_config(PretrainConfig, ROOT / command[4], overrides(command))
    assert (config.seed, config.epochs, config.split, config.out) == (7, 2, "train9", "there")
    assert (str(config.shards), config.data.num_workers) == ("mine", 3)


# Evaluations


@pytest.mark.parametrize("target", EVALUATIONS)
def test_evaluations_work_on_the_demo_and_pretrain_on_it_first(target: str, checkout: Path) -> None:
    demo, evaluation = commands(target, cwd=checkout)
    assert demo == DEMO
    assert evaluation[3] == target.removeprefix("eval-")
    for name in ("data/demo/shards/manifest.json", "runs/demo/backbone.safetensors"):
        (checkout / name).parent.mkdir(parents=True)
        (checkout / name).touch()
    (command,) = commands(target, cwd=checkout)
    assert command == [".venv/bin/python", "-m", "eval", target.removeprefix("eval-"), "configs/eval/demo.yaml"]


@pytest.mark.parametrize("dataset", ["demo", "ucf101", "hmdb51", "csv"])
def test_overrides_of_evaluations_are_keys_of_the_config(dataset: str) -> None:
    from eval.config import EvalConfig
    from eval.judging.config import CheckpointWeights
    from shardify.config import load_config

    words = ["SHARDS=mine", "SPLIT=2,3", "SEED=7", "WORKERS=3", "SET=transfer.epochs=2"]
    for checkpoint in ("runs/x", "runs/x/backbone.safetensors"):
        (command,) = commands("transfer", f"DATASET={dataset}", f"CHECKPOINT={checkpoint}", *words)
        config = load_config(EvalConfig, ROOT / command[4], overrides(command))
        assert (config.shards, config.seeds, config.transfer.epochs, config.data.num_workers) == ("mine", (7,), 2, 3)
        assert [(pair.train, pair.test) for pair in config.splits] == [("train2", "test2"), ("train3", "test3")]
        assert config.networks["pretrained"] == CheckpointWeights(path=checkpoint)
        assert config.out == "runs/x/eval", "beside the network, unless OUT says otherwise"
    (command,) = commands("transfer", f"DATASET={dataset}", "CHECKPOINT=runs/x", "OUT=there")
    assert load_config(EvalConfig, ROOT / command[4], overrides(command)).out == "there"


def test_the_demo_is_evaluated_after_it_was_made(checkout: Path) -> None:
    assert commands("demo-eval", cwd=checkout) == [DEMO, [*DEMO[:1], "demo-eval"]]


# Installing

FAKE_PYTHON = """#!/bin/sh
# Stands for a Python without a network: makes the environment's files and notes each call.
echo "$@" >> "{log}"
case "$*" in
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python && touch .venv/bin/pip && chmod +x .venv/bin/* ;;
    "-m pip"*) exit {pip_status} ;;
esac
"""


def fake_python(folder: Path, pip_status: int = 0) -> tuple[Path, Path]:
    """An executable to install with, and the file it notes its calls in."""
    log = folder / "calls.log"
    path = folder / "fake-python"
    path.write_text(FAKE_PYTHON.format(log=log, pip_status=pip_status), encoding="utf-8")
    path.chmod(0o755)
    return path, log


def test_install_makes_the_environment_once_and_again_after_a_change(checkout: Path) -> None:
    python, log = fake_python(checkout)

    def calls() -> list[str]:
        log.write_text("", encoding="utf-8")
        result = run("make", "install", f"PYTHON={python}", cwd=checkout)
        assert result.returncode == 0, result.stderr
        return [
            " ".join(line.split()[:2]) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("-m")
        ]

    assert calls() == ["-m venv", "-m pip"]
    assert calls() == []
    stamp = checkout / ".venv" / ".installed"
    for name in ("constraints.txt", "pyproject.toml"):
        os.utime(checkout / name, (stamp.stat().st_mtime + 10, stamp.stat().st_mtime + 10))
        assert calls() == ["-m pip"]
        os.utime(checkout / name, (0, 0))
    shutil.rmtree(checkout / ".venv")
    assert calls() == ["-m venv", "-m pip"]


def test_only_known_extras_are_installed(checkout: Path) -> None:
    """The real interpreter looks them up; the environment that is there installs nothing."""
    pip, _ = fake_python(checkout)
    (checkout / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "pip"):
        shutil.copy(pip, checkout / ".venv" / "bin" / name)
    for words in ([], ["EXTRAS=aws,ray"]):
        result = run("make", "install", f"PYTHON={sys.executable}", *words, cwd=checkout)
        assert result.returncode == 0, result.stderr
    result = run("make", "install", f"PYTHON={sys.executable}", "EXTRAS=aws,s3", cwd=checkout)
    assert result.returncode == 2
    assert "there is no extra s3" in result.stderr


def test_extras_are_installed_once_beside_the_rest(checkout: Path) -> None:
    python, log = fake_python(checkout)

    def installed(*words: str) -> list[str]:
        log.write_text("", encoding="utf-8")
        result = run("make", "install", f"PYTHON={python}", *words, cwd=checkout)
        assert result.returncode == 0, result.stderr
        return [line.split()[-1] for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("-m pip")]

    assert installed() == [".[dev,test]"]
    assert installed("EXTRAS=ray,aws") == [".[dev,test,aws,ray]"]
    assert installed("EXTRAS=aws, ray") == []
    assert installed() == []
    shutil.rmtree(checkout / ".venv")
    assert installed("EXTRAS=ray") == [".[dev,test,ray]"]
    assert installed() == [], "what is asked for without extras is there as well"


def test_a_failed_install_is_tried_again(checkout: Path) -> None:
    broken, _ = fake_python(checkout, pip_status=1)
    assert run("make", "install", f"PYTHON={broken}", cwd=checkout).returncode == 2
    assert not (checkout / ".venv" / ".installed").exists()
    shutil.rmtree(checkout / ".venv")
    working, log = fake_python(checkout)
    log.unlink()
    assert run("make", "install", f"PYTHON={working}", cwd=checkout).returncode == 0
    assert "-m pip install" in log.read_text(encoding="utf-8")


def test_an_unsupported_python_is_refused_before_anything_is_made(checkout: Path) -> None:
    old = checkout / "python3.8"
    pretend = "import sys; sys.version_info = (3, 8, 1); exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "{pretend}" "$@"\n', encoding="utf-8")
    old.chmod(0o755)
    result = run("make", "install", f"PYTHON={old}", cwd=checkout)
    assert result.returncode == 2
    assert f"Python 3.11 to 3.13 is needed, but {old} is 3.8" in result.stderr
    assert not (checkout / ".venv").exists()


def test_clean_leaves_the_environment_and_other_results(checkout: Path) -> None:
    for name in ("shardify", "stream_train", "eval", "tests"):
        (checkout / name / "__pycache__").mkdir(parents=True)
    gone = ["data/demo/shards", "runs/demo", ".ruff_cache"]
    kept = ["data/ucf101/shards", "runs/c3d", ".venv/bin"]
    for name in gone + kept:
        (checkout / name).mkdir(parents=True)
    assert run("make", "clean", cwd=checkout).returncode == 0
    assert not [name for name in gone if (checkout / name).exists()]
    assert all((checkout / name).exists() for name in kept)
    assert not list(checkout.rglob("__pycache__"))
