"""Runs, results, tables, reports and features in an object store: the same as in folders, and resumed the same."""

from __future__ import annotations

import functools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers_results import pretraining_of, write_result
from helpers_training import run_tiny
from helpers_video_eval import (
    PRETRAINED,
    Killed,
    assert_error,
    invoke,
    make_world,
    read_vectors,
    stop_after,
    write_config,
)

from eval.cli import main
from eval.config import EvalConfig
from eval.evaluations.transfer_rows import evaluate_transfer
from shardify.config import load_config
from shardify.storage import open_store
from shardify.storage.object_store import ObjectStore
from shardify.storage.work_folder import downloaded, work_folder
from stream_train.cli import main as train_main
from stream_train.data.batch import Batch
from stream_train.training.distributed import World
from stream_train.training.loop import compute_gradients
from stream_train.training.preemption import Stopped
from stream_train.training.run import Run

WANTED = {"transfer": "transfer/finetune", "retrieval": "retrieval/pooled", "probe": "probe/linear-all"}


pytestmark = pytest.mark.usefixtures("blank_charts")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Shards, and a run on them that lies in a folder; read-only."""
    return make_world(tmp_path_factory.mktemp("here"))


@pytest.fixture
def run_url(here: tuple[Path, Path], s3_url: str) -> str:
    """A copy of the run in a bucket."""
    upload(here[1], f"{s3_url}/run")
    return f"{s3_url}/run"


def upload(folder: Path, url: str) -> None:
    store = open_store(url)
    for path in folder.rglob("*"):
        if path.is_file():
            store.write(path.relative_to(folder).as_posix(), path.read_bytes())


def tree(url: str) -> dict[str, int]:
    store = open_store(url)
    assert isinstance(store, ObjectStore)
    return store.tree()


def config_for(path: Path, shards: Path, run: Path | str, **changes: Any) -> Path:
    networks = {"pretrained": PRETRAINED | {"path": str(run)}, "random": {"kind": "random", "like": "pretrained"}}
    return write_config(path, shards, f"{run}/eval", networks=networks, checkpoint__every_steps=2, **changes)


@pytest.mark.slow
def test_everything_in_a_bucket_is_as_in_a_folder(here: tuple[Path, Path], s3_url: str, tmp_path: Path) -> None:
    """Both runs are trained here: a copy's config would name the folder, and `here` is to stay without results."""
    shards, run, run_url = here[0], tmp_path / "run", f"{s3_url}/run"
    for out in (run, run_url):
        run_tiny(shards, out, epochs=1, seed=11)
    local, remote = config_for(tmp_path / "a.yaml", shards, run), config_for(tmp_path / "b.yaml", shards, run_url)
    for name in WANTED:
        for config in (local, remote):
            result = invoke(name, config)
            assert result.exit_code == 0, result.output
    names = tree(f"{run_url}/eval")
    rows = sorted(path.relative_to(run / "eval").as_posix() for path in (run / "eval").rglob("row.json"))
    assert rows == [name for name in names if name.endswith("row.json")]
    with work_folder(f"{run_url}/eval", lambda _: True) as folder:
        for row in rows:
            for name in (row, row.replace("row.json", "videos.csv")):
                assert (folder.path / name).read_bytes() == (run / "eval" / name).read_bytes(), name
        wanted = "transfer/finetune/pretrained/ucf101-tiny-train1/seed3"
        present = {path.name for path in (folder.path / wanted).iterdir()}
        assert present >= {"row.json", "config.yaml", "confusion.png", "classes.png", "backbone.safetensors"}
        pictures = {path.relative_to(run / "eval").as_posix() for path in (run / "eval").rglob("*.png")}
        assert pictures <= set(names)
    again = invoke("transfer", remote)
    assert again.exit_code == 0
    assert again.stderr.count("is measured already (s3://") == 2
    one, other = (invoke("tables", where) for where in (run, run_url))
    assert one.stdout == other.stdout
    assert "this method" in one.stdout
    page = invoke("report", run_url)
    assert page.stdout == f"{run_url}/report.html\n"
    invoke("report", run)
    text = open_store(run_url).read("report.html").decode()
    assert "/tmp/" not in text.replace(str(shards), ""), "copies have no place there"
    assert text.replace(run_url, "RUN").count("RUN") == (run / "report.html").read_text().replace(
        str(run), "RUN"
    ).count("RUN")


