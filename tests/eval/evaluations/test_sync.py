"""Synchronisation: pairs of clips at every offset, up to the ends of a video, and what is made of the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_eval import Oracle, logits_of, telling_jpeg, tiny_eval_config, write_eval_dataset
from scipy.stats import chisquare
from torch import Tensor

from eval.evaluations.sync_rows import (
    SyncTask,
    SyncTests,
    _one_view_a_pair,
    evaluate_sync,
    frames_needed_to_shift,
    pair_plans,
)
from eval.judging.fitting import Fit
from eval.judging.setting import Setting
from eval.results.rows import Row, read_scores
from stream_train.data.batch import Batch
from stream_train.data.clips import draw_views
from stream_train.data.config import DataConfig
from stream_train.data.loader import ClipStream
from stream_train.draws import SampleDraws
from stream_train.training.distributed import World

SHORTEST = {1: 22, 4: 85}
"""Stride -> frames: 15 steps of a clip and 6 of the largest offset, and the first frame."""
lengths = pytest.mark.parametrize(("num_frames", "stride"), [(22, 1), (23, 1), (40, 1), (85, 4), (86, 4), (99, 4)])


def draws(number: int) -> SampleDraws:
    return SampleDraws(0, number % 7, number)


# Pairs


@pytest.mark.parametrize("stride", [1, 4])
def test_the_shortest_video_holds_a_pair_at_every_offset(stride: int) -> None:
    assert frames_needed_to_shift(stride) == SHORTEST[stride] == SyncTask(stride=stride).min_frames
    last = SHORTEST[stride] - 1
    for offset, first, second in ((6, 0, 6 * stride), (-6, 6 * stride, 0)):  # there is one place only
        starts = {
            tuple(int(plan.indices[0]) for plan in pair_plans(last + 1, offset, draws(i), stride)) for i in range(9)
        }
        assert starts == {(first, second)}
        assert max(int(plan.indices.max()) for plan in pair_plans(last + 1, offset, draws(0), stride)) == last
    with pytest.raises(ValueError, match="empty range"):
        pair_plans(last, 6, draws(0), stride)


@lengths
def test_pairs_at_every_offset(num_frames: int, stride: int) -> None:
    """Inside the video, at any place that there is, up to both ends, and shifted by the offset that is asked for."""
    for offset in range(-6, 7):
        earliest = set()
        for number in range(400):
            first, second = pair_plans(num_frames, offset, draws(number), stride)
            assert (second.indices - first.indices).tolist() == [offset * stride] * 16
            assert np.diff(first.indices).tolist() == [stride] * 15
            assert first.targets["sync"] == second.targets["sync"] == offset + 6
            frames = np.concatenate((first.indices, second.indices))
            assert frames.min() >= 0
            assert frames.max() < num_frames
            earliest.add(int(frames.min()))
        room = num_frames - (15 + abs(offset)) * stride
        assert earliest == set(range(room))


def test_places_are_uniform() -> None:
    counts = Counter(int(pair_plans(35, -3, draws(number), 1)[1].indices[0]) for number in range(3000))
    assert sorted(counts) == list(range(17))  # 35 frames less the 19 of the pair, and one
    assert chisquare(list(counts.values())).pvalue > 0.001


@lengths
def test_training_draws_all_offsets_alike(num_frames: int, stride: int) -> None:
    """Whatever the length: no offset is rarer in short videos, which would give it away."""
    task = SyncTask(stride=stride)
    counts: Counter[int] = Counter()
    for number in range(1300):
        first, second = task.draw_clips(num_frames, draws(number))
        offset = int(second.indices[0] - first.indices[0])
        assert offset == (first.targets["sync"] - 6) * stride
        counts[int(first.targets["sync"])] += 1
    assert sorted(counts) == list(range(13))
    assert chisquare(list(counts.values())).pvalue > 0.001


def test_the_test_asks_for_each_offset_once() -> None:
    plans = SyncTests(stride=4)(99, draws(0))
    assert len(plans) == 26
    assert [plan.targets["sync"] for plan in plans] == [target for target in range(13) for _ in range(2)]
    shifts = [int(second.indices[0] - first.indices[0]) for first, second in zip(plans[0::2], plans[1::2], strict=True)]
    assert shifts == list(range(-24, 25, 4))
    earliest = [
        int(min(first.indices[0], second.indices[0])) for first, second in zip(plans[0::2], plans[1::2], strict=True)
    ]
    assert earliest != earliest[::-1]  # -d and d have equal room, but each a place of its own


# From a config to a row

Answer = Callable[[Tensor, Tensor], Tensor]


def evaluated(
    monkeypatch: pytest.MonkeyPatch, shards: Path, out: Path, answer: Answer, **changes: Any
) -> tuple[Row, list[tuple[Setting, Fit]], list[str]]:
    """The row of a model that answers by both clips' first frames; what was to be fitted; what was said."""
    fits: list[tuple[Setting, Fit]] = []
    said: list[str] = []

    def fit(setting: Setting, plan: Fit) -> Oracle:
        fits.append((setting, plan))

        def logits(frames: Tensor, _: Tensor) -> Tensor:
            return logits_of(answer(frames[0::2, 0], frames[1::2, 0]), 13)

        return Oracle("sync", logits).eval()

    monkeypatch.setattr("eval.evaluations.temporal.fit_model", fit)
    (row,) = evaluate_sync(tiny_eval_config(shards, out, **changes), World(), said.append)
    return row, fits, said


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos whose pixels tell the frame; read-only."""
    return write_eval_dataset(tmp_path_factory.mktemp("telling"), jpeg=telling_jpeg)


@pytest.mark.parametrize("max_test_clips", [1, 7, 64])
def test_who_reads_the_offset_off_the_pixels_is_always_right(
    telling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_test_clips: int
) -> None:
    """However the 26 clips of a video are cut into batches: clips meet their partners, answers their offsets."""
    row, _, _ = evaluated(
        monkeypatch, telling, tmp_path, lambda first, second: second - first + 6, data__max_test_clips=max_test_clips
    )
    assert (row.evaluation, row.variant) == ("sync", "frozen")
    assert {name: metric.value for name, metric in row.metrics.items()} == {"accuracy": 1, "mae": 0}


def test_errors_are_counted_in_steps(telling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At stride 2, who takes frames for steps says min(2 |d|, 6): off by 0, 1, 2, 3, 2, 1, 0 for |d| = 0 ... 6."""
    row, _, _ = evaluated(
        monkeypatch, telling, tmp_path, lambda first, second: (second - first).clamp(-6, 6) + 6, sync__stride=2
    )
    assert row.metrics["accuracy"].value == pytest.approx(3 / 13)
    assert row.metrics["mae"].value == pytest.approx(2 * (1 + 2 + 3 + 2 + 1) / 13)
    assert (row.num_videos, row.num_left_out) == (2, 6)  # 43 frames are needed; there are 62, 45 and fewer


