"""Before or after: pieces that never overlap, gaps and places that do not tell the order, what answers are worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_datasets import write_dataset
from helpers_eval import (
    NUM_CLASSES,
    SPLITS,
    Oracle,
    logits_of,
    telling_jpeg,
    tiny_eval_config,
    ucf_keys,
    write_eval_dataset,
)
from scipy.stats import chi2_contingency, chisquare
from torch import Tensor

from eval.evaluations.before_after import GapRule
from eval.evaluations.before_after_rows import (
    BeforeAfterTask,
    BeforeAfterTests,
    draw_pieces,
    evaluate_before_after,
    frames_of_piece,
)
from eval.evaluations.seam import seam_answers, seam_features
from eval.judging.fitting import Fit
from eval.judging.setting import Setting
from eval.results.rows import Row, read_scores
from stream_train.data.plans import ClipPlan
from stream_train.draws import SampleDraws
from stream_train.training.distributed import World

PIECE = {1: 8, 4: 29}
"""Stride -> frames from the first to the last of 8."""
lengths = pytest.mark.parametrize(("num_frames", "stride"), [(16, 1), (17, 1), (36, 1), (58, 4), (59, 4), (78, 4)])
SEAM = "eval.evaluations.before_after_rows.seam_answers"


@pytest.fixture(autouse=True)
def untrained_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """The baseline, which takes longer than all the rest, is trained only where it is what is tested."""
    monkeypatch.setattr(SEAM, lambda *_: lambda batch: batch.targets["before_after"])


def draws(number: int) -> SampleDraws:
    return SampleDraws(5, number % 3, number)


def pieces_of(plan: ClipPlan) -> tuple[list[int], list[int]]:
    """Each half of a clip."""
    frames = plan.indices.tolist()
    return frames[:8], frames[8:]


def gap_of(plan: ClipPlan) -> int:
    """Frames between the pieces."""
    one, other = sorted(pieces_of(plan))
    return other[0] - one[-1] - 1


# Pieces


@lengths
def test_two_pieces_in_both_orders(num_frames: int, stride: int) -> None:
    """Eight frames each; the first piece ends before the second begins; both orders are of the very same pieces."""
    for number in range(200):
        before, after = draw_pieces(num_frames, draws(number), stride)
        assert (before.targets["before_after"], after.targets["before_after"]) == (0, 1)
        first, second = pieces_of(before)
        assert pieces_of(after) == (second, first)
        for piece in (first, second):
            assert piece == list(range(piece[0], piece[0] + 8 * stride, stride))
        assert first[-1] < second[0]
        assert first[0] >= 0
        assert second[-1] < num_frames


@pytest.mark.parametrize("rule", ["spread", "near"])
@lengths
def test_gaps_and_places_cover_what_there_is(num_frames: int, stride: int, rule: GapRule) -> None:
    """All spare frames, or 1 to min(16, spare), none where there is nothing left; places up to both ends."""
    spare = num_frames - 2 * PIECE[stride]
    starts: dict[int, set[int]] = {}
    for number in range(4000):
        before, _ = draw_pieces(num_frames, draws(number), stride, rule)
        starts.setdefault(gap_of(before), set()).add(int(before.indices.min()))
    gaps = range(spare + 1) if rule == "spread" else (range(1, min(16, spare) + 1) or range(1))
    assert sorted(starts) == list(gaps)
    assert all(places == set(range(spare - gap + 1)) for gap, places in starts.items())


def jumps_of(rule: GapRule, num_frames: int, stride: int = 1) -> tuple[Counter[int], Counter[int]]:
    """How often the seam jumps by how many frames, in (first, second) and in (second, first)."""
    pairs = [draw_pieces(num_frames, draws(number), stride, rule) for number in range(4000)]
    before, after = (
        [abs(int(plan.indices[8] - plan.indices[7])) for plan in plans] for plans in zip(*pairs, strict=True)
    )
    return Counter(before), Counter(after)


@pytest.mark.parametrize(
    ("rule", "least", "most"), [("near", 0.92, 0.96), ("spread", 0.55, 0.63), ("matched", 0.5, 0.5)]
)
def test_what_the_size_of_the_jump_tells(rule: GapRule, least: float, most: float) -> None:
    """The best answer from the jump's size, for 120 frames (section 6); 4,000 draws flatter `spread`: 0.57 is exact."""
    before, after = jumps_of(rule, 120)
    right = sum(max(before[jump], after[jump]) for jump in before | after) / 8000
    assert least <= right <= most


