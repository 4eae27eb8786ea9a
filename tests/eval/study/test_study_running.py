from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers_eval import write_eval_dataset
from helpers_processes import finish, kill_when, start
from helpers_study import study_config, write_study
from helpers_training import assert_same_run

from eval.results.rows import ROW_NAME
from eval.study import claims as claims_module
from eval.study import running
from eval.study.claims import Claims
from eval.study.config import StudyConfig
from eval.study.jobs import Job, jobs_of
from eval.study.running import open_claims, progress_of, work_on
from shardify.errors import WorkError

Do = Callable[[Job], None]


@pytest.fixture
def config(tmp_path: Path) -> StudyConfig:
    """Three jobs, which tests do not really do."""
    return study_config(tmp_path / "shards", tmp_path / "out")


def do_with(monkeypatch: pytest.MonkeyPatch, do: Do) -> None:
    monkeypatch.setattr(running, "do", lambda job, *_: do(job))


def say_nothing(_: str) -> None:
    pass


def test_each_job_is_done_once_and_again_only_with_other_settings(
    config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    do_with(monkeypatch, lambda job: done.append(job.name))
    work_on(config, say_nothing)
    assert done == ["all-seed0", "speed-seed0", "random-seed0"]
    work_on(config, say_nothing)
    assert len(done) == 3
    more = study_config(tmp_path / "shards", tmp_path / "out", seeds=[0, 1])
    work_on(more, say_nothing)
    assert done[3:] == ["all-seed1", "speed-seed1", "random-seed1"]
    changed = config.model_copy(update={"rows": config.rows | {"speed": config.rows["all"]}})
    work_on(changed, say_nothing)
    assert done[6:] == ["speed-seed0"]


def test_a_failed_job_does_not_stop_the_others_and_is_tried_again(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    broken: dict[str, Exception] = {"all-seed0": WorkError("no shards"), "speed-seed0": ZeroDivisionError("a bug")}

    def do(job: Job) -> None:
        tried.append(job.name)
        if job.name in broken:
            raise broken[job.name]

    do_with(monkeypatch, do)
    work_on(config, say_nothing)
    assert len(tried) == 3
    progress = progress_of(jobs_of(config), open_claims(config))
    assert progress.failed == {"all-seed0": "no shards", "speed-seed0": "ZeroDivisionError: a bug"}
    assert "2 failed" in progress.line()
    with pytest.raises(WorkError, match=r"2 of 3 jobs failed \(all-seed0: no shards; speed-seed0: Zero"):
        progress.require_success()
    broken.clear()
    work_on(config, say_nothing)
    assert tried[3:] == ["all-seed0", "speed-seed0"]
    progress_of(jobs_of(config), open_claims(config)).require_success()


def test_what_fails_elsewhere_meanwhile_is_left_to_the_next_command(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def do(job: Job) -> None:
        tried.append(job.name)
        other = open_claims(config)
        claim = other.take("speed-seed0", jobs_of(config)[1].digest, None)
        if claim is not None:
            with other.holding(claim, say_nothing) as end:
                end("failed", "the other machine is too small")

    do_with(monkeypatch, do)
    work_on(config, say_nothing)
    assert tried == ["all-seed0", "random-seed0"]


@pytest.fixture
def other_study(config: StudyConfig) -> StudyConfig:
    """A study with the same `out`, rows and seeds, and other evaluations."""
    judged = {name: entry.model_copy(update={"evaluations": ("retrieval",)}) for name, entry in config.evaluate.items()}
    return config.model_copy(update={"evaluate": judged})


def test_two_studies_in_one_folder_both_stay_done(
    config: StudyConfig, other_study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    do_with(monkeypatch, lambda job: done.append(job.name))
    for study in (config, other_study, config, other_study):
        work_on(study, say_nothing)
    assert done == ["all-seed0", "speed-seed0", "random-seed0"] * 2
    for study in (config, other_study):
        progress_of(jobs_of(study), open_claims(study)).require_whole()


def test_a_job_that_another_study_does_in_the_same_folder_is_waited_for(
    config: StudyConfig, other_study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = open_claims(config)
    claim = claims.take("all-seed0", jobs_of(config)[0].digest, None)
    assert claim is not None
    done: list[str] = []
    said: list[str] = []
    do_with(monkeypatch, lambda job: done.append(job.name))
    with claims.holding(claim, say_nothing) as end:

        def sleep(_: float) -> None:
            assert done == ["speed-seed0", "random-seed0"], "all else was done first"
            if any("waiting" in line for line in said):
                end("done", "")

        monkeypatch.setattr("eval.study.running.time.sleep", sleep)
        work_on(other_study, said.append)
    assert done[2:] == ["all-seed0"]
    assert f"waiting for other workers (all-seed0: {claim.worker})" in said
    assert progress_of(jobs_of(config), claims).num_done == 1
    progress_of(jobs_of(other_study), claims).require_whole()


def test_a_stopped_job_is_left_to_anyone(config: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Job) -> None:
        raise KeyboardInterrupt

    do_with(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        work_on(config, say_nothing)
    assert open_claims(config).newest()["all-seed0"].state == "stopped"
    done: list[str] = []
    do_with(monkeypatch, lambda job: done.append(job.name))
    work_on(config, say_nothing)
    assert done[0] == "all-seed0"


@pytest.mark.parametrize("beats", [True, False])
def test_the_job_of_a_worker_elsewhere_is_watched_and_taken_only_if_it_died(
    beats: bool, config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims_module, "LEASE_SECONDS", 100.0)
    claims = open_claims(config)
    first = claims.take("all-seed0", jobs_of(config)[0].digest, None)
    assert first is not None
    theirs = replace(first, process="another-boot/pid:[1] 7 99", worker="process 7 on other")
    claims.store.write(theirs.file_name, claims_module._bytes_of(theirs))
    clock = [0.0]

    def sleep(_: float) -> None:
        clock[0] += 50
        if beats:
            beat = replace(theirs, seconds=clock[0])
            claims.store.write(beat.file_name, claims_module._bytes_of(beat))

    monkeypatch.setattr("eval.study.running.time.sleep", sleep)
    monkeypatch.setattr("eval.study.claims.time.monotonic", lambda: clock[0])
    done: list[str] = []
    do_with(monkeypatch, lambda job: done.append(job.name))
    work_on(config, say_nothing)
    assert done == ["speed-seed0", "random-seed0", *([] if beats else ["all-seed0"])]
    progress = progress_of(jobs_of(config), Claims(claims.store))
    assert progress.elsewhere == ({"all-seed0": "process 7 on other"} if beats else {})
    progress.require_whole()
    with pytest.raises(WorkError, match="1 of 3 jobs left, and nobody works on it"):
        replace(progress, num_done=2, elsewhere={}).require_whole()


# Real processes


def rows_of(out: Path) -> dict[str, Any]:
    """The rows of a study, by place, without the digests of weights' files, which hold no folder."""
    return {str(path.relative_to(out)): json.loads(path.read_text()) for path in sorted(out.rglob(ROW_NAME))}


@pytest.mark.slow
def test_a_study_killed_half_way_and_continued_equals_an_undisturbed_one(tmp_path: Path) -> None:
    shards = write_eval_dataset(tmp_path / "shards")
    whole, broken = (write_study(tmp_path / f"{name}.yaml", shards, tmp_path / name) for name in ("whole", "broken"))
    changes = ("--set", "pretrain.changes.checkpoint.every_steps=1")
    undisturbed = start("eval", "study", whole, *changes)
    table, said = finish(undisturbed)
    assert undisturbed.returncode == 0, said
    assert "| speed " in table
    for name in ("all/seed0/checkpoint-00000002.pt", "speed/seed0/tiny/probe/knn-all"):
        kill_when(start("eval", "study", broken, *changes), tmp_path / "broken" / name)
    assert {
        c.state for c in Claims(open_claims(study_config(shards, tmp_path / "broken")).store).newest().values()
    } == {
        "done",
        "running",
    }
    continued = start("eval", "study", broken, *changes)
    again, said = finish(continued)
    assert continued.returncode == 0, said
    assert "now speed-seed0" in said
    assert "now all-seed0" not in said
    assert again == table
    assert rows_of(tmp_path / "broken") == rows_of(tmp_path / "whole")
    for row in ("all", "speed"):
        assert_same_run(tmp_path / "whole" / row / "seed0", tmp_path / "broken" / row / "seed0")


@pytest.mark.slow
def test_two_processes_share_the_jobs_through_a_folder_or_a_bucket(tmp_path: Path, s3_url: str) -> None:
    rows = {name: {"network": {"kind": "random", "network": {"kind": "c3d", "width": 0.05}}} for name in "abcd"}
    shards = write_eval_dataset(tmp_path / "shards")
    for number, out in enumerate((str(tmp_path / "out"), s3_url)):
        path = write_study(tmp_path / f"{number}.yaml", shards, out, rows=rows)
        workers = [start("eval", "study", path) for _ in range(2)]
        said = [finish(worker)[1] for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0], said
        begun = [line.rpartition("now ")[2] for text in said for line in text.splitlines() if "; now " in line]
        assert sorted(begun) == [f"{name}-seed0" for name in "abcd"]
        claims = open_claims(study_config(shards, out, rows=rows)).newest().values()
        assert {(claim.state, claim.number) for claim in claims} == {("done", 1)}


@pytest.mark.slow
def test_several_workers_are_started_at_once(tmp_path: Path) -> None:
    shards = write_eval_dataset(tmp_path / "shards")
    path = write_study(tmp_path / "study.yaml", shards, tmp_path / "out")
    command = start("eval", "study", path, "--at-once", 2)
    table, said = finish(command)
    assert command.returncode == 0, said
    assert table.count("## All rows of the study") == 1
    assert said.count("plan: ") == 1
    claims = open_claims(study_config(shards, tmp_path / "out")).newest().values()
    assert len({claim.process for claim in claims}) == 2
