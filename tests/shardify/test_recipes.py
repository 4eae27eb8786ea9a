"""Recipes: found by name from any folder, and a file of the same name comes first."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardify.build.config import BuildConfig
from shardify.config import load_config
from shardify.errors import UsageError
from shardify.recipes import CONFIGS, recipe_names, recipe_path, recipe_title
from stream_train.training.config import PretrainConfig


def test_a_recipe_is_its_file_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(BuildConfig, "ucf101") == load_config(BuildConfig, CONFIGS / "shards" / "ucf101.yaml")
    (tmp_path / "tasks").mkdir()  # a folder is no config
    assert load_config(PretrainConfig, "tasks/pace", ["epochs=3"]).epochs == 3


def test_a_file_comes_before_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").write_text(recipe_path("pretrain", "demo").read_text(encoding="utf-8") + "\nseed: 77\n")
    assert load_config(PretrainConfig, "demo").seed == 77


def test_names_are_those_of_the_files_and_have_titles() -> None:
    names = recipe_names("pretrain")
    assert {"demo", "c3d_ucf101", "tasks/pace"} <= set(names)
    assert len(names) == len(list((CONFIGS / "pretrain").rglob("*.yaml")))
    for room in ("shards", "pretrain", "eval"):
        assert all(len(recipe_title(room, name)) > 20 for name in recipe_names(room))
    assert recipe_title("pretrain", "tasks/pace") == "The speed alone: strides 1, 2, 4 and 8"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("c3d_ucf11", "did you mean c3d_ucf101"),
        ("pase", "did you mean tasks/pace"),
        ("nonsense", "there are c3d, .*tasks/pace"),
        ("configs/pretrain/nowhere.yaml", "cannot read config configs/pretrain/nowhere.yaml.*recipe"),
        ("../shards/ucf101", "neither a file nor a recipe"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        load_config(PretrainConfig, name)
