from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers_study import study_config, study_values

from eval.judging.config import CheckpointWeights, RandomWeights
from eval.study.config import StudyConfig
from eval.study.jobs import Job, jobs_of, merge
from shardify.config import load_config
from shardify.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = sorted((ROOT / "configs" / "study").glob("*.yaml"))


def by_name(config: StudyConfig) -> dict[str, Job]:
    return {job.name: job for job in jobs_of(config)}


def test_a_job_is_a_row_with_a_seed_in_a_folder_of_its_own(tmp_path: Path) -> None:
    jobs = by_name(study_config(tmp_path / "shards", "s3://bucket/study", seeds=[4, 2]))
    assert list(jobs) == ["all-seed4", "speed-seed4", "random-seed4", "all-seed2", "speed-seed2", "random-seed2"]
    job = jobs["speed-seed2"]
    assert job.pretraining is not None
    assert (job.pretraining.out, job.pretraining.seed) == ("s3://bucket/study/speed/seed2", 2)
    judging = job.judgings["tiny"]
    assert [evaluation.name for evaluation in judging.evaluations] == ["probe", "retrieval"]
    assert (judging.config.out, judging.config.seeds) == ("s3://bucket/study/speed/seed2/tiny", (2,))
    assert judging.config.networks == {"speed": CheckpointWeights(path="s3://bucket/study/speed/seed2")}
    random = jobs["random-seed4"]
    assert random.pretraining is None
    (weights,) = random.judgings["tiny"].config.networks.values()
    assert isinstance(weights, RandomWeights)
    assert job.pretraining.network == weights.network


def test_rows_change_what_they_name_and_nothing_else(tmp_path: Path) -> None:
    rows = {
        "all": {},
        "warp": {"changes": {"task": {"sampling": {"motions": ["warp"]}}, "data": {"videos_per_batch": 9}}},
        "turned": {"changes": {"task": {"kind": "rotation"}}, "evaluate": {"retrieval": {"top": [3]}}},
    }
    jobs = by_name(study_config(tmp_path, tmp_path / "out", rows=rows, match="videos"))
    whole, warp, turned = (job.pretraining for job in jobs.values())
    assert whole is not None
    assert warp is not None
    assert turned is not None
    data = whole.data.model_copy(update={"videos_per_batch": 9})
    sampling = whole.task.sampling.model_copy(update={"motions": ("warp",)})  # type: ignore[union-attr]
    task = whole.task.model_copy(update={"sampling": sampling})
    assert warp == whole.model_copy(update={"data": data, "task": task, "out": warp.out})
    assert turned.task.kind == "rotation"
    tops = [job.judgings["tiny"].config.retrieval.top for job in jobs.values()]
    assert tops == [(1, 2), (1, 2), (3,)]


def test_a_section_of_another_kind_is_replaced() -> None:
    before = {"task": {"kind": "a", "x": {"y": 1, "z": 2}}, "data": {"crop": 3}}
    assert merge(before, {"task": {"x": {"y": 5}}}) == {
        "task": {"kind": "a", "x": {"y": 5, "z": 2}},
        "data": {"crop": 3},
    }
    assert merge(before, {"task": {"kind": "b"}, "data": None}) == {"task": {"kind": "b"}, "data": None}
    assert before == {"task": {"kind": "a", "x": {"y": 1, "z": 2}}, "data": {"crop": 3}}


def test_data_sets_lie_where_the_study_says(tmp_path: Path) -> None:
    moved = {str(tmp_path / "shards"): "s3://bucket/shards", "elsewhere": "s3://bucket/other"}
    for job in jobs_of(study_config(tmp_path / "shards", tmp_path, shards=moved)):
        assert job.judgings["tiny"].config.shards == "s3://bucket/shards"
        assert job.pretraining is None or job.pretraining.shards == "s3://bucket/shards"


def test_a_digest_changes_with_what_changes_the_results(tmp_path: Path) -> None:
    def digests(out: str = "here", **changes: Any) -> list[str]:
        return [job.digest for job in jobs_of(study_config(tmp_path, tmp_path / out, **changes))]

    usual = digests()
    assert len(set(usual)) == 3
    assert digests("elsewhere", threads=2, device="auto", num_workers=1) == usual
    values = study_values(tmp_path, tmp_path)
    longer = values["pretrain"]["changes"] | {"epochs": 2}
    other = digests(pretrain={"changes": longer})
    assert [a == b for a, b in zip(usual, other, strict=True)] == [False, False, True]
    judged = values["evaluate"]["tiny"] | {"evaluations": ["retrieval"]}
    assert not set(usual) & set(digests(evaluate={"tiny": judged}))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"rows": {"a b": {}}}, "rows.a b"),
        ({"rows": {"x": {"changes": {"epoch": 2}}}}, "unknown key epoch (did you mean epochs?)"),
        ({"rows": {"x": {"changes": {"task": {"kind": "warp"}}}}}, "task.kind = 'warp'"),
        ({"rows": {"x": {"network": {"kind": "random", "like": "y"}}}}, "rows.x.network.like = 'y'"),
        ({"rows": {"x": {"network": {"kind": "random", "like": "y"}, "changes": {"seed": 1}}}}, "no meaning"),
        ({"reference": "y"}, "rows are: all, speed, random"),
        ({"tables": "speed"}, "take none of all, speed, random, claims"),
        ({"seeds": [1, 1]}, "each seed may be named once"),
        ({"seeds": []}, "seeds = []: give 1 or more"),
        ({"rows": {}}, "rows = {}: give 1 or more"),
        ({"evaluate": {"tiny": {"evaluations": ["saliency"]}}}, "there is no evaluation 'saliency'"),
        ({"evaluate": {"tiny": {"evaluations": ["probe"], "changes": {"prob": 1}}}}, "unknown key prob"),
        ({"match": "clips", "reference": "random"}, "the reference random is not pre-trained"),
    ],
)
def test_a_wrong_study_is_refused_with_what_is_wrong(changes: dict[str, Any], part: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        jobs_of(study_config(tmp_path, tmp_path, **changes))
    assert part in str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_studies_that_come_along_are_whole_in_any_folder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = jobs_of(load_config(StudyConfig, path))
    assert len({job.digest for job in jobs}) == len(jobs)
    names = {"demo": 5, "table1": 18, "table2": 14, "table3": 5}
    assert len(jobs) >= names.get(path.stem, 1)


def test_table_1_has_each_line_of_the_paper_once() -> None:
    from eval.results.paper_tables import TABLE_1

    rows = yaml.safe_load((ROOT / "configs/study/table1.yaml").read_text())["rows"]
    tasks = [row["changes"].get("task", {}) for row in rows.values() if "changes" in row] + [{}]
    learnt = [
        (tuple(task.get("sampling", {}).get("motions", ("random", "periodic", "warp"))), task.get("speed_loss", True))
        for task in tasks
        if "kind" not in task
    ]
    assert sorted(learnt) == sorted((row.motions, row.speed_loss) for row in TABLE_1.rows if row.kind == "ours")
