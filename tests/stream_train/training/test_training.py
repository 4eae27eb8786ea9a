"""Training runs: what they leave behind, exact resume, refusals, validation."""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_datasets import write_dataset
from helpers_training import VALIDATED, assert_same_run, records, run_tiny, tiny_config, without_rendering
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from shardify.config import load_config
from shardify.errors import UsageError, WorkError
from stream_train.training.checkpoint import CheckpointFolder
from stream_train.training.config import OptimizerConfig, PretrainConfig
from stream_train.training.distributed import World
from stream_train.training.exports import load_backbone
from stream_train.training.metrics import Interval, metrics_log, read_metrics
from stream_train.training.objective import Objective
from stream_train.training.optim import learning_rate
from stream_train.training.progress import Progress
from stream_train.training.validation import batch_statistics, validate_run

NUM_STEPS = 10


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def train_and_die(patch: pytest.MonkeyPatch, shards: Path, out: Path, *, after: int) -> None:
    """Train, and die in the middle of a step, after some whole ones."""
    original, done = Interval.add, [0]

    def add(self: Interval, *arguments: Any) -> None:
        done[0] += 1
        if done[0] > after:
            raise Killed
        original(self, *arguments)

    with patch.context() as patches:
        patches.setattr(Interval, "add", add)
        with pytest.raises(Killed):
            run_tiny(shards, out)


def test_what_a_run_leaves_behind(whole_run: Path, small_dataset: Path) -> None:
    names = {path.name for path in whole_run.iterdir()}
    assert names == {
        ".lock", "config.yaml", "metrics.jsonl", "tensorboard", "checkpoint-00000008.pt", "checkpoint-00000010.pt",
        "backbone.safetensors", "network.safetensors", "curves.png",
    }  # fmt: skip
    assert load_config(PretrainConfig, whole_run / "config.yaml") == tiny_config(small_dataset, whole_run)
    lines = records(whole_run)
    assert [line["step"] for line in lines] == [3, 4, 6, 8, 9, 10]
    assert [line["epoch"] for line in lines] == [step * 5 / 23 for step in (3, 4, 6, 8, 9, 10)]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    for line in lines:
        assert line["loss"] == pytest.approx(line["loss_motion"] + line["loss_speed"], abs=0.05)
        assert 0 <= line["speed_accuracy"] <= 1
    last = learning_rate(OptimizerConfig(learning_rate=1e-3), NUM_STEPS - 1, NUM_STEPS)
    assert lines[-1]["learning_rate"] == last
    assert (whole_run / "curves.png").read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(whole_run / "tensorboard")).Reload().Scalars("loss")
    assert [event.step for event in events] == [line["step"] for line in lines]
    assert [event.value for event in events] == pytest.approx([line["loss"] for line in lines])


def test_the_exported_backbone_is_the_checkpoint_s(whole_run: Path, small_dataset: Path) -> None:
    backbone, metadata = load_backbone(whole_run / "backbone.safetensors")
    checkpoint = CheckpointFolder(folder=whole_run).newest()
    assert checkpoint is not None
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, checkpoint.model[f"backbone.{name}"])
    manifest = json.loads((small_dataset / "manifest.json").read_text())
    assert metadata["step"] == NUM_STEPS
    assert metadata["data_set.num_samples"] == manifest["num_samples"]
    assert (metadata["crop"], metadata["num_frames"], metadata["seed"]) == (16, 16, 3)


