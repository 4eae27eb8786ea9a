"""Evaluations in real processes: the same results over several ranks, and after kill -9 at any place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_eval import ucf_keys
from helpers_processes import finish, kill_when, start
from helpers_shards import make_video
from helpers_video_eval import invoke, read_vectors, two_networks, write_config

from eval.results.rows import find_rows, read_scores

pytestmark = pytest.mark.slow

KEYS = ucf_keys()
TEST = KEYS[16:]
LONG_ENOUGH = [key for key, length in zip(TEST, (17, 62, 5, 23, 45, 26, 21, 16), strict=True) if length >= 22]
"""For a pair of clips at every offset."""


def config_of(world: tuple[Path, Path], folder: Path) -> Path:
    """Every evaluation of one network or two, and few rows of each."""
    networks = two_networks(world[1]) | {"colour": {"kind": "trivial", "features": "colour"}}
    values: dict[str, Any] = {
        "transfer__networks": ["pretrained"],
        "sync__networks": ["pretrained"],
        "before_after__networks": ["random"],
        "still__networks": ["pretrained"],
        "probe": {"epochs": 1, "linear": ["100%"], "knn": [1], "low_label_seeds": [0]},
        "saliency": {"num_videos": 1},
        "checkpoint": {"every_steps": 2, "keep": 2},
        "data__videos_per_batch": 6,
    }
    return write_config(folder / "config.yaml", world[0], folder / "out", networks=networks, **values)


@pytest.fixture(scope="module")
def quiet(world: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one process that nothing disturbs; read-only."""
    path = config_of(world, tmp_path_factory.mktemp("quiet"))
    result = invoke("all", path)
    assert result.exit_code == 0, result.output
    return path.parent / "out"


def names_of(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in find_rows(folder)]


def test_ranks_share_the_videos_and_find_the_same(world: tuple[Path, Path], quiet: Path, tmp_path: Path) -> None:
    """Training with several ranks differs in BatchNorm's statistics; everything else is equal up to rounding."""
    path = config_of(world, tmp_path)
    out = tmp_path / "out"
    process = start("eval", "all", path, "--json", ranks=3)
    printed, said = finish(process)
    assert process.returncode == 0, said
    rows = json.loads(printed)  # one process prints
    assert "Warning" not in said.replace("FutureWarning", "")
    assert names_of(out) == names_of(quiet)
    assert len(rows) == len(names_of(out))
    for name in names_of(out):
        one, other = read_scores(out / name), read_scores(quiet / name)
        assert one.keys == other.keys == tuple(LONG_ENOUGH if name.startswith("sync") else one.keys)
        assert len(set(one.keys)) == len(one.keys)
        if name.startswith("probe/") and "/fc-all/" not in name:  # nothing was trained over ranks
            assert one.predicted is not None
            assert np.array_equal(one.predicted, other.predicted)  # type: ignore[arg-type]
    for network in ("pretrained", "random", "colour"):
        folder = Path("retrieval/pooled") / network / "ucf101-tiny-train1" / "seed3"
        lists, alone = (json.loads((root / folder / "neighbours.json").read_text()) for root in (out, quiet))
        assert sorted(lists) == sorted(TEST)
        for key in TEST:
            similar = {neighbour["key"]: neighbour["similarity"] for neighbour in lists[key]}
            assert similar == pytest.approx({n["key"]: n["similarity"] for n in alone[key]}, abs=1e-4)
            ordered = [neighbour["similarity"] for neighbour in alone[key]]
            if (-np.diff(ordered)).min() > 2e-4:  # no two so close that rounding could exchange them
                assert [n["key"] for n in lists[key]] == [n["key"] for n in alone[key]]
    # what the ranks have trained is tested alike by them and by one process
    trained = [name for name in names_of(out) if (out / name / "backbone.safetensors").is_file()]
    assert len(trained) == 6
    before = {name: (out / name / "videos.csv").read_bytes() for name in trained}
    for name in trained:
        (out / name / "row.json").unlink()
        (out / name / "videos.csv").unlink()
    again = invoke("all", path, "--set", "saliency.networks=[]")
    assert again.exit_code == 0, again.output
    assert again.stderr.count("is complete") == len(trained)
    assert {name: (out / name / "videos.csv").read_bytes() for name in trained} == before


def test_more_ranks_than_videos_in_a_batch(world: tuple[Path, Path], tmp_path: Path) -> None:
    path = config_of(world, tmp_path)
    process = start("eval", "transfer", path, "--set", "data.videos_per_batch=2", ranks=3)
    _, said = finish(process)
    assert process.returncode != 0
    assert "error: 3 ranks share data.videos_per_batch = 2 videos" in said
    assert not (tmp_path / "out").exists()


def test_features_over_more_ranks_than_videos(world: tuple[Path, Path], tmp_path: Path) -> None:
    """Of videos, through temporary shards that one rank builds; the third rank has nothing to look at."""
    for number, name in enumerate(("a", "b")):
        make_video(tmp_path / "videos" / f"{name}.avi", 20 + 30 * number, seed=number)
    words = ["features", tmp_path / "videos", world[1], "--set", "build_workers=1", "--set", "num_workers=0", "--json"]
    process = start("eval", *words, "--out", tmp_path / "ranks.npz", ranks=3)
    printed, said = finish(process)
    assert process.returncode == 0, said
    assert json.loads(printed)["num_videos"] == 2
    assert invoke(*words, "--out", tmp_path / "alone.npz").exit_code == 0
    one, other = read_vectors(tmp_path / "ranks.npz"), read_vectors(tmp_path / "alone.npz")
    assert (one.keys, one.metadata) == (other.keys, other.metadata)
    np.testing.assert_allclose(one.values, other.values, rtol=1e-5, atol=1e-6)


def test_kill_9_and_the_same_command_again_gives_the_same_rows(
    world: tuple[Path, Path], quiet: Path, tmp_path: Path
) -> None:
    """In a training, among the rows on features, in the last training: nothing is left half written."""
    path = config_of(world, tmp_path)
    out = tmp_path / "out"
    seed = Path("ucf101-tiny-train1") / "seed3"
    for file in (
        out / "transfer" / "finetune" / "pretrained" / seed / "checkpoint-00000002.pt",
        out / "probe" / "linear-all" / "random" / seed / "row.json",
        out / "still" / "still" / "pretrained" / seed / "checkpoint-00000002.pt",
    ):
        kill_when(start("eval", "all", path), file)
        for row in find_rows(out):  # whole, whatever came after it
            assert (row / "row.json").read_bytes() == (quiet / row.relative_to(out) / "row.json").read_bytes()
            assert (row / "videos.csv").read_bytes() == (quiet / row.relative_to(out) / "videos.csv").read_bytes()
    process = start("eval", "all", path)
    printed, said = finish(process)
    assert process.returncode == 0, said
    assert names_of(out) == names_of(quiet)
    assert len(printed.splitlines()) == len(names_of(out))
    for name in names_of(quiet):
        for file in (quiet / name).iterdir():
            if file.name not in (".lock", "config.yaml", "metrics.jsonl", "tensorboard") and file.suffix != ".pt":
                assert (out / name / file.name).read_bytes() == file.read_bytes(), file
    assert (out / "saliency" / "saliency.png").read_bytes() == (quiet / "saliency" / "saliency.png").read_bytes()
    assert not [file for file in out.rglob("*") if file.name.endswith((".tmp", ".partial"))]
