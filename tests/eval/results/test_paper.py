"""The paper's numbers: all of them against the paper's text, and which of them a result is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from helpers_networks import CONFIGS, meta_backbone
from helpers_results import action_labels, pretraining_of, trained_at
from torch import nn

from eval.results.paper import GMACS, Reported, find_reported, paper_data_set
from eval.results.paper_tables import (
    FINETUNED_HMDB51,
    FINETUNED_UCF101,
    FROZEN_UCF101,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_STILL,
    PaperTable,
)
from eval.results.presets import OFFICIAL
from eval.results.rows import Metric, Row

BOTH = ("frozen", "finetune")
"""The paper does not say which of these variants it reports."""

# Copied from the paper's tables, column by column.
TABLE_1_UCF101 = "60.7 49.3 44.5 40.6 43.5 55.1 56.5 55.8 47.4 54.8 50.6 60.0 60.4 59.5 54.2 60.6"
TABLE_1_HMDB51 = "28.8 32.5 31.7 29.5 32.6 33.2 36.1 36.9 30.1 36.6 36.4 37.1 39.2 39.0 34.9 38.0"
TABLE_2_UCF101 = (
    "50.2 60.3 78.1 59.8 75.7 81.1 85.8 55.8 60.6 65.6 69.1 58.8 61.2 60.6 68.3 69.9 "
    "65.8 66.0 68.2 77.3 79.3 72.4 72.1 81.6"
)
TABLE_2_HMDB51 = (
    "18.1 32.5 - 23.8 35.7 48.8 56.9 25.4 27.3 28.4 34.5 32.6 33.4 28.3 38.4 39.6 "
    "33.7 37.1 34.5 47.5 49.8 30.9 35.0 46.4"
)
TABLE_4_COLUMNS = {
    "top1": "19.7 19.9 25.7 14.1 13.0 22.8 26.1",
    "top5": "28.5 28.7 36.2 30.3 28.1 38.5 48.5",
    "top10": "33.5 34.0 42.2 40.0 37.5 46.7 59.1",
    "top20": "40.0 40.6 49.2 51.1 49.5 55.2 69.6",
    "top50": "49.4 51.6 59.5 66.5 65.0 69.1 82.8",
}


def column(table: PaperTable, question: Any, metric: str = "accuracy") -> str:
    """A column as the paper prints it, in percent."""
    found = [row.results.get(question, {}).get(metric) for row in table.rows]
    return " ".join("-" if value is None else f"{100 * value:.1f}" for value in found)


def found(evaluation: str, variant: str, pretraining: dict[str, Any] | None, **changes: Any) -> Reported:
    """What stands beside a row with these fields."""
    name = str(changes.get("data_set", "ucf101"))
    described: dict[str, Any] = {
        "evaluation": evaluation,
        "variant": variant,
        "network": "pretrained",
        "architecture": "c3d",
        "pretraining": pretraining,
        "weights": "some",
        "data_set": name,
        "fingerprint": "test1",
        "train_split": "train1",
        "test_split": "test1",
        "seed": 0,
        "num_videos": 8,
        "num_groups": 4,
        "num_left_out": 0,
        "num_classes": 51 if name == "hmdb51" else 101,
        "chance": {},
        "metrics": {"accuracy": Metric(value=0.5, low=0.4, high=0.6)},
        "reported": {},
        "config": {},
    }
    return find_reported(Row(**described | changes))


def look_up(evaluation: str, variant: str, pretraining: dict[str, Any] | None, **changes: Any) -> Mapping[str, float]:
    return found(evaluation, variant, pretraining, **changes).numbers


def test_tables_1_and_2_are_the_paper_s() -> None:
    assert column(TABLE_1, FROZEN_UCF101) == TABLE_1_UCF101
    assert column(TABLE_1, FINETUNED_HMDB51) == TABLE_1_HMDB51
    assert column(TABLE_2, FINETUNED_UCF101) == TABLE_2_UCF101
    assert column(TABLE_2, FINETUNED_HMDB51) == TABLE_2_HMDB51
    subsets = {(frozenset(row.motions), row.speed_loss) for row in TABLE_1.rows if row.kind == "ours"}
    assert len(subsets) == len(TABLE_1.rows) - 1 == 15
    ours = [(row.architecture, row.trained_on) for row in TABLE_2.rows if row.kind == "ours"]
    c3d, r3d = [("c3d", "ucf101"), ("c3d", "kinetics")], [("r3d18", "ucf101"), ("r3d18", "kinetics")]
    assert ours == [*c3d, *r3d, ("r2plus1d18", "ucf101")]
    assert [row.method for row in TABLE_2.rows if row.kind == "reimplemented"] == ["Shuffle&Learn", "3D-RotNet"]


def test_tables_3_and_4_and_the_still_videos_are_the_paper_s() -> None:
    numbers = [[value for result in row.results.values() for value in result.values()] for row in TABLE_3.rows]
    assert numbers == [[0.367, 1.85, 0.666], [0.28, 2.84, 0.578], [0.39, 1.89, 0.698], [0.424, 1.61, 0.769]]
    (retrieval,) = {question for row in TABLE_4.rows for question in row.results}
    assert {metric: column(TABLE_4, retrieval, metric) for metric in TABLE_4_COLUMNS} == TABLE_4_COLUMNS
    still = [[value for result in row.results.values() for value in result.values()] for row in TABLE_STILL.rows]
    assert still == [[0.185, 0.565], [0.01, 0.581]]


@pytest.mark.parametrize(
    ("motions", "speed_loss", "ucf101", "hmdb51"),
    [
        (["random", "warp"], True, 0.604, 0.392),
        (["warp", "random"], True, 0.604, 0.392),
        (["periodic"], False, 0.406, 0.295),
        ([], True, 0.493, 0.325),
        (["random", "periodic", "warp"], False, 0.542, 0.349),
    ],
)
def test_an_ablation_is_held_against_table_1(
    motions: list[str], speed_loss: bool, ucf101: float, hmdb51: float
) -> None:
    network = pretraining_of(epochs=50, motions=motions, speed_loss=speed_loss)
    assert look_up("probe", "fc-all", network) == {"accuracy": ucf101}
    assert look_up("transfer", "finetune", network, data_set="hmdb51") == {"accuracy": hmdb51}
    assert look_up("transfer", "finetune", network) == {}  # not in the paper


def test_the_epochs_of_pretraining_decide_between_tables_1_and_2() -> None:
    for epochs, expected in ((50, 0.38), (30, 0.38), (51, 0.384), (100, 0.384), (None, 0.384)):
        network = pretraining_of(epochs=epochs)
        assert look_up("transfer", "finetune", network, data_set="hmdb51") == {"accuracy": expected}
        assert look_up("transfer", "finetune", network) == {"accuracy": 0.683}
        assert look_up("probe", "fc-all", network) == {"accuracy": 0.606}
    kinetics = pretraining_of("kinetics600", epochs=15)
    assert look_up("transfer", "finetune", kinetics, data_set="hmdb51") == {"accuracy": 0.396}


@pytest.mark.parametrize(
    ("architecture", "trained_on", "ucf101", "hmdb51"),
    [
        ("c3d", "kinetics600", 0.699, 0.396),
        ("r3d18", "ucf101", 0.773, 0.475),
        ("r3d18", "kinetics600", 0.793, 0.498),
        ("r2plus1d18", "ucf101", 0.816, 0.464),
    ],
)
def test_networks_of_table_2(architecture: str, trained_on: str, ucf101: float, hmdb51: float) -> None:
    network = pretraining_of(trained_on)
    for data_set, expected in (("ucf101", ucf101), ("hmdb51", hmdb51)):
        numbers = look_up("transfer", "finetune", network, architecture=architecture, data_set=data_set)
        assert numbers == {"accuracy": expected}


@pytest.mark.parametrize(
    ("evaluation", "variant", "ours", "labels"),
    [
        *(("sync", v, {"accuracy": 0.424, "mae": 1.61}, {"accuracy": 0.367, "mae": 1.85}) for v in BOTH),
        *(("before_after", v, {"accuracy": 0.769}, {"accuracy": 0.666}) for v in BOTH),
        ("still", "still", {"accuracy": 0.01}, {"accuracy": 0.185}),
        ("still", "moving", {"accuracy": 0.581}, {"accuracy": 0.565}),
        ("probe", "fc-all", {"accuracy": 0.606}, {"accuracy": 0.607}),
    ],
)
def test_tasks_about_time_still_videos_and_action_labels(
    evaluation: str, variant: str, ours: dict[str, float], labels: dict[str, float]
) -> None:
    assert look_up(evaluation, variant, pretraining_of()) == ours
    assert look_up(evaluation, variant, action_labels()) == labels


def test_retrieval_is_reported_for_one_network_only() -> None:
    kinetics = pretraining_of("kinetics600")
    numbers = look_up("retrieval", "pooled", kinetics, architecture="r3d18")
    assert numbers == {"top1": 0.261, "top5": 0.485, "top10": 0.591, "top20": 0.696, "top50": 0.828}
    assert look_up("retrieval", "pooled", kinetics) == {}
    assert look_up("retrieval", "pooled", pretraining_of(), architecture="r3d18") == {}


def test_what_the_paper_does_not_report() -> None:
    network = pretraining_of()
    for evaluation, variant in (("transfer", "frozen"), ("probe", "linear-all"), ("probe", "fc-10pct")):
        assert look_up(evaluation, variant, network) == {}
    assert look_up("retrieval", "pooled", None, architecture="none") == {}
    assert look_up("probe", "fc-all", network, architecture="r3d18") == {}
    assert look_up("probe", "fc-all", pretraining_of("kinetics600")) == {}
    assert look_up("transfer", "finetune", network, data_set="mine") == {}
    others = (
        {"question": "torchvision", "data_set": "kinetics400"},
        {"question": "transformations", "data_set": "ucf101"},
    )
    for other in (None, pretraining_of("mine"), *others):
        assert look_up("transfer", "finetune", other) == {}


def test_beside_other_data_no_number_of_the_paper_stands() -> None:
    for other in ("demo", "ucf101-8", "mine"):
        assert look_up("transfer", "finetune", pretraining_of(), data_set=other) == {}
        assert look_up("transfer", "finetune", pretraining_of(other)) == {}
    assert look_up("transfer", "finetune", pretraining_of("kinetics400")) == {}
    assert look_up("transfer", "finetune", pretraining_of(), num_classes=8) == {}, "eight classes under UCF101's name"
    names = ("ucf101", "UCF-101", "hmdb51", "Kinetics-600", "ucf101_8", "demo", "kinetics700", "mine", "")
    assert [paper_data_set(name) for name in names] == ["ucf101", "ucf101", "hmdb51", "kinetics", *[None] * 5]
    assert (paper_data_set("ucf101", 101), paper_data_set("ucf101", 8)) == ("ucf101", None)


FITTING = {"network_config": {"kind": "c3d", "width": 1.0}, "config": trained_at(5e-5)}


@pytest.mark.parametrize(
    ("pretraining", "changes", "differences"),
    [
        ({}, {}, ()),
        ({"changes": OFFICIAL[0]}, {}, ()),
        ({"epochs": 60}, {}, ("60 epochs of pre-training (paper 100)",)),
        ({"split": None}, {}, ("pre-trained on the split all (paper train1)",)),
        ({"changes": {"data.crop": 56}}, {}, ("pre-trained with data.crop = 56",)),
        ({}, {"config": trained_at(5e-5, epochs=20)}, ("20 epochs of training (paper 75)",)),
        ({}, {"config": trained_at(3e-4)}, ("learning rate 3e-4 (paper 5e-5)",)),
        ({}, {"config": trained_at(5e-5, crop=56)}, ("crops of 56 pixels (paper 112)",)),
        ({}, {"network_config": {"kind": "c3d", "width": 0.25}}, ("width 0.25 (paper 1)",)),
    ],
)
def test_what_is_done_differently_is_named(
    pretraining: dict[str, Any], changes: dict[str, Any], differences: tuple[str, ...]
) -> None:
    reported = found("transfer", "finetune", pretraining_of(**pretraining), **FITTING | changes)
    assert reported.numbers == {"accuracy": 0.683}
    assert reported.differences == differences


def other_task(kind: str, data_set: str = "ucf101", **changes: Any) -> dict[str, Any]:
    """A network of another pretext task, trained by our common recipe."""
    question = {"question": f"pretext_task_{kind}", "data_set": data_set, "epochs": 100, "step": 1000, "changes": {}}
    return question | {"split": "train" if data_set.startswith("kinetics") else "train1"} | changes


@pytest.mark.parametrize(
    ("kind", "architecture", "trained_on", "ucf101", "hmdb51"),
    [
        ("shuffle_learn", "c3d", "ucf101", 0.558, 0.254),
        ("rotation", "c3d", "ucf101", 0.606, 0.273),
        ("clip_order", "c3d", "ucf101", 0.656, 0.284),
        ("playback_rate", "c3d", "ucf101", 0.691, 0.345),
        ("flow_statistics", "c3d", "ucf101", 0.588, 0.326),
        ("flow_statistics", "c3d", "kinetics600", 0.612, 0.334),
        ("space_time_puzzle", "c3d", "kinetics600", 0.606, 0.283),
        ("rotation", "r3d18", "kinetics600", 0.66, 0.371),
        ("dense_prediction", "r3d18", "kinetics600", 0.682, 0.345),
        ("clip_order", "r2plus1d18", "ucf101", 0.724, 0.309),
        ("playback_rate", "r2plus1d18", "ucf101", 0.721, 0.35),
    ],
)
def test_other_pretext_tasks_are_held_against_their_lines(
    kind: str, architecture: str, trained_on: str, ucf101: float, hmdb51: float
) -> None:
    for data_set, number in (("ucf101", ucf101), ("hmdb51", hmdb51)):
        options: dict[str, Any] = {"architecture": architecture, "data_set": data_set, "config": trained_at(5e-5)}
        options["network_config"] = {"kind": architecture, "width": 1.0}
        reported = found("transfer", "finetune", other_task(kind, trained_on), **options)
        assert reported.numbers == {"accuracy": number}
        assert len(reported.differences) == 1, "whose number it is, always; nothing else differs"
        assert reported.differences[0].startswith("our version of the task (p")
        assert ("Kinetics-400" in reported.differences[0]) == (trained_on != "ucf101")


def test_other_pretext_tasks_in_table_3() -> None:
    for kind, sync, order in (
        ("rotation", {"accuracy": 0.28, "mae": 2.84}, 0.578),
        ("shuffle_learn", {"accuracy": 0.39, "mae": 1.89}, 0.698),
    ):
        assert look_up("sync", "frozen", other_task(kind)) == sync
        assert look_up("before_after", "finetune", other_task(kind)) == {"accuracy": order}
    assert look_up("sync", "frozen", other_task("clip_order")) == {}


def test_other_pretext_tasks_without_a_line_of_such_a_network() -> None:
    """Published for AlexNet, VGG or S3D-G alone, on other data, or not in the paper."""
    for kind in ("odd_one_out", "arrow_of_time", "order_prediction", "speednet", "ranking", "of another version"):
        assert look_up("transfer", "finetune", other_task(kind)) == {}
    assert look_up("transfer", "finetune", other_task("rotation", "kinetics600")) == {}
    assert look_up("transfer", "finetune", other_task("rotation", "ucf101-8")) == {}
    assert look_up("transfer", "finetune", other_task("space_time_puzzle")) == {}
    assert look_up("probe", "fc-all", other_task("rotation")) == {}


def test_what_another_pretext_task_does_differently_is_named() -> None:
    network = other_task("shuffle_learn", changes={"task.variant": "triplet"}, split=None)
    options: dict[str, Any] = {"network_config": {"kind": "c3d", "width": 0.25}, "config": trained_at(5e-5, crop=56)}
    reported = found("transfer", "finetune", network, **options)
    assert reported.differences == (
        "our version of the task (paper: the authors' version, without details)",
        "width 0.25 (paper 1)",
        "pre-trained on the split all (paper train1)",
        "pre-trained with task.variant = triplet",
        "crops of 56 pixels (paper 112)",
    )
    (not_ours,) = found("transfer", "finetune", other_task("playback_rate"), config=trained_at(5e-5)).differences
    assert "another C3D, fine-tuned with SGD on consecutive frames, tested on 10 clips" in not_ours


def test_the_multiply_adds_of_both_variants() -> None:
    """Counted layer by layer: of each output value of a convolution, the inputs that it is a sum of."""
    counted: dict[str, int] = {}

    def count(layer: nn.Module, _: object, out: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv3d)
        counted[name] += out.numel() * layer.weight[0].numel()

    for name in ("r3d18", "r3d18-official", "r2plus1d18", "r2plus1d18-official"):
        counted[name] = 0
        backbone = meta_backbone(CONFIGS[name], crop=112, num_frames=16)
        for layer in backbone.modules():
            if isinstance(layer, nn.Conv3d):
                layer.register_forward_hook(count)
        backbone.conv_features(torch.empty((1, 3, 16, 112, 112), device="meta"))
    assert {
        kind: {
            "torchvision": round(counted[kind] / 1e9, 1),
            "official": round(counted[f"{kind}-official"] / 1e9, 1),
        }
        for kind in ("r3d18", "r2plus1d18")
    } == GMACS


def test_a_network_of_torchvision_s_shape_is_named_beside_the_authors_number() -> None:
    network = pretraining_of("kinetics600", 15, split="train")
    shared: dict[str, Any] = {"architecture": "r3d18", "config": trained_at(5e-5, epochs=150)}
    for variant, differences in (
        ("official", ()),
        ("torchvision", ("torchvision's network, 40.7 GMAC a clip (paper 8.1)",)),
    ):
        options = {"kind": "r3d18", "variant": variant, "width": 1.0}
        reported = found("transfer", "finetune", network, network_config=options, **shared)
        assert (reported.numbers, reported.differences) == ({"accuracy": 0.793}, differences)
    unknown = found("transfer", "finetune", network, **shared)
    assert unknown.differences == ("variant of the network not recorded",), "rows of earlier versions"