@pytest.mark.parametrize("killed_after", [2, 7])
def test_a_killed_run_continues_bit_identically(
    whole_run: Path, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    out = tmp_path / "run"
    train_and_die(monkeypatch, small_dataset, out, after=killed_after)
    with (out / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 10, "epo')  # killed in the middle of a line
    said = run_tiny(small_dataset, out)
    resumed = killed_after // 4 * 4
    assert said[0].startswith(f"continuing {out} after step {resumed} of 10" if resumed else f"{out}: backbone")
    assert_same_run(out, whole_run)


def test_a_damaged_newest_checkpoint_only_costs_time(
    whole_run: Path, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    train_and_die(monkeypatch, small_dataset, out, after=9)
    newest = out / "checkpoint-00000008.pt"
    newest.write_bytes(newest.read_bytes()[:-10])
    said = run_tiny(small_dataset, out)
    assert said[0].startswith(f"{newest} is damaged")
    assert said[1] == f"continuing {out} after step 4 of 10"
    assert_same_run(out, whole_run)


def test_validation_and_other_neutral_keys_change_nothing(small_dataset: Path, whole_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    validation = VALIDATED | {"split": None}
    run_tiny(small_dataset, out, validation=validation, data__num_workers=1, data__prefetch_batches=1)
    one, other = (CheckpointFolder(folder=folder).newest() for folder in (out, whole_run))
    assert one is not None
    assert other is not None
    assert all(torch.equal(value, other.model[name]) for name, value in one.model.items())
    validated = [line for line in records(out) if "validation_motion_accuracy" in line]
    assert [line["step"] for line in validated] == [5, 10]
    result = json.loads((out / "validation.json").read_text())
    assert result["figures"]["speed_accuracy"] == validated[-1]["validation_speed_accuracy"]
    assert (out / "confusion_motion.png").is_file()


def test_a_complete_run_only_writes_its_exports_again(whole_run: Path, small_dataset: Path, tmp_path: Path) -> None:
    """Also where the data set was moved: the same data elsewhere is the same data."""
    out, moved = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(whole_run, out)
    shutil.copytree(small_dataset, moved)
    for name in ("backbone.safetensors", "curves.png"):
        (out / name).unlink()
    assert run_tiny(moved, out)[0] == f"{out} is complete: 10 steps, 2 epochs"
    for name in ("metrics.jsonl", "backbone.safetensors"):
        assert (out / name).read_bytes() == (whole_run / name).read_bytes()
    assert (out / "curves.png").is_file()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 4}, "seed was 3, now 4"),
        ({"network__width": 0.06}, "network.width was 0.05, now 0.06"),
        ({"task__sampling__motions": ["warp"]}, r"task.sampling.motions was \['random', 'periodic', 'warp'\], now"),
    ],
)
def test_other_settings_are_refused_by_name(
    whole_run: Path, small_dataset: Path, changes: dict[str, Any], named: str
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in whole_run.iterdir() if path.name != ".lock"}
    with pytest.raises(UsageError, match=rf"checkpoint-00000010\.pt belongs to a run with other settings \({named}"):
        run_tiny(small_dataset, whole_run, **changes)
    assert {path.name: path.stat().st_mtime_ns for path in whole_run.iterdir() if path.name != ".lock"} == before


def test_other_data_is_refused_unless_accepted(whole_run: Path, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "other", [[20, 40] * 7, [31, 61] * 6])
    out = Path(shutil.copytree(whole_run, tmp_path / "run"))
    with pytest.raises(UsageError, match=r"data_set\.fingerprint was .*; data_set\.num_samples was 23, now 26"):
        run_tiny(other, out)
    assert CheckpointFolder(folder=out).steps() == [8, 10]
    said = run_tiny(other, out, accept_changed_data=True)
    assert said[0] == f"continuing {out} after step 10 of 11"