@pytest.mark.slow
def test_a_fine_tuning_that_was_killed_goes_on_from_its_checkpoint(
    here: tuple[Path, Path], run_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, _ = here
    changes: dict[str, Any] = {"sections__epochs": 2, "transfer__networks": ["pretrained"]}
    config = config_for(tmp_path / "config.yaml", shards, run_url, **changes)
    with monkeypatch.context() as patches:
        stop_after(patches, 5)
        with pytest.raises(Killed):
            CliRunner().invoke(main, ["transfer", str(config)], catch_exceptions=False)
    place = f"{run_url}/eval/transfer/finetune/pretrained/ucf101-tiny-train1/seed3"
    names = tree(place)
    assert "checkpoint-00000004.pt" in names
    assert "row.json" not in names
    resumed = invoke("transfer", config)
    assert resumed.exit_code == 0, resumed.output
    assert f"continuing {place} after step 4 of 8" in resumed.stderr
    result = invoke("transfer", config, "--set", f"out={tmp_path / 'whole'}")
    assert result.exit_code == 0, result.output
    row = tmp_path / "whole" / "transfer" / "finetune" / "pretrained" / "ucf101-tiny-train1" / "seed3" / "row.json"
    assert row.read_bytes() == open_store(place).read("row.json")


@pytest.mark.slow
def test_a_fine_tuning_that_was_stopped_goes_on_bit_identically(
    here: tuple[Path, Path], run_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal in the middle of the second network's training; the first one's row stays."""
    shards, _ = here
    config = load_config(EvalConfig, config_for(tmp_path / "config.yaml", shards, run_url))
    said: list[str] = []
    steps = [0]

    def compute(run: Run, batch: Batch) -> Any:
        steps[0] += 1
        if steps[0] == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return compute_gradients(run, batch)

    with monkeypatch.context() as patches:
        patches.setattr("stream_train.training.loop.compute_gradients", compute)
        with pytest.raises(Stopped):
            evaluate_transfer(config, World(), said.append)
    assert said[-1] == "stopped by SIGTERM after step 3 of 4; the same command continues"
    assert len([name for name in tree(f"{run_url}/eval") if name.endswith("row.json")]) == 1
    rows = evaluate_transfer(config, World(), said.append)
    assert f"continuing {run_url}/eval/transfer/finetune/random/ucf101-tiny-train1/seed3 after step 3 of 4" in said
    whole = config.model_copy(update={"out": str(tmp_path / "whole")})
    assert rows == evaluate_transfer(whole, World(), said.append)


def test_tables_of_several_runs_name_the_places_that_the_user_knows(s3_url: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        learnt = pretraining_of(epochs=int(name == "b"))
        write_result(tmp_path / name, "transfer", "finetune", [1, 0, 0, 0], pretraining=learnt, weights=name)
        upload(tmp_path / name, f"{s3_url}/{name}")
    tables = invoke("tables", f"{s3_url}/a", f"{s3_url}/b", "--out", f"{s3_url}/tables")
    assert tables.exit_code == 0, tables.output
    assert f"{s3_url}/a" in tables.stdout
    assert "/tmp/" not in tables.stdout
    assert open_store(f"{s3_url}/tables").read("tables.md").decode() == tables.stdout


def test_features_go_from_bucket_to_bucket(here: tuple[Path, Path], run_url: str, s3_url: str, tmp_path: Path) -> None:
    shards, run = here
    upload(shards, f"{s3_url}/shards")
    options = ("--set", "device=cpu", "--set", "num_workers=0")
    local = invoke("features", shards, run, "--out", tmp_path / "a.npz", *options)
    assert local.exit_code == 0, local.output
    remote = invoke("features", f"{s3_url}/shards", run_url, "--out", f"{s3_url}/b.npz", *options)
    assert remote.exit_code == 0, remote.output
    with downloaded(f"{s3_url}/b.npz") as path:
        one, other = read_vectors(tmp_path / "a.npz"), read_vectors(path)
    assert one.keys == other.keys
    assert (one.values == other.values).all()


def test_the_held_out_judgement_is_written_beside_the_run(here: tuple[Path, Path], run_url: str) -> None:
    words = ["validate", run_url, "--set", "validation={split: test1}"]
    result = CliRunner().invoke(train_main, words)
    assert result.exit_code == 0, result.output
    assert f"{run_url}/validation.json, {run_url}/confusion_motion.png" in result.stdout
    assert json.loads(open_store(run_url).read("validation.json"))["step"] > 0
    names = tree(run_url)
    assert "confusion_motion.png" in names


@pytest.mark.parametrize(
    ("words", "exit_code", "part"),
    [
        (("tables", "URL/nothing"), 2, "URL/nothing holds no results of evaluations. `video-eval all CONFIG"),
        (("report", "URL/nothing"), 2, "URL/nothing holds neither a pre-training run"),
        (
            ("features", "SHARDS", "URL/nothing", "--out", "a.npz"),
            2,
            "checkpoint = URL/nothing: ",
        ),
        (("features", "SHARDS", "RUN", "--out", "s3://no-such-bucket-here/a.npz"), 2, "there is no such bucket"),
        (("transfer", "CONFIG", "--set", "out=s3://no-such-bucket-here/eval"), 2, "there is no such bucket"),
        (
            ("transfer", "CONFIG", "--set", "networks.pretrained.path=URL/nothing"),
            2,
            "there is no URL/nothing/backbone",
        ),
    ],
    ids=["tables", "report", "checkpoint", "features", "transfer", "network"],
)
def test_what_is_not_there_is_said_in_one_line(
    here: tuple[Path, Path], s3_url: str, tmp_path: Path, words: tuple[str, ...], exit_code: int, part: str
) -> None:
    shards, run = here
    config = config_for(tmp_path / "config.yaml", shards, run)
    names = {"URL": s3_url, "SHARDS": str(shards), "RUN": str(run), "CONFIG": str(config)}
    given = [functools.reduce(lambda text, name: text.replace(name, names[name]), names, word) for word in words]
    assert_error(invoke(*given), exit_code, part.replace("URL", s3_url))
