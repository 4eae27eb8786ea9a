from __future__ import annotations

from pathlib import Path

import pytest
from helpers_eval import write_eval_dataset
from helpers_study import study_config

from eval.study import command
from eval.study.command import run_study
from eval.study.config import StudyConfig
from shardify.errors import UsageError, UserFacingError

RANDOM = {"network": {"kind": "random", "network": {"kind": "c3d", "width": 0.05}}}
BROKEN = {"changes": {"shards": "nowhere"}}


def run(config: StudyConfig, monkeypatch: pytest.MonkeyPatch, codes: list[int] | None = None) -> list[str]:
    """What a command says before it ends with an error, because its work is left out."""
    said: list[str] = []
    monkeypatch.setattr(command, "work_on", lambda *_: said.append("working"))
    monkeypatch.setattr(command, "work_at_once", lambda *_: codes)
    with pytest.raises(UserFacingError) as caught:
        list(run_study(config, [], said.append, at_once=1 if codes is None else 2))
    return [*said, str(caught.value)]


def test_a_job_without_its_data_is_named_before_the_work_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = write_eval_dataset(tmp_path / "shards")
    said = run(study_config(shards, tmp_path / "out", rows={"good": RANDOM, "bad": BROKEN}), monkeypatch)
    assert said[0].startswith("bad-seed0 will fail: nowhere")
    assert said[1].startswith("plan: 0 clips to train on, ")
    assert said[2] == "working"
    assert said[-2:] == [
        "0 of 2 jobs are done",
        "the study is not whole: 2 of 2 jobs left, and nobody works on them; run the same command again",
    ]
    (error,) = run(study_config(shards, tmp_path / "out", rows={"bad": BROKEN}), monkeypatch)
    assert error.startswith("nowhere")


def test_a_process_that_died_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = study_config(write_eval_dataset(tmp_path / "shards"), tmp_path / "out", rows={"good": RANDOM})
    assert "exit code -9" in run(config, monkeypatch, codes=[0, -9])[-1]
    assert "1 of 1 job left" in run(config, monkeypatch, codes=[0, 0])[-1]


def test_tables_of_nothing_are_refused_and_nothing_is_made(tmp_path: Path) -> None:
    config = study_config(tmp_path / "shards", tmp_path / "out")
    with pytest.raises(UsageError, match="holds no result of this study yet; start the command without --tables-only"):
        list(run_study(config, [], print, work=False))
    assert not (tmp_path / "out").exists()
