from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers_training import run_tiny

from shardify.errors import UsageError
from stream_train.training.metrics import read_metrics
from stream_train.training.tracking import VARIABLE, open_tracker

MODULE = """
seen = []
def track(out, config):
    seen.append((out, config["epochs"]))
    return seen.append
def fail_later(out, config):
    def fail(record):
        seen.append(record)
        raise ConnectionError("no\\nnetwork")
    return fail
def nothing(out, config):
    pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder, with a name of its own, because Python keeps modules."""
    name = f"tracker_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    return name


def test_a_tracker_gets_every_record_of_a_run(
    module: str, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"{module}:track")
    run_tiny(small_dataset, tmp_path / "run", epochs=1)
    begun, *seen = __import__(module).seen
    assert begun == (str(tmp_path / "run"), 1)
    assert seen == read_metrics(tmp_path / "run")
    assert seen


def test_a_tracker_that_fails_is_left_out(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{module}:fail_later")
    said: list[str] = []
    write = open_tracker("out", {}, said.append)
    for step in (1, 2):
        write({"step": step})
    assert __import__(module).seen == [{"step": 1}]
    (line,) = said
    assert "ConnectionError: no network" in line


@pytest.mark.parametrize("named", ["absent_module:track", "{}:absent", "{}", "{}:nothing", ":"])
def test_a_variable_that_names_no_tracker_is_refused(named: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, named.format(module))
    with pytest.raises(UsageError, match=VARIABLE):
        open_tracker("out", {}, print)


def test_without_the_variable_nothing_is_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    open_tracker("out", {}, print)({"step": 1})