def test_the_first_non_finite_loss_stops_the_run(small_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(WorkError) as caught:
        run_tiny(small_dataset, out, optimizer__learning_rate=1e30, checkpoint__every_steps=1)
    text = str(caught.value)
    assert text.startswith("step 2: the loss is ")
    assert f"the last good checkpoint is {out / 'checkpoint-00000001.pt'}" in text
    assert CheckpointFolder(folder=out).steps() == [1]
    assert [line["step"] for line in records(out)] == [1]


def test_a_state_with_infinite_weights_is_not_saved(small_dataset: Path, tmp_path: Path) -> None:
    """One step at a rate beyond float32: loss and gradient were fine, what they lead to is not."""
    out = tmp_path / "run"
    with pytest.raises(WorkError, match="step 1: a weight is not a finite number"):
        run_tiny(small_dataset, out, optimizer__learning_rate=1e39, checkpoint__every_steps=1)
    assert CheckpointFolder(folder=out).steps() == []


def test_an_interval_sums_up_its_steps_and_names_the_first_broken_one() -> None:
    def add(interval: Interval, total: float, count: float, value: float, norm: float) -> None:
        totals = {"speed": torch.tensor([total, count], dtype=torch.float64)}
        loss = torch.tensor(value, dtype=torch.float64)
        interval.add(Objective(loss=loss, value=loss, totals=totals), torch.tensor(norm), {"n": torch.tensor([1])})

    for value, norm, said in ((math.nan, 1.0, "the loss is nan"), (1.0, math.inf, "the norm of the gradient is inf")):
        interval = Interval(10, World())
        add(interval, 6.0, 2.0, 3.0, 2.0)
        add(interval, 2.0, 6.0, 1 / 3, 2.0)
        interval.require_finite(lambda: "advice")
        assert interval.losses() == {"loss": pytest.approx(5 / 3), "loss_speed": 1.0, "gradient_norm": 2.0}
        assert interval.counts()["n"].tolist() == [2]
        add(interval, 1.0, 1.0, value, norm)
        add(interval, 1.0, 1.0, math.nan, math.nan)
        with pytest.raises(WorkError, match=f"step 13: {said}, so training stopped; advice"):
            interval.require_finite(lambda: "advice")


@pytest.mark.parametrize("motions", [[], ["random"], ["periodic", "warp"]])
def test_subsets_of_the_task_train(small_dataset: Path, tmp_path: Path, motions: list[str]) -> None:
    run_tiny(small_dataset, tmp_path / "run", epochs=1, task__sampling__motions=motions)
    line = records(tmp_path / "run")[-1]
    assert ("motion_accuracy" in line) == bool(motions)
    assert ("nonrandom_motion_accuracy" in line) == ("random" in motions)
    assert "loss_speed" in line


def test_the_sequential_reader_trains_also_on_tars_without_our_files(small_dataset: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for tar in small_dataset.glob("*.tar"):
        (plain / tar.name).write_bytes(tar.read_bytes())
    sequential = {"kind": "sequential", "shuffle_samples": 4}
    run_tiny(small_dataset, tmp_path / "a", epochs=1, data__reader=sequential)
    run_tiny(plain, tmp_path / "b", epochs=1, split=None, data__reader=sequential)
    assert [line["step"] for line in records(tmp_path / "a")] == [3, 4, 5]
    assert [line["loss"] for line in records(tmp_path / "a")] == [line["loss"] for line in records(tmp_path / "b")]


def test_it_learns(tmp_path: Path) -> None:
    """Brightness that grows by 7 to 13 levels a frame tells speed and order; guessing has accuracy 0.25."""
    shards = write_dataset(tmp_path / "long", [[130] * 8, [140] * 8])
    out = tmp_path / "run"
    changes: dict[str, Any] = {"data__crop": 16, "optimizer__learning_rate": 1e-2, "log_every_steps": 16}
    run_tiny(shards, out, epochs=15, checkpoint__every_steps=1000, **changes)
    first, *_, last = records(out)
    assert last["loss"] < 0.7 * first["loss"]
    assert last["motion_accuracy"] > 0.4
    assert last["speed_accuracy"] > 0.5


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"precision": "bfloat16"}, "bfloat16"),
        ({"sync_batchnorm": True}, "sync_batchnorm"),
        ({"data__crop": 100}, r"crop = 100 does not fit into frames of 48x64"),
        ({"split": "train2"}, r"'train2'; its splits: train1"),
        ({"validation": {"split": "test1"}}, r"validation.split: .*'test1'; its splits: train1"),
        ({"shards": "absent"}, "does not exist"),
        pytest.param(
            {"device": "cuda"}, "no GPU", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    small_dataset: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    shards = changes.get("shards", small_dataset)
    with pytest.raises(UsageError, match=named):
        run_tiny(shards, tmp_path / "run", **{key: value for key, value in changes.items() if key != "shards"})
    assert not (tmp_path / "run").exists()


def test_a_run_that_saved_nothing_yet_may_start_with_other_settings(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    train_and_die(monkeypatch, small_dataset, out, after=3)
    run_tiny(small_dataset, out, epochs=1, seed=9)
    assert [line["step"] for line in records(out)] == [3, 4, 5]
    assert load_config(PretrainConfig, out / "config.yaml").seed == 9


def test_validate_looks_at_every_video_as_often_as_asked(whole_run: Path) -> None:
    overrides = ("validation.split=train1", "validation.draws_per_video=2")
    with without_rendering():
        result = validate_run(whole_run, overrides)
        again = validate_run(whole_run, (*overrides, "data.videos_per_batch=3", "data.num_workers=1"))
    assert (result.step, result.num_videos, result.draws_per_video) == (10, 23, 2)
    motion, speed = (torch.tensor(result.counts[name]) for name in ("motion", "speed"))
    assert motion.sum(dim=1).tolist() == [46, 46, 46, 40]  # the warps of three short videos are masked
    assert torch.tensor(result.counts["speed_by_length"]).sum() == speed.sum() == 46
    assert result.figures["motion_accuracy"] == motion.diagonal().sum().item() / 178
    names = {name.removesuffix("_batch_statistics") for name in result.figures if name.endswith("_batch_statistics")}
    assert names == {"motion_accuracy", "nonrandom_motion_accuracy", "speed_accuracy"}
    assert result.figures["speed_best_from_length"] >= result.figures["speed_best_constant"]
    assert again.counts == result.counts
    assert json.loads((whole_run / "validation.json").read_text())["figures"] == again.figures


def test_batch_statistics_are_those_of_training_and_leave_the_model_as_it_is() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3)).eval()
    values, before = torch.randn(8, 3) * 5 + 2, {k: v.clone() for k, v in model.state_dict().items()}
    with batch_statistics(model, 8):
        normalised = model(values)
    with batch_statistics(model, 1):  # a single answer has no statistics
        assert torch.equal(model(values[:1]), model.eval()(values[:1]))
    assert torch.allclose(normalised.mean(dim=0), torch.zeros(3), atol=1e-5)
    assert torch.equal(model(values), nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3)).eval()(values))
    after = model.state_dict()
    for name, value in before.items():
        assert name.endswith("num_batches_tracked") or torch.equal(value, after[name])
    norms = [norm for norm in model if isinstance(norm, nn.BatchNorm1d)]
    assert [(norm.training, norm.momentum) for norm in norms] == [(False, 0.1)] * 2


