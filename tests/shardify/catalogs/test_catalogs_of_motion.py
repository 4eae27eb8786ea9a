"""Catalogs of Something-Something v2, Diving48 and FineGym: small imitations of their official files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers_catalogs import by_path, catalog_of, put

from shardify.catalogs.base import Catalog
from shardify.catalogs.reasons import SPARE
from shardify.errors import UsageError
from shardify.shards.format import NO_LABEL

SOMETHING: dict[str, Any] = {
    "labels.json": {"Putting something on a surface": "1", "Holding something next to something": "0"},
    "train.json": [
        {
            "id": "78687",
            "label": "holding potato next to bottle",
            "template": "Holding [something] next to [something]",
        },
        {"id": "42326", "template": "Putting [something] on a surface"},
    ],
    "validation.json": [{"id": "8675", "template": "Putting [something] on a surface"}],
    "test.json": [{"id": "1420"}],
}
DIVING: dict[str, Any] = {
    "Diving48_vocab.json": [["Back", "15som", "05Twis", "FREE"], ["Forward", "Dive", "NoTwis", "PIKE"]],
    "Diving48_V2_train.json": [{"vid_name": "a_00001", "label": 1, "start_frame": 0, "end_frame": 87}],
    "Diving48_V2_test.json": [{"vid_name": "b_00002", "label": 0, "start_frame": 0, "end_frame": 90}],
    "Diving48_train.json": [{"vid_name": "old_00001", "label": 1}],
}
GYM: dict[str, Any] = {
    "gym99_categories.txt": "Clabel: 0; set: 1; Glabel: 1; (VT) round, on\nClabel: 1; set: 1; Glabel: 6; (FX) leap\n",
    "gym99_train_element.txt": "old_E_1_2_A_3_4 0\n",
    "gym99_train_element_v1.1.txt": "x-Y_E_007305_007366_A_0037_0046 1\n",
    "gym99_val_element.txt": "x-Y_E_007305_007366_A_0050_0060 0\n",
}


def read(root: Path, kind: str, lists: dict[str, Any], videos: list[str], **options: Any) -> Catalog:
    texts = {name: text if isinstance(text, str) else json.dumps(text) for name, text in lists.items()}
    put(root / "lists", texts)
    put(root / "videos", videos)
    return catalog_of(kind=kind, videos=root / "videos", lists=root / "lists", **options)


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_something_something(tmp_path: Path, prefix: str) -> None:
    lists = {f"{prefix}{name}": values for name, values in SOMETHING.items()}
    videos = ["20bn/78687.webm", "42326.mp4", "1420.webm", "7.webm"]
    catalog = read(tmp_path, "something_something_v2", lists, videos)
    assert catalog.classes == ("Holding something next to something", "Putting something on a surface")
    assert catalog.splits == ("train", "val", "test")
    assert by_path(catalog) == {
        "20bn/78687.webm": ("20bn__78687", 0, ("train",)),
        "42326.mp4": ("42326", 1, ("train",)),
        "1420.webm": ("1420", NO_LABEL, ("test",)),
    }
    assert [(video.name, video.splits) for video in catalog.missing] == [("8675", ("val",))]
    assert (catalog.num_unlisted, catalog.notes) == (1, ())


def test_an_id_in_other_case_is_another_video(tmp_path: Path) -> None:
    catalog = read(tmp_path, "diving48", DIVING, ["A_00001.mp4", "b_00002.mp4"])
    assert list(by_path(catalog)) == ["b_00002.mp4"]
    assert [video.did_you_mean for video in catalog.missing] == ["A_00001.mp4"]


def test_diving48_reads_the_corrected_lists(tmp_path: Path) -> None:
    catalog = read(
        tmp_path, "diving48", DIVING, ["rgb/a_00001.mp4", "rgb/b_00002.mp4", "rgb/old_00001.mp4", "z/a_00001.mp4"]
    )
    assert (catalog.classes, catalog.splits) == (
        ("Back 15som 05Twis FREE", "Forward Dive NoTwis PIKE"),
        ("train", "test"),
    )
    assert {path: facts[1:] for path, facts in by_path(catalog).items()} == {
        "rgb/a_00001.mp4": (1, ("train",)),
        "rgb/b_00002.mp4": (0, ("test",)),
    }
    assert [part.example for part in catalog.left_out if part.reason == SPARE] == ["rgb/a_00001.mp4 or z/a_00001.mp4"]


def test_finegym_reads_the_newest_lists(tmp_path: Path) -> None:
    catalog = read(tmp_path, "finegym", GYM, ["x-Y_E_007305_007366_A_0037_0046.mp4", "old_E_1_2_A_3_4.mp4"])
    assert (catalog.classes, catalog.splits) == (("(VT) round, on", "(FX) leap"), ("train", "val"))
    assert [(video.label, video.splits) for video in catalog.videos] == [(1, ("train",))]
    assert [video.name for video in catalog.missing] == ["x-Y_E_007305_007366_A_0050_0060"]
    with pytest.raises(UsageError, match=r"gym288_categories.txt: No such file"):
        read(tmp_path, "finegym", {}, [], setting="gym288")


def test_members_of_archives_are_found_by_their_ids(tmp_path: Path) -> None:
    catalog = read(tmp_path, "diving48", DIVING, ["rgb.tar.gz"])
    assert catalog.archived is not None
    found = [catalog.archived.members(path, True) for path in ("rgb/rgb/a_00001.mp4", "rgb/old_00001.mp4")]
    assert [member and (member.name, member.listed.label) for member in found] == [("a_00001", 1), None]
    assert catalog.archived.members("rgb/a_00001.txt", False) is None


@pytest.mark.parametrize(
    ("kind", "lists", "message"),
    [
        ("something_something_v2", {"train.json": ""}, r"train.json: not valid JSON"),
        ("something_something_v2", {"train.json": {}}, r"train.json: it holds no JSON list"),
        ("something_something_v2", {"train.json": [{"template": "x"}]}, r"train.json entry 1: .* has no id"),
        (
            "something_something_v2",
            {"train.json": [{"id": "1", "template": "[x]"}]},
            r"template '\[x\]' is not in labels",
        ),
        ("something_something_v2", {"test.json": [{"id": "78687"}]}, r"entry 1: 78687 is listed twice, .* split train"),
        ("something_something_v2", {"labels.json": {"a": "1"}}, r"labels.json: the labels must count 0, 1, 2"),
        ("something_something_v2", {"labels.json": {"a": "x"}}, r"labels.json: it is not a map of names to numbers"),
        ("diving48", {"Diving48_vocab.json": [[]]}, r"vocab.json: it is not a list of lists of words"),
        ("diving48", {"Diving48_V2_test.json": [{"vid_name": "x", "label": 2}]}, r"entry 1: .* label from 0 to 1"),
        ("diving48", {"Diving48_V2_test.json": [3]}, r"entry 1: '3' does not hold vid_name"),
        (
            "finegym",
            {"gym99_categories.txt": "Clabel: 1; set: 1; Glabel: 6; x\n"},
            r"line 1: .* is not `Clabel: 0; set",
        ),
        ("finegym", {"gym99_val_element.txt": "x 2\n"}, r"val_element.txt line 1: 'x 2' is not `name label` .* to 1"),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, kind: str, lists: dict[str, Any], message: str) -> None:
    whole: dict[str, Any] = {"something_something_v2": SOMETHING, "diving48": DIVING, "finegym": GYM}[kind]
    with pytest.raises(UsageError, match=message):
        read(tmp_path, kind, {**whole, **lists}, [])
