"""Label budgets: stratified, nested, and drawn for the seed and the class alone."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.features.config import LabelBudget
from eval.features.labels import choose_labelled
from shardify.config import StrictModel, dump_config, load_config, validate_config
from shardify.errors import UsageError

KEYS = tuple(f"video_{i:03d}" for i in range(64))
LABELS = np.array([-1 if i % 16 == 15 else 0 if i < 30 else 1 + i % 3 for i in range(64)])
"""29 videos of class 0, 11, 10 and 10 of classes 1 to 3 (those from 30 on), 4 without a label."""
NUM_BY_CLASS = [29, 11, 10, 10]
GOLDEN: dict[int | str, list[int]] = {
    1: [2, 36, 40, 41],
    "10%": [2, 19, 24, 36, 40, 41],
}


def choose(budget: int | str, seed: int = 0) -> list[int]:
    return list(choose_labelled(LABELS, KEYS, LabelBudget.parse(budget), seed).tolist())


def by_class(positions: list[int]) -> list[int]:
    return list(np.bincount(LABELS[positions], minlength=4).tolist())


class Probe(StrictModel):
    budgets: tuple[LabelBudget, ...] = (LabelBudget(percent=Decimal(100)),)


# Budgets


@pytest.mark.parametrize(
    ("value", "written", "slug"),
    [
        (1, 1, "1"),
        (10, 10, "10"),
        ("100%", "100%", "all"),
        ("100.0%", "100%", "all"),
        ("10%", "10%", "10pct"),
        ("05%", "5%", "5pct"),
        ("12.50%", "12.5%", "12.5pct"),
        ("0.1%", "0.1%", "0.1pct"),
    ],
)
def test_budgets_are_read_written_and_named(value: int | str, written: int | str, slug: str) -> None:
    budget = LabelBudget.parse(value)
    assert (budget.value, budget.slug) == (written, slug)
    assert LabelBudget.parse(budget.value) == budget


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "0 videos per class are too few, the least is 1"),
        (-5, "-5 videos per class are too few"),
        ("0%", "0% is out of range, a percentage is above 0% and at most 100%"),
        ("101%", "101% is out of range"),
        *((value, "write a number of videos per class, such as 5, or a percentage") for value in ("5", "all", "-1%")),
        *((value, "write a number of videos per class") for value in ("%", "1e1%", "10 %", "٣%", 0.1, True, None, [5])),
    ],
)
def test_other_budgets_are_refused_in_one_line(value: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        validate_config(Probe, {"budgets": [1, value]}, origin="probe.yaml")
    assert str(caught.value).startswith(f"probe.yaml: budgets.1 = {value!r}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_budget_is_one_thing() -> None:
    with pytest.raises(ValueError, match="either a number of videos per class or a percentage"):
        LabelBudget()
    with pytest.raises(ValueError, match="either a number of videos per class or a percentage"):
        LabelBudget(videos_per_class=5, percent=Decimal(10))


def test_configs_hold_budgets_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "probe.yaml"
    path.write_text("budgets: [100%, 10%, 10, 5, 1]\n", encoding="utf-8")
    config = load_config(Probe, path)
    assert [budget.slug for budget in config.budgets] == ["all", "10pct", "10", "5", "1"]
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(Probe, path) == config
    assert config.model_dump(mode="json") == {"budgets": ["100%", "10%", 10, 5, 1]}
    assert load_config(Probe, path, ["budgets=[25%, 3]"]).budgets == (
        LabelBudget(percent=Decimal(25)),
        LabelBudget(videos_per_class=3),
    )
    assert Probe().budgets[0].slug == "all"


@pytest.mark.parametrize(
    ("value", "num_videos", "count"),
    [
        ("10%", 72, 7),  # 7.2
        ("10%", 77, 8),  # 7.7
        ("10%", 75, 8),  # 7.5: halves go up
        ("10%", 85, 9),  # 8.5: also up, not to the even number
        ("10%", 3, 1),  # 0.3: at least one
        ("100%", 72, 72),
        ("99.9%", 72, 72),
        ("0.7%", 500, 4),  # 3.5 exactly, where 0.7 / 100 * 500 in floating point is below
        (5, 72, 5),
        (5, 3, 3),  # all it has
        (5, 0, 0),
        ("10%", 0, 0),
    ],
)
def test_a_class_gives_this_many(value: int | str, num_videos: int, count: int) -> None:
    assert LabelBudget.parse(value).count_of(num_videos) == count


# Draws


def test_the_draw_is_frozen() -> None:
    """A change here changes which labels past results were allowed to use."""
    assert {budget: choose(budget, seed=7) for budget in GOLDEN} == GOLDEN


def test_every_class_gives_its_share() -> None:
    assert np.bincount(LABELS[LABELS >= 0]).tolist() == NUM_BY_CLASS
    assert by_class(choose(1)) == [1, 1, 1, 1]
    assert by_class(choose(5)) == [5, 5, 5, 5]
    assert by_class(choose(20)) == [20, 11, 10, 10]
    assert by_class(choose("10%")) == [3, 1, 1, 1]
    assert by_class(choose("50%")) == [15, 6, 5, 5]
    assert choose("100%") == choose(1000) == np.flatnonzero(LABELS >= 0).tolist()


@pytest.mark.parametrize("growing", [(1, 2, 5, 10, "100%"), ("10%", "25%", "50%", "100%"), (1, "25%", 10)])
def test_budgets_of_a_seed_are_nested(growing: tuple[int | str, ...]) -> None:
    for seed in range(20):
        chosen = [set(choose(budget, seed)) for budget in growing]
        assert all(small < large for small, large in pairwise(chosen))


def test_seeds_differ_and_every_video_has_its_chance() -> None:
    draws = [choose(1, seed) for seed in range(400)]
    assert len({tuple(draw) for draw in draws}) > 390
    counts = np.bincount([position for draw in draws for position in draw], minlength=64)
    assert not counts[LABELS < 0].any()
    # of 400 draws a video of class 0 is in 400 / 29 = 14 (sd 3.6), one of class 3 in 400 / 10 = 40 (sd 6)
    assert counts[LABELS == 0].min() > 0
    assert counts[LABELS == 0].max() < 30
    assert counts[LABELS == 3].min() > 20
    assert counts[LABELS == 3].max() < 64


def test_classes_of_one_size_draw_different_places() -> None:
    labels = np.repeat(np.arange(6), 50)
    keys = [f"{i:03d}" for i in range(300)]
    chosen = choose_labelled(labels, keys, LabelBudget(videos_per_class=1), 0)
    assert len(set((chosen % 50).tolist())) > 3


def test_the_order_of_the_split_changes_nothing() -> None:
    order = np.random.default_rng(0).permutation(64)
    shuffled = choose_labelled(LABELS[order], [KEYS[i] for i in order], LabelBudget(videos_per_class=3), 5)
    assert sorted(shuffled.tolist()) == shuffled.tolist()
    assert sorted(order[shuffled].tolist()) == choose(3, 5)


def test_other_classes_change_nothing() -> None:
    alone = np.where(LABELS == 2, LABELS, -1)
    kept = choose_labelled(alone, KEYS, LabelBudget(videos_per_class=4), 9).tolist()
    assert kept == [position for position in choose(4, 9) if LABELS[position] == 2]


def test_positions_are_increasing_int64() -> None:
    chosen = choose_labelled(LABELS, KEYS, LabelBudget(videos_per_class=5), 1)
    assert chosen.dtype == np.int64
    assert (np.diff(chosen) > 0).all()


@pytest.mark.parametrize("num_videos", [3, 0])
def test_a_split_without_labels_is_refused(num_videos: int) -> None:
    with pytest.raises(UsageError, match=f"none of the {num_videos} training videos has a label.* give a split"):
        choose_labelled(np.full(num_videos, -1), KEYS[:num_videos], LabelBudget(videos_per_class=1), 0)


def test_keys_must_be_unique_and_fit() -> None:
    for keys in (KEYS[:-1], (*KEYS[:-1], KEYS[0])):
        with pytest.raises(ValueError, match="64 labels need as many unique keys"):
            choose_labelled(LABELS, keys, LabelBudget(videos_per_class=1), 0)