@pytest.mark.parametrize(("num_frames", "stride"), [(30, 1), (31, 1), (60, 1), (114, 4), (130, 4)])
def test_matched_jumps_are_alike_in_both_orders(num_frames: int, stride: int) -> None:
    """The two clips of a draw jump equally far, by every possible number of frames; places up to both ends."""
    before, after = jumps_of("matched", num_frames, stride)
    assert before == after
    extra, spare = 14 * stride, num_frames - 2 * PIECE[stride] - 14 * stride
    assert sorted(before) == list(range(extra + 1, extra + spare + 2))
    assert BeforeAfterTask(stride=stride, rule="matched").min_frames == 2 * PIECE[stride] + extra
    for number in range(200):
        for plan in draw_pieces(num_frames, draws(number), stride, "matched"):
            one, other = sorted(pieces_of(plan))
            assert 0 <= one[0] < one[-1] < other[0] < other[-1] < num_frames
            assert plan.targets["before_after"] == (plan.indices[0] > plan.indices[8])


def test_a_video_of_16_frames_is_split_in_the_middle() -> None:
    before, after = draw_pieces(16, draws(0), 1)
    assert before.indices.tolist() == list(range(16))
    assert after.indices.tolist() == [*range(8, 16), *range(8)]


@pytest.mark.parametrize(("num_frames", "stride", "piece"), [(15, 1, 8), (1, 1, 8), (57, 4, 29)])
def test_shorter_videos_are_refused(num_frames: int, stride: int, piece: int) -> None:
    with pytest.raises(ValueError, match=f"{num_frames} frames do not hold two pieces of {piece}"):
        draw_pieces(num_frames, draws(0), stride)
    assert frames_of_piece(stride) == piece
    assert BeforeAfterTask(stride=stride).min_frames == 2 * piece


@pytest.mark.parametrize(("num_frames", "stride"), [(60, 1), (100, 4)])
def test_gaps_are_uniform_and_places_too(num_frames: int, stride: int) -> None:
    plans = [draw_pieces(num_frames, draws(number), stride)[0] for number in range(3200)]
    gaps = Counter(map(gap_of, plans))
    spare = num_frames - 2 * PIECE[stride]
    assert len(gaps) == spare + 1
    assert chisquare(list(gaps.values())).pvalue > 0.001
    shares = np.array([plan.indices.min() / (spare - gap_of(plan)) for plan in plans if gap_of(plan) < spare - 4])
    assert shares.mean() == pytest.approx(0.5, abs=0.02)


