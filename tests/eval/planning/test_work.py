from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_eval import LENGTHS, tiny_eval_config, write_eval_dataset
from helpers_study import study_config, write_study
from helpers_training import VALIDATED, tiny_config
from helpers_video_eval import assert_error, invoke

from eval.evaluations.base import Clips
from eval.judging.subsequences import EvenClips, TestClips, num_test_clips
from eval.planning.work import num_parameters, work_of_evaluations, work_of_job, work_of_pretraining
from eval.study.jobs import jobs_of
from eval.suite import EVALUATIONS
from shardify.errors import UsageError
from stream_train.draws import SampleDraws
from stream_train.networks.config import C3DConfig

TRAIN = (*LENGTHS[0], *LENGTHS[1])
TEST = LENGTHS[2]
"""Frames of the videos of train1 and test1."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_eval_dataset(tmp_path_factory.mktemp("planned") / "shards")


def clips_of(shards: Path, name: str, **changes: Any) -> Clips:
    config = tiny_eval_config(shards, shards.parent / "out", **changes)
    (work,) = work_of_evaluations(config, [e for e in EVALUATIONS if e.name == name])
    return work.clips


def drawn(plan: Any, lengths: tuple[int, ...]) -> int:
    """The number of clips that the evaluation itself would draw."""
    return sum(len(plan(length, SampleDraws(0, 0, 0))) for length in lengths)


def test_a_pretraining_trains_on_whole_batches_and_validates(small_dataset: Path, tmp_path: Path) -> None:
    work = work_of_pretraining(tiny_config(small_dataset, tmp_path))
    assert (work.clips.trained, work.clips.tested) == (10 * 5 * 4, 0)  # 2 epochs of 23 videos: 10 steps of 5
    work = work_of_pretraining(tiny_config(small_dataset, tmp_path, validation=VALIDATED))
    assert work.clips.tested == 2 * 23 * 4
    rarely = VALIDATED | {"every_epochs": 2}
    work = work_of_pretraining(tiny_config(small_dataset, tmp_path, epochs=3, validation=rarely))
    assert work.clips.tested == 2 * 23 * 4, "after 2 epochs, and at the end"
    task = {"kind": "clip_order"}
    long = work_of_pretraining(tiny_config(small_dataset, tmp_path, task=task))
    assert long.clips.trained == 4 * 5 * 3, "10 videos have 64 frames: 4 steps"


def test_evaluations_count_the_clips_that_they_draw(shards: Path) -> None:
    assert clips_of(shards, "transfer", sections__epochs=3) == Clips(
        trained=3 * 16, tested=drawn(TestClips(), TEST), num_trainings=1, num_results=1
    )
    features = drawn(EvenClips(), (*TRAIN, *TEST))
    assert clips_of(shards, "retrieval").features == features
    assert clips_of(shards, "probe", sections__epochs=3) == Clips(
        frozen=3 * 16, tested=drawn(TestClips(), TEST), features=features, num_trainings=1, num_results=1 + 2 * 3
    )
    assert clips_of(shards, "sync", sync__frozen=False).trained == 2 * 16
    assert clips_of(shards, "sync").tested == 2 * 13 * 8
    assert clips_of(shards, "before_after", before_after__tests_per_video=3).tested == 2 * 3 * 8
    assert clips_of(shards, "still") == clips_of(shards, "transfer") * 0 + Clips(
        frozen=2 * 16, tested=2 * drawn(TestClips(), TEST), num_trainings=2, num_results=2
    )
    config = tiny_eval_config(shards, shards.parent / "out")
    both = [e for e in EVALUATIONS if e.name in ("probe", "still")]
    assert [work.clips.num_trainings for work in work_of_evaluations(config, both)] == [1, 1], "still reads the probe's"


def test_the_released_code_s_rule_for_short_videos_counts_too(shards: Path) -> None:
    all_clips = TestClips(rule="full_steps", all_starts=True)
    lengths = (61, 62, 63, 64)  # four strides fit with one rule, three with the other
    assert drawn(all_clips, lengths) != drawn(TestClips(all_starts=True), lengths)
    assert num_test_clips(np.array(lengths), 4, all_starts=True, rule="full_steps") == drawn(all_clips, lengths)
    for name in ("transfer", "probe"):
        changes = {f"{name}__short_videos": "full_steps", f"{name}__all_clips": True}
        assert clips_of(shards, name, **changes).tested == drawn(all_clips, TEST)


def test_all_clips_are_more(shards: Path) -> None:
    lengths = np.array(TEST)
    assert num_test_clips(lengths, 1, all_starts=True) == sum(max(1, n - 15) for n in TEST)
    assert clips_of(shards, "transfer", transfer__stride=1, transfer__all_clips=True).tested == sum(
        max(1, n - 15) for n in TEST
    )


def test_networks_take_part_where_they_do_in_the_evaluations(shards: Path) -> None:
    network = {"kind": "random", "network": {"kind": "c3d", "width": 0.05}}
    networks = {
        "usual": network,
        "own_rate": network | {"learning_rate": 1e-3},
        "colour": {"kind": "trivial", "features": "colour"},
    }
    config = tiny_eval_config(shards, shards.parent / "out", networks=networks, seeds=[1, 2])
    works = list(work_of_evaluations(config, [e for e in EVALUATIONS if e.name in ("transfer", "probe")]))
    assert [(work.part, work.clips.num_results) for work in works] == [
        ("transfer", 2),  # usual, with two seeds
        ("transfer", 2),  # own_rate
        ("probe", 2 * 7),
        ("probe", 2 * 6),  # colour has no layers to train
    ]
    assert works[-1].setup is None


def test_a_job_keeps_checkpoints_and_exports_of_all_its_trainings(shards: Path, tmp_path: Path) -> None:
    whole, _, random = jobs_of(study_config(shards, tmp_path))
    works = work_of_job(whole)
    assert [work.part for work in works] == ["pre-training", "probe", "retrieval"]
    weights = num_parameters(C3DConfig(width=0.05), 16)
    assert sum(work.kept_bytes for work in works) == weights * 4 * (2 * 3 + 2)
    assert [work.part for work in work_of_job(random)] == ["probe", "retrieval"]


def test_missing_data_and_networks_are_usage_errors(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        work_of_pretraining(tiny_config(tmp_path / "nowhere", tmp_path))
    networks = {"pretrained": {"kind": "checkpoint", "path": str(tmp_path / "absent")}}
    config = tiny_eval_config(shards, tmp_path / "out", networks=networks)
    with pytest.raises(UsageError, match="absent"):
        list(work_of_evaluations(config, EVALUATIONS))


def test_the_command_plans_a_study_from_figures(shards: Path, tmp_path: Path) -> None:
    path = write_study(tmp_path / "study.yaml", shards, tmp_path / "out")
    result = invoke("plan", path, "--teraflops", 1, "--cores", 2, "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert [part["name"] for part in values["parts"]] == ["pre-training", "probe", "retrieval"]
    assert values["parts"][0]["clips"]["trained"] == 4 * 5 * (4 + 1)
    assert values["fetched_bytes"] == 0
    text = invoke("plan", path, "--teraflops", 1).stdout
    assert "to fetch: nothing" in text
    path.write_text("source: {}\n")
    assert_error(invoke("plan", path), 2, str(path))
    assert_error(invoke("plan", tmp_path / "none.yaml"), 2, "none.yaml")
