from __future__ import annotations

from pathlib import Path

import pytest
from helpers_eval import write_eval_dataset
from helpers_study import study_config

from eval.study import command
from eval.study.command import run_study
from eval.study.config import StudyConfig
from shardify.errors import UsageError, WorkError

RANDOM = {"network": {"kind": "random", "network": {"kind": "c3d", "width": 0.05}}}
BROKEN = {"changes": {"shards": "nowhere"}}


def run(config: StudyConfig, monkeypatch: pytest.MonkeyPatch, codes: list[int] | None = None) -> list[str]:
    """What a command says; its work is left out."""
    said: list[str] = []
    monkeypatch.setattr(command, "work_on", lambda *_: said.append("working"))
    monkeypatch.setattr(command, "work_at_once", lambda *_: codes)
    list(run_study(config, [], said.append, at_once=1 if codes is None else 2))
    return said


def test_a_job_without_its_data_is_named_before_the_work_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = write_eval_dataset(tmp_path / "shards")
    said = run(study_config(shards, tmp_path / "out", rows={"good": RANDOM, "bad": BROKEN}), monkeypatch)
    assert said[0].startswith("bad-seed0 will fail: nowhere")
    assert said[1].startswith("plan: 0 clips to train on, ")
    assert said[2] == "working"
    assert said[-1] == "0 of 2 jobs are done"
    with pytest.raises(UsageError, match="nowhere"):
        run(study_config(shards, tmp_path / "out", rows={"bad": BROKEN}), monkeypatch)


def test_a_process_that_died_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = study_config(write_eval_dataset(tmp_path / "shards"), tmp_path / "out", rows={"good": RANDOM})
    with pytest.raises(WorkError, match="exit code -9"):
        run(config, monkeypatch, codes=[0, -9])
    assert run(config, monkeypatch, codes=[0, 0])
