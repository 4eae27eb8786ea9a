"""Audits: changed clips are what their names say, observers learn what can be learnt, and the table adds up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_pretext import batch_of, task_of
from helpers_training import run_tiny, without_rendering

from shardify.config import validate_config
from shardify.errors import UsageError
from stream_train.audit.observers import frame_differences, ideal_answers, train_observer
from stream_train.audit.run import audit_run
from stream_train.audit.seen import SEEN_FRAMES, SeenFrames
from stream_train.audit.table import AUDIT_NAME, AUDIT_PICTURE, audit_lines, frames_until_clear, make_row
from stream_train.audit.treatments import first_frames, treatments
from stream_train.data.batch import Batch
from stream_train.data.plans import IGNORED
from stream_train.draws import SampleDraws
from stream_train.transformations.config import Motion, SamplingConfig
from stream_train.transformations.sampling import draw_clips

CLIPS = torch.arange(16.0).view(1, 1, 16, 1, 1).expand(3, 3, 16, 2, 2) / 16
"""Three clips whose frames hold their number."""


def frames_after(name: str) -> torch.Tensor:
    """The numbers of the frames of each clip after a treatment, (3, 16)."""
    (treatment,) = [one for one in treatments(16) if one.name == name]
    changed = treatment.change(CLIPS, torch.Generator().manual_seed(0))
    assert changed.shape == CLIPS.shape
    assert (changed == changed[:, :1, :, :1, :1]).all() or name == "duplicates broken"
    return changed[:, 0, :, 0, 0] * 16


def test_treatments_change_time_alone() -> None:
    whole = list(range(16))
    assert frames_after("as in training").tolist() == [whole] * 3
    assert frames_after("one frame repeated").tolist() == [[8] * 16] * 3
    shuffled = frames_after("order destroyed").tolist()
    assert all(sorted(clip) == whole and clip != whole for clip in shuffled)
    assert len({tuple(clip) for clip in shuffled}) == 3  # each clip has its own order
    for clip in frames_after("pairs only").tolist():
        assert sorted(clip) == whole
        assert clip != whole
        assert all(clip[i] % 2 == 0 and clip[i + 1] == clip[i] + 1 for i in range(0, 16, 2))
    for count in (4, 8, 12):
        assert frames_after(f"first {count} frames").tolist() == [whole[:count] + [count - 1] * (16 - count)] * 3


def test_noise_breaks_equal_frames_and_stays_small() -> None:
    (treatment,) = [one for one in treatments(16) if one.name == "duplicates broken"]
    still = torch.zeros(2, 3, 16, 4, 4)
    noisy = treatment.change(still, torch.Generator().manual_seed(0))
    assert not (noisy[:, :, 1:] == noisy[:, :, :-1]).any()
    assert noisy.abs().mean() < 3 / 127.5  # grey levels


@pytest.mark.parametrize("periodic", ["formula", "prose", "window"])
def test_who_sees_the_frame_numbers_knows_all_answers(periodic: str) -> None:
    config = validate_config(SamplingConfig, {"periodic": periodic}, "sampling")
    plans = [p for sample in range(150) for p in draw_clips(31 + sample, SampleDraws(0, 0, sample), config)]
    scores = ideal_answers(np.stack([plan.indices for plan in plans]).astype(np.int32), list(Motion))
    assert (scores["motion"].argmax(dim=1) == torch.tensor([int(plan.targets["motion"]) for plan in plans])).all()
    speeds = torch.tensor([int(plan.targets["speed"]) for plan in plans])
    known = speeds != IGNORED
    assert (scores["speed"].argmax(dim=1)[known] == speeds[known]).all()


def test_frame_differences_are_means_of_grey_levels() -> None:
    frames = torch.zeros(1, 4, 8, 8, 3, dtype=torch.uint8)
    frames[0, 1], frames[0, 2], frames[0, 3] = 10, 30, 30
    zeros = torch.zeros(1, dtype=torch.int64)
    batch = Batch(
        frames=frames, flip=zeros.bool(), label=zeros, sample=zeros, indices=torch.zeros(1, 4, dtype=torch.int32)
    )
    assert frame_differences(batch).tolist() == [[10, 20, 0, *(0, 10, 20, 20, 30, 30)]]


def test_observers_learn_what_their_numbers_tell_and_ignore_masked_answers() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 3))
    right = (rows[:, 1] > 0).astype(np.int64)
    wrong = np.where(np.arange(200) % 5 == 0, IGNORED, right)
    scores = train_observer(rows, {"one": wrong}, {"one": 4}).scores(rows)["one"]
    assert scores.shape == (200, 4)  # classes that never occur have no probability
    assert (scores[:, 2:] == 0).all()
    assert (scores.argmax(dim=1).numpy() == right).mean() > 0.95


def test_frames_that_must_be_seen() -> None:
    """The answer shows from frame 8 on."""
    random = torch.Generator().manual_seed(0)
    right = torch.randint(2, (120,), generator=random)
    clips = torch.rand(120, 1, 16, 1, 1, generator=random)
    clips[:, 0, 8:, 0, 0] += 5 * right[:, None]
    seen = SeenFrames(classes=("low", "high"))

    def measure(values: torch.Tensor) -> np.ndarray:
        return values.flatten(start_dim=1).numpy()

    seen.add(clips[:80], measure, right[:80].numpy())
    seen.learn()
    seen.test(clips[80:], measure, np.append(right[80:119].numpy(), IGNORED))
    shares = seen.shares()
    assert int(seen.totals.sum()) == 39
    assert all(list(one) == list(SEEN_FRAMES) for one in shares.values())
    means = {count: np.mean([one[count] for one in shares.values()]) for count in SEEN_FRAMES}
    assert max(means[2], means[4], means[8]) < 0.8
    assert means[12] == means[16] == 1
    assert torch.equal(first_frames(clips, 16), clips)


@pytest.mark.parametrize(
    ("shares", "enough"),
    [
        ({2: 0.25, 4: 0.71, 16: 0.75}, 4),  # 0.46 of 0.5
        ({2: 0.25, 4: 0.69, 16: 0.75}, 16),
        ({2: 0.8, 4: 0.3, 16: 0.5}, 2),
        ({2: 0.9, 4: 0.3, 16: 0.25}, None),
    ],
)
def test_frames_are_enough_when_they_give_nine_tenths_of_the_gain(shares: dict[int, float], enough: int | None) -> None:
    assert frames_until_clear(shares, 0.25) == enough


def test_a_line_sums_videos_and_its_interval_resamples_them() -> None:
    task, videos = task_of(speed_loss=False), {}
    for position in range(20):  # half of the videos are all right, the others all wrong
        batch = batch_of([0, 1, 2, 3], [0, -1, 0, -1])
        answers = torch.eye(4) if position % 2 else torch.eye(4).roll(1, dims=1)
        videos[position] = task.count({"motion": answers}, batch)
    row = make_row(task, "network", "any", videos, "")
    assert (row.num_videos, row.scores["motion_accuracy"]) == (20, 0.5)
    low, high = row.intervals["motion_accuracy"]
    assert 0.2 <= low < 0.4
    assert 0.6 < high <= 0.8
    certain = make_row(task, "network", "any", {k: v for k, v in videos.items() if k % 2}, "")
    assert certain.intervals["motion_accuracy"] == (1, 1)


def test_an_audit_of_a_run(whole_run: Path, tmp_path: Path, small_dataset: Path) -> None:
    said: list[str] = []
    run = shutil.copytree(whole_run, tmp_path / "run")
    overrides = ("validation.split=train1", "validation.draws_per_video=1")
    with without_rendering():
        audit = audit_run(run, overrides, say=said.append, train_videos=12)
    rows = {row.name: row for row in audit.rows}
    assert (audit.task, audit.step, audit.num_videos) == ("transformations", 10, 23)
    assert {row.group for row in audit.rows} >= {"network", "observer"}
    assert rows["frame numbers"].scores["motion_accuracy"] > 0.95  # a video of 5 frames loops, and hides its numbers
    assert set(rows["as in training"].scores) >= {"motion_accuracy", "speed_accuracy"}
    assert all(low <= row.scores[name] <= high for row in audit.rows for name, (low, high) in row.intervals.items())
    assert audit.guesses["motion_accuracy"] == 0.25
    assert list(audit.frames_needed) == ["speed", "random", "periodic", "warp"]
    assert json.loads((run / AUDIT_NAME).read_text())["step"] == 10
    assert (run / AUDIT_PICTURE).is_file()
    text = "\n".join(audit_lines(audit))
    assert all(row.reading in text for row in audit.rows)
    run_tiny(
        small_dataset,
        tmp_path / "dpc",
        epochs=1,
        task={"kind": "dense_prediction", "num_blocks": 2, "num_predicted": 1},
    )
    with pytest.raises(UsageError, match="dense_prediction depends on the other videos"):
        audit_run(tmp_path / "dpc", overrides, say=said.append)
