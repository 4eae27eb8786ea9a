"""The package as a user installs it: sdist -> wheel -> a new environment outside the checkout -> the first steps."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("shardify", "stream_train", "eval", "configs", "pyproject.toml", "README.md", "LICENSE")
DEMO_SECONDS = 420

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command that knows nothing of the checkout; it must succeed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, with the build tools of this environment."""
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    source.mkdir()
    for name in SHIPPED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    build = "from setuptools import build_meta; build_meta.build_{}({!r})"
    run(sys.executable, "-c", build.format("sdist", str(folder)), cwd=source)
    (sdist,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(sdist, folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    run(sys.executable, "-c", build.format("wheel", str(folder)), cwd=unpacked)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a new environment. It sees the requirements of this one, but not its editable install.

    A plain line in a .pth file adds a folder to the path; the .pth files in that folder are not read.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "requirements.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", wheel, cwd=folder)
    found = run(python, "-c", "import shardify, stream_train, eval as e; print(shardify, stream_train, e)", cwd=folder)
    assert found.count(str(site)) == 3, found
    return folder / "bin"


def test_the_wheel_holds_every_recipe_page_and_type_marker(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"shardify/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    for package in ("shardify", "stream_train", "eval"):
        files = [path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix not in (".pyc", ".md")]
        expected |= {path.relative_to(ROOT).as_posix() for path in files}
    assert expected <= held
    assert {f"{package}/py.typed" for package in ("shardify", "stream_train", "eval")} <= held
    assert not [name for name in held if name.startswith(("tests/", "configs/"))]


def test_recipes_are_called_by_name(programs: Path, tmp_path: Path) -> None:
    assert "ucf101 " in run(programs / "shardify", "recipes", cwd=tmp_path)
    shown = run(programs / "stream-train", "show-config", "tasks/pace", "--set", "shards=there", cwd=tmp_path)
    assert "shards: there\n" in shown
    recipe = run(programs / "video-eval", "recipes", "ucf101", cwd=tmp_path)
    assert recipe == (ROOT / "configs/eval/ucf101.yaml").read_text(encoding="utf-8")


def test_the_demo_begins_in_an_empty_folder_and_stops_cleanly(programs: Path, tmp_path: Path) -> None:
    """Videos, shards, two pictures and the first steps of training; then SIGTERM."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (tmp_path.parent / "demo.log").open("w+") as log:
        process = subprocess.Popen(
            [programs / "temporal-ssl", "demo"], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
        end = time.monotonic() + DEMO_SECONDS
        metrics = tmp_path / "runs/demo/metrics.jsonl"
        while process.poll() is None and not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < end:
            time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        exit_code = process.wait(60)
        log.seek(0)
        text = log.read()
    assert exit_code == 75, text
    assert [line for line in text.splitlines() if line.startswith("$ ")][-1] == "$ stream-train pretrain demo"
    assert (tmp_path / "data/demo/shards/manifest.json").is_file()
    assert (tmp_path / "runs/demo/transformations.png").is_file()
    assert list((tmp_path / "runs/demo").glob("checkpoint-*.pt"))
    assert {path.name for path in tmp_path.iterdir()} == {"data", "runs"}
