from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_training import tiny_config

from eval.cli import main
from eval.evaluations.base import Clips
from eval.planning.plan import RESULT_SECONDS, START_SECONDS, TRAINING_SECONDS, make_plan, plan_line, plan_text
from eval.planning.speed import Speed, computed_speed, forward_flops, measured_speed
from eval.planning.work import Setup, Work
from stream_train.data.config import DataConfig
from stream_train.networks.config import C3DConfig
from stream_train.tasks.config import DensePredictionConfig, TransformationsConfig
from stream_train.training.loop import pretrain


def setup_of(width: float = 1.0, crop: int = 112, **changes: object) -> Setup:
    values = {"task": TransformationsConfig()} | changes
    data = DataConfig(crop=crop, num_workers=0)
    return Setup(shards="s", split="train1", data=data, network=C3DConfig(width=width), **values)  # type: ignore[arg-type]


def work_of(part: str, setup: Setup | None, clips: Clips, **changes: object) -> Work:
    values = {"kept_bytes": 0, "sources": ()} | changes
    return Work(part=part, setup=setup, clips=clips, **values)  # type: ignore[arg-type]


def test_seconds_are_clips_over_speeds_and_what_is_around_them() -> None:
    asked: list[str] = []

    def speed_of(setup: Setup) -> Speed:
        asked.append(setup.words)
        return Speed(trained=10, tested=40)

    narrow = setup_of(0.25)
    works = [
        work_of("pre-training", narrow, Clips(trained=1000, tested=80, num_trainings=1)),
        work_of("pre-training", narrow, Clips(trained=500, num_trainings=1)),
        work_of("probe", narrow, Clips(frozen=400, features=40, num_results=3)),
        work_of("probe", None, Clips(features=99, num_results=1)),
    ]
    plan = make_plan(works, speed_of)
    assert asked == ["c3d, width 0.25, crops of 112, transformations"], "equal setups are measured once"
    assert [part.name for part in plan.parts] == ["pre-training", "probe"]
    assert plan.parts[0].seconds == 100 + 2 + 50 + 2 * TRAINING_SECONDS
    assert plan.parts[1].seconds == 11 + 4 * RESULT_SECONDS
    assert plan.seconds == sum(part.seconds for part in plan.parts) + START_SECONDS
    assert plan.values()["hours"] == plan.seconds / 3600


def test_decoding_is_the_bound_if_the_gpu_is_faster() -> None:
    speed = Speed(trained=1000, tested=3000, loaded_per_core=50)
    work = work_of("pre-training", setup_of(), Clips(trained=1000, tested=1000))
    (slow,) = make_plan([work], lambda _: speed, cores=4).parts
    assert (slow.seconds, slow.core_seconds) == (2000 / 50 / 4, 2000 / 50)
    (fast,) = make_plan([work], lambda _: speed, cores=400).parts
    assert fast.seconds == pytest.approx(1 + 1 / 3)


def test_only_shards_in_object_stores_are_fetched_and_each_once() -> None:
    near, far, other = ("/data train1", 10**9), ("s3://b/x train1", 2 * 10**9), ("s3://b/x test1", 10**9)
    works = [
        work_of("a", setup_of(), Clips(trained=3_000_000), kept_bytes=10**9, sources=(near, far)),
        work_of("b", setup_of(), Clips(tested=5000), kept_bytes=10**9, sources=(far, other)),
    ]
    plan = make_plan(works, lambda _: Speed(trained=1, tested=1))
    assert (plan.kept_bytes, plan.fetched_bytes) == (2 * 10**9, 3 * 10**9)
    assert plan_line(works) == (
        "plan: 3.0 million clips to train on, 5,000 to test on, 2.0 GB to keep, 3.0 GB to fetch"
    )
    assert "to fetch: 3.0 GB" in plan_text(plan, "runs/x")


def test_figures_give_the_speed_of_the_papers_network() -> None:
    """38.5 GFLOP forward for a clip of C3D, and about three times as much with the backward pass."""
    assert forward_flops(setup_of()) == pytest.approx(38.5e9, rel=0.05)
    five = forward_flops(setup_of(task=DensePredictionConfig()))
    assert five == pytest.approx(forward_flops(setup_of()), rel=0.01), "the network sees one block at a time"
    speed = computed_speed(setup_of(), teraflops=320)
    assert speed.trained == pytest.approx(2800, rel=0.05)
    assert speed.tested == pytest.approx(3 * speed.trained)
    assert speed.loaded_per_core == 550


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["table1", "--teraflops", "nan"], "nan is not a finite number"),
        (["table1", "--teraflops", "inf"], "inf is not a finite number"),
        (["table1", "--seconds", "nan"], "nan is not a finite number"),
        (["table1", "--cores", "16"], "give its --teraflops too"),
        (["nosuch", "--teraflops", "3"], "nosuch is neither a file nor a recipe; there are c3d, "),
        (["c3d_ucf11", "--teraflops", "3"], "did you mean c3d_ucf101?"),
        (["table1", "--teraflops", "3"], "the study's key `shards` says where data sets lie"),
    ],
)
def test_a_plan_that_cannot_be_made_says_what_is_wrong(
    words: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["plan", *words])
    assert result.exit_code == 2
    assert part in result.stderr


@pytest.mark.slow
def test_a_plan_from_a_measurement_is_near_the_time_of_a_real_run(small_dataset: Path, tmp_path: Path) -> None:
    """Within a factor of two: other processes may load the machine between the measurement and the run."""
    config = tiny_config(small_dataset, tmp_path / "run", epochs=20, network__width=0.25, data__crop=32)
    setup = Setup(shards=config.shards, split=config.split, data=config.data, network=config.network, task=config.task)
    speed = measured_speed(setup, 6.0, device="cpu", threads=1)
    assert speed.tested > speed.trained
    start = time.perf_counter()
    pretrain(config, lambda _: None)
    seconds = time.perf_counter() - start - TRAINING_SECONDS
    assert 0.5 < (config.num_steps(23) * 5 * 4 / speed.trained) / seconds < 2
    assert not (tmp_path / "unused").exists()