def test_validate_says_what_is_missing(whole_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no config\.yaml; give the out folder"):
        validate_run(tmp_path)
    with pytest.raises(UsageError, match=r"names no held-out split; add --set validation\.split="):
        validate_run(whole_run)
    (tmp_path / "config.yaml").write_bytes((whole_run / "config.yaml").read_bytes())
    with pytest.raises(UsageError, match="holds no checkpoint yet"):
        validate_run(tmp_path, ("validation.split=null",))


def test_metrics_are_cut_at_the_resumed_step(tmp_path: Path) -> None:
    lines = ['{"step": 2, "loss": 1.0}', '{"step": 4, "loss": 0.5}', '{"step": 6, "loss": 0.25}', '{"step": 8, "lo']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    with metrics_log(tmp_path, 4) as write:
        write({"step": 6, "loss": 0.125})
    assert [record["loss"] for record in read_metrics(tmp_path)] == [1.0, 0.5, 0.125]
    with metrics_log(tmp_path, 0, enabled=False) as write:
        write({"step": 1})
    assert len(read_metrics(tmp_path)) == 3


def test_progress_says_everything_that_matters_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    now = [100.0]
    monkeypatch.setattr("stream_train.training.progress.time.perf_counter", lambda: now[0])
    with Progress(num_steps=100, first_step=10, stream=stream) as progress:
        progress.waited(0.0, num_clips=28)
        now[0] += 20.0
        record = {
            "step": 20, "epoch": 0.25, "loss": 2.5, "loss_motion": 1.5, "motion_accuracy": 0.3751,
            "nonrandom_motion_accuracy": 0.1, "speed_accuracy": 0.5, "learning_rate": 1e-3,
        }  # fmt: skip
        progress.show(record | {"clips_per_second": 37.25, "data_wait_share": 0.031})
        moved = {"data_requests": 20.0, "data_bytes_read": 3e6, "data_bytes_written": 0.0}
        progress.show(record | {"step": 21} | moved)  # within ten seconds: not said
        progress.tell("step 21/100  held out  motion 0.30")
        progress.show(record | {"step": 100} | moved | {"data_bytes_written": 5e5})  # the last: always said
        speed = progress.speed()
    first, told, last = stream.getvalue().splitlines()
    assert told == "step 21/100  held out  motion 0.30"
    assert last.endswith("  since the last line: read 6.0 MB, wrote 0.5 MB in 40 requests")
    words = "step 20/100  epoch 0.25  loss 2.500  motion 0.38  speed 0.50  37.2 clips/s  data wait 3%"
    assert first == f"{words}  2:40 left"
    assert last.startswith("step 100/100")
    assert speed["clips_per_second"] > 0
    assert speed["data_wait_share"] == 0.0


def test_a_damaged_shard_stops_the_run_and_is_named(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "s", [[20, 30, 40], [130, 60, 50]])
    tar = shards / "shard-000001.tar"
    data = bytearray(tar.read_bytes())
    for place in range(2000, len(data), 500):
        data[place] ^= 0xFF
    tar.write_bytes(data)
    with pytest.raises(WorkError, match=r"shard-000001\.tar"):
        run_tiny(shards, tmp_path / "run", data__videos_per_batch=2)
