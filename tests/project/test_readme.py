"""README, docs and the packages' READMEs: what they name exists, their configs are valid, and their examples run."""

from __future__ import annotations

import importlib.util
import itertools
import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
import yaml
from helpers_shards import build_config, make_video
from helpers_video_eval import read_vectors

from eval.config import EvalConfig
from eval.features.config import features_config
from eval.features.of_videos import write_features
from shardify.build.config import BuildConfig
from shardify.build.run import build
from shardify.catalogs.folder import FlatConfig
from shardify.config import StrictModel, load_config
from shardify.frames.decoding import decode_video
from stream_train.tasks import config as tasks_config
from stream_train.training.config import PretrainConfig

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("shardify", "stream_train", "eval")
PAGES = [*map(ROOT.joinpath, ("README.md", "CONTRIBUTING.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += [ROOT / package / "README.md" for package in PACKAGES]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
OF_A_READER = re.compile(r"\.venv/|.*/(mine|mine_rows|freeze)\.(py|yaml)$")
"""Files that a page asks its reader to make."""
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
each_page = pytest.mark.parametrize("page", TEXTS)


def python_of(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", TEXTS[page], flags=re.DOTALL | re.MULTILINE)


def commands_of(page: str, program: str) -> list[str]:
    """What follows a program's name where the page gives commands; continued lines are joined."""
    text = TEXTS[page].replace("\\\n", " ")
    return re.findall(rf"(?:^|^    |`){program} ([a-z][^`\n#]*)", text, flags=re.MULTILINE)


@each_page
def test_files_that_are_named_exist(page: str) -> None:
    text = TEXTS[page]
    links = re.findall(r"\]\(([^)#:\s]+)[^)]*\)", text) + re.findall(r'src="([^":]+)"', text)
    assert not [name for name in links if not (ROOT / page).parent.joinpath(name).exists()]
    named = re.findall(r"`((?:configs|tests|docs|\.ci|shardify|stream_train|eval)/[\w./]*)`", text)
    named += re.findall(r"\bconfigs/\w+/\w+\.yaml\b", text) + re.findall(
        r'^--8<-- "([\w./]+)', text, flags=re.MULTILINE
    )
    assert not [name for name in named if not (ROOT / name).exists() and not OF_A_READER.match(name)]


@each_page
def test_modules_that_are_named_exist(page: str) -> None:
    named = re.findall(r"^::: ([\w.]+)$", TEXTS[page], flags=re.MULTILINE)
    assert not [name for name in named if importlib.util.find_spec(name) is None]
    for module, name in re.findall(r"\{\{ keys of ([\w.]+)\.(\w+) \}\}", TEXTS[page]):
        assert issubclass(getattr(importlib.import_module(module), name), StrictModel)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_maps_all_its_rooms_and_only_files_that_exist(package: str) -> None:
    rows = dict(re.findall(r"^\| `([\w/]+)/` \|.*\| (.*) \|$", TEXTS[f"{package}/README.md"], flags=re.MULTILINE))
    folders = {path.parent.relative_to(ROOT / package).as_posix() for path in (ROOT / package).rglob("__init__.py")}
    assert set(rows) == folders - {"."}
    files = [f"{package}/{room}/{name}.py" for room, text in rows.items() for name in re.findall(r"`(\w+)`", text)]
    assert not [name for name in files if not (ROOT / name).is_file()]


@each_page
def test_commands_that_are_named_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, flags=re.MULTILINE))
    for command in commands_of(page, "make"):
        assert {word for word in command.split() if re.fullmatch("[a-z][a-z-]*", word)} <= targets, command
        assert all(re.search(rf"\b{name}\b", MAKEFILE) for name in re.findall(r"\b([A-Z]+)=", command)), command
        assert all((ROOT / f"configs/shards/{name}.yaml").is_file() for name in re.findall(r"DATASET=(\w+)", command))
    for program, package in (("shardify", "shardify"), ("stream-train", "stream_train"), ("video-eval", "eval")):
        group = importlib.import_module(f"{package}.cli").main
        for command in commands_of(page, program):
            name, *words = command.split()
            found = group.get_command(click.Context(group), name)
            assert found is not None, command
            options = {option for parameter in found.params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= options, command


@each_page
def test_config_keys_that_are_named_exist(page: str) -> None:
    """Keys with a value in SET, --set or data.x=y, and keys of the data section on their own."""
    text = TEXTS[page]
    roots: dict[str, tuple[type[StrictModel], str]] = {
        **dict.fromkeys(("source", "frames", "min_frames"), (BuildConfig, "configs/shards/folder.yaml")),
        **dict.fromkeys(("data", "task", "validation", "checkpoint"), (PretrainConfig, "configs/pretrain/c3d.yaml")),
        **dict.fromkeys(("transfer", "probe", "seeds"), (EvalConfig, "configs/eval/demo.yaml")),
    }
    for key, value in re.findall(r"(?<![\w./-])([a-z_]+(?:\.[a-z_]+)*)=(\[[^\]]*\]|[\w%.-]+)", text):
        model, config = roots.get(key.partition(".")[0], (None, ""))
        if model is not None:
            load_config(model, ROOT / config, [f"{key}={value}"])
    for key in re.findall(r"`((?:data|task|validation|checkpoint)(?:\.[a-z_]+)+)`", text):
        section: Any = load_config(PretrainConfig, ROOT / "configs/pretrain/c3d_ucf101.yaml")
        for name in key.split("."):
            section = getattr(section, name)


def test_environment_variables_that_are_named_are_read() -> None:
    code = "".join(path.read_text(encoding="utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    named = re.findall(r"\b((?:TEMPORAL_SSL|AWS|GOOGLE|AZURE)_[A-Z_]+|RAY_ADDRESS)\b", "".join(TEXTS.values()))
    for_tests = re.compile("TEMPORAL_SSL_(REQUIRE|TEST)_")
    assert not [name for name in set(named) if f'"{name}"' not in code and not for_tests.match(name)]


def test_the_site_has_all_pages() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert set(re.findall(r"([\w/-]+\.md)$", text, flags=re.MULTILINE)) == pages
    assert yaml.safe_load(text)["theme"]["font"] is False, "the site needs no network"


def test_the_reading_example_cuts_out_every_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(tmp_path / "videos" / "only.avi", num_frames=18)
    source = FlatConfig(kind="flat", videos=tmp_path / "videos")
    config = build_config(tmp_path, tmp_path / "data" / "demo" / "shards").model_copy(update={"source": source})
    build(config)
    monkeypatch.chdir(tmp_path)
    values: dict[str, Any] = {}
    exec(python_of("docs/shard-format.md")[0], values)
    assert tuple(values["frames"]) == decode_video(tmp_path / "videos" / "only.avi", config.frames).jpegs
    assert values["start"] == len(values["sample"]["mjpg"])


def test_the_feature_example_gives_the_vector_of_the_features_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the one clip of a video of 61 frames, cropped alike."""
    from stream_train.networks import build_backbone
    from stream_train.networks.config import C3DConfig
    from stream_train.training.exports import export_weights

    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "videos" / "video.mp4", num_frames=61)
    (tmp_path / "video.mp4").write_bytes((tmp_path / "videos" / "video.mp4").read_bytes())
    torch.manual_seed(0)
    config = C3DConfig(width=0.05)
    metadata = {"network": config.model_dump(mode="json"), "crop": 24, "num_frames": 16}
    metadata |= {"data.resize": None, "data_set.height": 32, "data_set.width": 40}
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    export_weights(tmp_path / "runs" / "demo" / "backbone.safetensors", build_backbone(config, crop=24), metadata)
    values: dict[str, Any] = {}
    exec(python_of("docs/evaluations.md")[0], values)
    words = {"source": "videos", "checkpoint": "runs/demo", "out": "vectors.npz"}
    write_features(features_config(words, ["num_workers=0", "device=cpu", "threads=1"]), lambda _: None)
    (vector,) = read_vectors(Path("vectors.npz")).values
    torch.testing.assert_close(values["vector"], torch.from_numpy(vector))
    exec(python_of("README.md")[0], values)
    assert values["features"].shape == (1, values["network"].num_features)


def test_the_examples_of_extending_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stream_train.draws import SampleDraws

    for name in ("dog_1.mp4", "cat_1.mp4", "cat_2.mp4", "notes.txt"):
        (tmp_path / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    catalog_module, task_config, task_module, evaluation = python_of("docs/extending.md")
    values: dict[str, Any] = dict(vars(tasks_config))
    exec(task_config, values)
    monkeypatch.setattr(tasks_config, "FreezeConfig", values["FreezeConfig"], raising=False)
    (tmp_path / "mine_example.py").write_text(catalog_module, encoding="utf-8")
    (tmp_path / "freeze_example.py").write_text(task_module, encoding="utf-8")
    mine, freeze = importlib.import_module("mine_example"), importlib.import_module("freeze_example")
    catalog = mine.read_mine(mine.MineConfig(kind="mine", videos=str(tmp_path)))
    assert catalog.classes == ("cat", "dog")
    assert sorted((video.path, video.label) for video in catalog.videos) == [
        *(("cat_1.mp4", 0), ("cat_2.mp4", 0), ("dog_1.mp4", 1))
    ]
    task = freeze.Freeze(values["FreezeConfig"]())
    assert task.min_frames == 31
    still = set()
    for length, sample in itertools.product((31, 90), range(20)):
        (plan,) = task.draw_clips(length, SampleDraws(0, 0, sample))
        steps = np.diff(plan.indices)
        quarter = int(plan.targets["quarter"])
        assert (steps == 0).nonzero()[0].tolist() == [4 * quarter + k for k in range(3)]
        still.add(quarter)
    assert still == {0, 1, 2, 3}
    exec(evaluation, values)
    assert values["MINE"].command == "mine"