@lengths
def test_neither_gap_nor_place_tells_the_order(num_frames: int, stride: int) -> None:
    """As training draws them: the order is a fair coin, and independent of gap and of place."""
    task = BeforeAfterTask(stride=stride)
    plans = [plan for number in range(2000) for plan in task.draw_clips(num_frames, draws(number))]
    assert len(plans) == 2000  # one clip a video
    orders = Counter(plan.targets["before_after"] for plan in plans)
    assert sorted(orders) == [0, 1]
    assert chisquare(list(orders.values())).pvalue > 0.001
    for plan in plans:
        assert plan.targets["before_after"] == (plan.indices[0] > plan.indices[8])
    facts_of: tuple[Callable[[ClipPlan], int], ...] = (lambda p: gap_of(p) // 4, lambda p: int(p.indices.min()) // 4)
    for fact in facts_of:
        table = Counter((plan.targets["before_after"], fact(plan)) for plan in plans)
        facts = sorted({key[1] for key in table})
        if len(facts) > 1:
            assert chi2_contingency([[table[order, fact] for fact in facts] for order in (0, 1)]).pvalue > 0.001


def test_the_test_asks_for_several_pairs_in_both_orders() -> None:
    """Gaps and places are then exactly alike in both classes."""
    plans = BeforeAfterTests(stride=1, count=6)(60, draws(1))
    assert [plan.targets["before_after"] for plan in plans] == [0, 1] * 6
    for before, after in zip(plans[0::2], plans[1::2], strict=True):
        assert pieces_of(after) == pieces_of(before)[::-1]
    assert len({tuple(plan.indices.tolist()) for plan in plans}) == 12
    assert len({gap_of(plan) for plan in plans}) > 2
    starts = [int(plan.indices.min()) for plan in BeforeAfterTests(stride=1, count=6)(1000, draws(1))]
    assert max(starts) - min(starts) > 100  # each pair has a place of its own


# The baseline of the seam


def test_seam_features_are_what_they_say() -> None:
    """Frames of one grey value each: the change at the seam, the mean of the others, their ratio."""
    greys = torch.tensor([[10, 12, 14, 16, 46, 50, 54, 58], [7, 7, 7, 7, 9, 9, 9, 9], [3] * 8], dtype=torch.uint8)
    frames = greys[:, :, None, None, None].expand(3, 8, 4, 5, 3)
    found = seam_features(frames)
    assert found[0].tolist() == pytest.approx([30, 3, 10])
    assert found[1, :2].tolist() == [2, 0]
    assert found[1, 2] > 1e5
    assert found[2].tolist() == [0, 0, 0]


def test_the_seam_gives_near_pieces_away_and_matched_ones_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos whose brightness grows by the same step each frame: the seam's change is the jump's size."""
    long_ramp = write_dataset(
        tmp_path / "shards",
        ((70,) * 8,) * 3,
        splits=SPLITS,
        keys=ucf_keys(),
        num_classes=NUM_CLASSES,
        jpeg=telling_jpeg,
    )
    monkeypatch.setattr(SEAM, seam_answers)
    found = {}
    for rule in ("near", "matched"):
        row, [(_, plan)], _ = evaluated(monkeypatch, long_ramp, tmp_path / rule, order_of, before_after__gap=rule)
        assert (row.chance["seam_accuracy"], row.config["before_after"]["gap"]) == (0.5, rule)
        assert plan.details["gap"] == rule
        assert list(row.metrics) == ["accuracy", "seam_accuracy"]
        found[rule] = row.metrics["seam_accuracy"].value
    assert found["near"] > 0.85
    assert found["matched"] < 0.65


# From a config to a row


def evaluated(
    monkeypatch: pytest.MonkeyPatch,
    shards: Path,
    out: Path,
    answer: Callable[[Tensor], Tensor],
    **changes: Any,
) -> tuple[Row, list[tuple[Setting, Fit]], list[str]]:
    """The row of a model that answers by the frame numbers of a clip; what was to be fitted; what was said."""
    fits: list[tuple[Setting, Fit]] = []
    said: list[str] = []

    def fit(setting: Setting, plan: Fit) -> Oracle:
        fits.append((setting, plan))
        return Oracle("before_after", lambda frames, _: logits_of(answer(frames), 2)).eval()

    monkeypatch.setattr("eval.evaluations.temporal.fit_model", fit)
    (row,) = evaluate_before_after(tiny_eval_config(shards, out, **changes), World(), said.append)
    return row, fits, said


def order_of(frames: Tensor) -> Tensor:
    return (frames[:, 0] > frames[:, 8]).long()


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos whose pixels tell the frame; read-only."""
    return write_eval_dataset(tmp_path_factory.mktemp("telling"), jpeg=telling_jpeg)


@pytest.mark.parametrize("max_test_clips", [1, 3, 64])
def test_who_reads_the_order_off_the_pixels_is_always_right(
    telling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_test_clips: int
) -> None:
    changes = {"data__max_test_clips": max_test_clips}
    row, _, _ = evaluated(monkeypatch, telling, tmp_path / "1", order_of, **changes)
    assert row.metrics["accuracy"].value == 1
    row, _, _ = evaluated(monkeypatch, telling, tmp_path / "2", lambda frames: 1 - order_of(frames), **changes)
    assert row.metrics["accuracy"].value == 0


def test_the_gap_alone_is_worth_nothing(telling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is concluded from the distance between the pieces, and from where they lie."""
    for name, fact in (
        ("gap", lambda frames: (frames[:, 0] - frames[:, 8]).abs() % 2),
        ("place", lambda frames: frames.amin(dim=1) % 2),
    ):
        row, _, _ = evaluated(monkeypatch, telling, tmp_path / name, fact)
        assert row.metrics["accuracy"].value == 0.5


def test_short_videos_are_left_out_and_counted(telling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test split's videos have 17, 62, 5, 23, 45, 26, 21 and 16 frames; stride 4 needs 58, stride 1 needs 16."""
    row, [(setting, plan)], said = evaluated(monkeypatch, telling, tmp_path / "1", order_of)
    assert (row.num_videos, row.num_left_out) == (7, 1)
    assert read_scores(Path(setting.place("before_after", "finetune"))).keys == tuple(
        setting.test.keys[i] for i in (0, 1, 3, 4, 5, 6, 7)
    )
    assert plan.positions is not None
    assert plan.positions.tolist() == [i for i in range(16) if i != 12]
    assert any("1 training and 1 test videos have fewer than the 16 frames" in line for line in said)
    row, [(setting, plan)], said = evaluated(monkeypatch, telling, tmp_path / "4", order_of, before_after__stride=4)
    assert (row.num_videos, row.num_left_out, row.metrics["accuracy"].value) == (1, 7, 1)
    assert plan.positions is not None
    assert setting.train.num_frames[plan.positions].tolist() == [61, 70, 64]
    assert any("13 training and 7 test videos have fewer than the 58 frames" in line for line in said)


def test_what_is_trained(telling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All layers, with new fully connected ones; frozen if it is asked for."""
    row, [(setting, plan)], _ = evaluated(monkeypatch, telling, tmp_path / "1", order_of)
    assert (row.evaluation, row.variant) == ("before_after", "finetune")
    assert (plan.new_fully_connected, plan.frozen) == (True, False)
    assert plan.task == BeforeAfterTask(stride=1)
    assert plan.data == setting.data
    changes = {"before_after__frozen": True, "before_after__frozen_norm": "training"}
    row, [(_, plan)], _ = evaluated(monkeypatch, telling, tmp_path / "2", order_of, **changes)
    assert (row.variant, plan.frozen, plan.frozen_norm) == ("frozen", True, "training")
