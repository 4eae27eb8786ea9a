"""Audits: changed clips are what their names say, observers learn what can be learnt, and the table adds up."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from helpers_datasets import numbered_jpeg, write_dataset
from helpers_pretext import batch_of, task_of
from helpers_tasks import KINDS, batch_of_task, task_of_kind
from helpers_training import run_tiny, without_rendering
from matplotlib.figure import Figure

from shardify.config import validate_config
from shardify.errors import UsageError, WorkError
from stream_train.audit.observers import TreesObserver, frame_differences, ideal_answers, jpeg_sizes, train_observer
from stream_train.audit.parts import parts_of
from stream_train.audit.pictures import draw_audit
from stream_train.audit.run import audit_run, seen_part
from stream_train.audit.seen import SEEN_FRAMES, SeenFrames
from stream_train.audit.table import (
    AUDIT_NAME,
    AUDIT_PICTURE,
    Audit,
    AuditRow,
    audit_lines,
    frames_until_clear,
    make_row,
)
from stream_train.audit.treatments import first_frames, treatments
from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips
from stream_train.data.plans import IGNORED
from stream_train.data.reader import FrameReader, open_shard_set
from stream_train.draws import SampleDraws
from stream_train.networks.config import C3DConfig
from stream_train.tasks import build_model
from stream_train.training.metrics import SCORE_ENDINGS
from stream_train.training.validation import validate_run
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
    assert 1 / 127.5 < noisy.abs().mean() < 3 / 127.5  # grey levels


@pytest.mark.parametrize("periodic", ["formula", "prose", "window"])
def test_who_sees_the_frame_numbers_knows_all_answers(periodic: str) -> None:
    config = validate_config(SamplingConfig, {"periodic": periodic}, "sampling")
    plans = [p for sample in range(150) for p in draw_clips(31 + sample, SampleDraws(0, 0, sample), config)]
    scores = ideal_answers(np.stack([plan.indices for plan in plans]).astype(np.int32), list(Motion))
    assert (scores["motion"].argmax(dim=1) == torch.tensor([int(plan.targets["motion"]) for plan in plans])).all()
    speeds = torch.tensor([int(plan.targets["speed"]) for plan in plans])
    known = speeds != IGNORED
    assert (scores["speed"].argmax(dim=1)[known] == speeds[known]).all()


def test_a_clip_played_backwards_is_random() -> None:
    scores = ideal_answers(np.arange(15, -1, -1, dtype=np.int32)[None], list(Motion))
    assert scores["motion"].tolist() == [[0, 1, 0, 0]]


def test_jpeg_sizes_are_those_of_the_shown_frames(small_dataset: Path) -> None:
    reader = FrameReader(open_shard_set(small_dataset, None))
    indices = torch.tensor([[3, 1, 1, 9], [0, 1, 2, 3]], dtype=torch.int32)
    zeros = torch.zeros(2, dtype=torch.int64)
    batch = Batch(
        frames=torch.zeros(2, 4, 1, 1, 3, dtype=torch.uint8),
        flip=zeros.bool(), label=zeros, sample=torch.tensor([6, 2]), indices=indices,
    )  # fmt: skip
    for row, video, shown in zip(jpeg_sizes(reader)(batch), (6, 2), indices.tolist(), strict=True):
        sizes = [len(numbered_jpeg(video, frame)) for frame in shown]
        assert row.tolist() == sizes + [b - a for a, b in pairwise(sizes)]


@pytest.mark.parametrize(("kind", "every"), [("playback_rate", 2), ("rotation", 1)])
def test_an_audit_changes_the_frames_that_the_network_sees(kind: str, every: int) -> None:
    """Of the 32 frames that playback_rate reads, the network sees every second one."""
    task = task_of_kind(kind)
    batch = batch_of_task(task, (130, 40))
    seen = seen_part(task, batch)
    assert seen.frames.shape[1] == seen.indices.shape[1] == task.num_frames
    assert torch.equal(seen.frames, batch.frames[:, ::every])
    assert torch.equal(seen.indices, batch.indices[:, ::every])
    assert torch.equal(prepare_clips(seen), task.select_frames(prepare_clips(batch)))
    model = build_model(C3DConfig(width=0.05), task, crop=32).eval()
    with torch.no_grad():
        outputs, wanted = model.outputs_of(prepare_clips(seen)), model(prepare_clips(batch))
    assert all(torch.equal(outputs[name], wanted[name]) for name in wanted)


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
    right = 2 * (rows[:, 1] > 0).astype(np.int64)
    wrong = np.where(np.arange(200) % 5 == 0, IGNORED, right)
    scores = train_observer(rows, {"one": wrong}, {"one": 4}).scores(rows)["one"]
    assert scores.shape == (200, 4)  # classes that never occur have no probability
    assert (scores[:, [1, 3]] == 0).all()
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
    for position in range(100):  # half of the videos are all right, the others all wrong
        batch = batch_of([0, 1, 2, 3], [0, -1, 0, -1])
        answers = torch.eye(4) if position % 2 else torch.eye(4).roll(1, dims=1)
        videos[position] = task.count({"motion": answers}, batch)
    row = make_row(task, "network", "any", videos, "")
    assert (row.num_videos, row.scores["motion_accuracy"]) == (100, 0.5)
    low, high = row.intervals["motion_accuracy"]
    assert (low, high) == pytest.approx((0.4, 0.6), abs=0.012)  # 90 % are 0.42 to 0.58
    certain = make_row(task, "network", "any", {k: v for k, v in videos.items() if k % 2}, "")
    assert certain.intervals["motion_accuracy"] == (1, 1)


def audit_of(rows: tuple[AuditRow, ...]) -> Audit:
    return Audit(
        task="any", step=1, split=None, shards_fingerprint="", num_videos=9, guesses={"motion_accuracy": 0.25},
        rows=rows, frames_needed={"speed 1": {2: 0.4, 16: 0.6}, "warp": {2: 0.97, 16: 1.0}},
    )  # fmt: skip


def row_of(group: str, score: float) -> AuditRow:
    scores = {"motion_accuracy": score, "speed_best_constant": 0.5}
    intervals = {name: (value - 0.1, value + 0.2) for name, value in scores.items()}
    return AuditRow(group=group, name=f"a {group}", num_videos=9, scores=scores, intervals=intervals, reading="so")


def test_the_table_shows_scores_intervals_guessing_and_enough_frames() -> None:
    lines = audit_lines(audit_of((row_of("network", 0.7), row_of("observer", 0.4), row_of("videos", 0.6))))
    words = [line.split() for line in lines]
    assert "speed" not in words[2], "guesses have no column"
    assert words[3:] == [
        ["guessing", "0.25"],
        ["the", "network"],
        ["a", "network", "0.70", "(0.60-0.90)", "so"],
        ["observers", "without", "a", "network"],
        ["a", "observer", "0.40", "(0.30-0.60)", "so"],
        ["parts"],
        ["a", "videos", "0.60", "(0.50-0.80)", "so"],
        [],
        words[11],
        ["frames", "2", "16", "enough"],
        ["2x", "0.40", "0.60", "16"],
        ["warp", "0.97", "1.00", "2"],
        words[15],
    ]


def test_the_picture_has_a_column_for_each_score_and_the_seen_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr("stream_train.audit.pictures.save_figure", lambda figure, _: figures.append(figure))
    draw_audit(audit_of((row_of("network", 0.7), row_of("observer", 0.4))), Path("audit.png"))
    scores, seen = figures[0].axes
    assert scores.get_title() == "motion accuracy"
    places = [list(np.asarray(line.get_xdata(), dtype=float)) for line in scores.lines]
    assert [0.6, 0.9] in [pytest.approx(place) for place in places]
    assert [0.25, 0.25] in places, "guessing"
    assert [[float(x) for x in np.asarray(line.get_ydata())] for line in seen.lines[:2]] == [[0.4, 0.6], [0.97, 1.0]]
    assert list(np.asarray(seen.lines[2].get_ydata())) == [0.5, 0.5]
    assert [line.get_label() for line in seen.lines[:2]] == ["2x", "warp"]


def test_parts_are_the_videos_that_have_what_they_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 24 videos, 8 repeat frames, 9 have bars, 7 have another rate: too few for a line."""

    class Reader:
        def __init__(self, _: object) -> None: ...

        def entry(self, position: int) -> SimpleNamespace:
            return SimpleNamespace(key=f"v{position}", num_frames=30, fps=10.0 if position < 7 else 25.0)

        def read(self, position: int, frames: range) -> dict[int, bytes]:
            pictures = np.random.default_rng(position).integers(40, 255, (30, 12, 16, 3)).astype(np.uint8)
            if position < 8:
                pictures[4::5] = pictures[3::5]
            if position % 24 >= 15:
                pictures[:, :4] = 0
            jpegs = {frame: bytes(simplejpeg.encode_jpeg(pictures[frame], quality=95)) for frame in frames}
            return jpegs if position < 24 else jpegs | {3: b"no JPEG"}

    monkeypatch.setattr("stream_train.audit.parts.FrameReader", Reader)
    shard_set: Any = SimpleNamespace(geometry=(12, 16))
    counts = {position: {"hits": torch.tensor(position)} for position in range(24)}
    found = {name: part for name, part, _ in parts_of(shard_set, counts)}
    assert {name: sorted(part) for name, part in found.items()} == {
        "repeated frames": list(range(8)),
        "no repeated frames": list(range(8, 24)),
        "black bars": list(range(15, 24)),
        "no black bars": list(range(15)),
        "25 frames a second": list(range(7, 24)),
    }
    assert all(sums["hits"] == position for part in found.values() for position, sums in part.items())
    few = {position: counts[position] for position in range(8, 15)}
    assert not list(parts_of(shard_set, few))
    alike = {position: counts[position] for position in range(9, 24)}  # all without repeats, at one rate
    assert [name for name, *_ in parts_of(shard_set, alike)] == ["black bars"]
    with pytest.raises(WorkError, match="v24: frame 3 cannot be decoded"):
        list(parts_of(shard_set, {24: {"hits": torch.tensor(0)}}))