def test_short_videos_are_left_out_and_counted(telling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test split's videos have 17, 62, 5, 23, 45, 26, 21 and 16 frames; 22 are needed."""
    row, [(setting, plan)], said = evaluated(monkeypatch, telling, tmp_path, lambda first, second: second - first + 6)
    assert (row.num_videos, row.num_left_out) == (4, 4)
    scores = read_scores(Path(setting.place("sync", "frozen")))
    assert scores.keys == tuple(setting.test.keys[i] for i in (1, 3, 4, 5))
    assert scores.labels.tolist() == [1, 1, 0, 1]
    assert plan.positions is not None
    trained = setting.train.num_frames[plan.positions].tolist()
    assert trained == [31, 61, 25, 40, 33, 22, 70, 24, 28, 36, 64, 30]
    (sentence,) = [line for line in said if "left out" in line]
    assert "4 training and 4 test videos have fewer than the 22 frames" in sentence


def test_what_is_trained(telling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 4: psi(v1) - psi(v2) into three new layers; frozen unless it is asked otherwise."""
    _, [(_, plan)], _ = evaluated(monkeypatch, telling, tmp_path / "1", lambda first, _: 0 * first, sync__stride=2)
    assert (plan.new_fully_connected, plan.frozen, plan.frozen_norm) == (True, True, "evaluation")
    maps = torch.randn(6, 2, 1, 3, 3)
    assert torch.equal(plan.task.merge_maps(maps), torch.stack([maps[i] - maps[i + 1] for i in (0, 2, 4)]))
    assert (plan.task, plan.details["stride"]) == (SyncTask(stride=2), 2)
    changes = {"sync__frozen": False, "sync__frozen_norm": "training"}
    row, [(_, plan)], _ = evaluated(monkeypatch, telling, tmp_path / "2", lambda first, _: 0 * first, **changes)
    assert (row.variant, plan.frozen, plan.frozen_norm) == ("finetune", False, "training")


def training_batches(shards: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[Batch]:
    """Batches as the sync classifier is trained on."""
    _, [(setting, plan)], _ = evaluated(monkeypatch, shards, out, lambda first, _: 0 * first, **changes)
    assert plan.data is not None
    stream = ClipStream(
        setting.train.shard_set, plan.data, plan.task.draw_clips, seed=1, num_batches=12, positions=plan.positions
    )
    return list(stream)


def test_pairs_share_pixels_where_they_share_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the real loader, on pictures in which every place differs: no crop of one clip is another's."""
    shards = write_eval_dataset(tmp_path / "numbered")
    corners, flips, targets = set(), set(), set()
    for batch in training_batches(shards, tmp_path / "out", monkeypatch):
        assert len(batch) == 8
        assert torch.equal(batch.flip[0::2], batch.flip[1::2])
        assert torch.equal(batch.sample[0::2], batch.sample[1::2])
        task_targets = SyncTask(stride=1).targets(batch)
        for pair, target in enumerate(task_targets.tolist()):
            first, second = batch.frames[2 * pair], batch.frames[2 * pair + 1]
            offset = target - 6
            shift = batch.indices[2 * pair + 1, 0] - batch.indices[2 * pair, 0]
            assert shift == offset
            overlap = 16 - abs(offset)
            early, late = (first, second) if offset >= 0 else (second, first)
            assert torch.equal(early[abs(offset) :], late[:overlap])
            corners.add(tuple(first[0, 0, 0].tolist()))
            targets.add(target)
        flips |= set(batch.flip.tolist())
    assert len(corners) > 20  # crops do vary from video to video
    assert flips == {True, False}
    assert len(targets) >= 12


def test_one_answer_and_one_loss_a_pair(tmp_path: Path, telling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss of ln 13 a pair where all logits are equal."""
    batch = training_batches(telling, tmp_path, monkeypatch)[0]
    task = SyncTask(stride=1)
    term = task.losses({"sync": torch.zeros(4, 13)}, batch)["sync"]
    assert term.total.item() == pytest.approx(4 * np.log(13))
    assert term.count.item() == 4
    right = logits_of(task.targets(batch), 13)
    counts = task.count({"sync": right}, batch)
    assert counts["sync"].sum() == counts["sync"].diagonal().sum() == 4
    assert task.compute_metrics(counts) == {"sync_accuracy": 1}
    assert task.guesses({}) == {"sync_accuracy": pytest.approx(1 / 13)}


@pytest.mark.parametrize("crop_scope", ["clip", "batch"])
def test_the_clips_of_a_pair_are_looked_at_alike(crop_scope: str) -> None:
    """Scale, crop and flip; and neither is recoloured, whatever the config says."""
    data = DataConfig.model_validate(
        {"crop": 24, "scale": (0.5, 1.0), "crop_scope": crop_scope, "flip_scope": "clip", "colour": "clip"}
    )
    seen = set()
    for number in range(20):
        first, second = draw_views(
            pair_plans(40, 3, draws(number), 1), draws(number), number, _one_view_a_pair(data), (48, 64)
        )
        assert first == second
        assert first.colour is None
        seen.add((first.size, first.top, first.left, first.flip))
    assert len(seen) > 10