def test_an_audit_of_a_run(whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Observers learn from training videos; the untouched score is the one of a validation."""
    shards, splits = [[20, 130, 40, 66, 35], [70, 31, 5, 90], [125, 64, 45]], [["train1"], ["test1"], ["test1"]]
    data = write_dataset(tmp_path / "data", shards, splits=splits)
    learnt: list[int] = []

    def spy(rows: np.ndarray, *others: Any) -> TreesObserver:
        learnt.append(len(rows))
        return train_observer(rows, *others)

    monkeypatch.setattr("stream_train.audit.run.train_observer", spy)
    said: list[str] = []
    run = shutil.copytree(whole_run, tmp_path / "run")
    overrides = (f"shards={data}", "validation.split=test1", "validation.draws_per_video=3")
    with without_rendering():
        audit = audit_run(run, overrides, say=said.append, train_videos=4)
        figures = validate_run(run, overrides).figures
    assert learnt == [4 * 4, 4 * 4]
    rows = {row.name: row for row in audit.rows}
    assert (audit.task, audit.step, audit.num_videos) == ("transformations", 10, 7)
    assert {row.group for row in audit.rows} >= {"network", "observer"}
    assert rows["frame numbers"].scores["motion_accuracy"] > 0.85  # a video of 5 frames loops, and hides its numbers
    untouched = {name: value for name, value in figures.items() if not name.endswith("_batch_statistics")}
    assert rows["as in training"].scores == pytest.approx(untouched)
    by_batch = {f"{name}_batch_statistics": value for name, value in rows["batch statistics"].scores.items()}
    assert by_batch == pytest.approx({name: value for name, value in figures.items() if name not in untouched})
    assert all(low <= row.scores[name] <= high for row in audit.rows for name, (low, high) in row.intervals.items())
    assert audit.guesses["motion_accuracy"] == 0.25
    assert audit.guesses["speed_accuracy"] == figures["speed_best_from_length"]
    assert list(audit.frames_needed) == ["speed", "random", "periodic", "warp"]
    assert json.loads((run / AUDIT_NAME).read_text())["step"] == 10
    assert (run / AUDIT_PICTURE).is_file()
    text = "\n".join(audit_lines(audit))
    assert all(row.reading in text for row in audit.rows)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("transformations", "dense_prediction")])
def test_every_other_task_can_be_audited(kind: str, tmp_path: Path) -> None:
    """Videos that are too short for the task are left out; the numbers of a tuple's clips are seen together."""
    data = write_dataset(tmp_path / "data", [[130, 40, 5, 90, 140, 84, 66, 70]])
    task = {"kind": kind} | ({"decoded_pixels": 8} if kind == "playback_rate" else {})
    run_tiny(data, tmp_path / "run", epochs=1, task=task)
    with without_rendering():
        audit = audit_run(tmp_path / "run", ("validation.split=null",), say=lambda _: None, train_videos=6)
    least = task_of_kind(kind).min_frames
    assert audit.num_videos == sum(length >= least for length in (130, 40, 5, 90, 140, 84, 66, 70))
    scores = audit.rows[0].scores
    assert set(audit.guesses) == {name for name in scores if name.endswith(SCORE_ENDINGS)}
    if task_of_kind(kind).class_names():
        assert {"frame differences", "JPEG sizes"} <= {row.name for row in audit.rows}
        assert all(set(shares) == set(SEEN_FRAMES) for shares in audit.frames_needed.values())


def test_a_score_that_depends_on_other_videos_is_not_audited(small_dataset: Path, tmp_path: Path) -> None:
    run_tiny(
        small_dataset,
        tmp_path / "dpc",
        epochs=1,
        task={"kind": "dense_prediction", "num_blocks": 2, "num_predicted": 1},
    )
    with pytest.raises(UsageError, match="dense_prediction depends on the other videos"):
        audit_run(tmp_path / "dpc", ("validation.split=train1",), say=lambda _: None)
