"""Result rows: the same values when read again, the same bytes when written again, and damage named."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_results import pretraining_of, write_result

from eval.results.rows import (
    ROW_NAME,
    Metric,
    Row,
    VideoScores,
    find_rows,
    group_of_key,
    read_row,
    read_scores,
    write_row,
)
from shardify.errors import UsageError, WorkError

KEYS = ("Punch__v_Punch_g03_c02", "Punch__v_Punch_g03_c04", "PushUps__v_PushUps_g03_c01", "mine, not UCF101's")


def scores() -> VideoScores:
    return VideoScores(
        keys=KEYS,
        groups=tuple(map(group_of_key, KEYS)),
        labels=np.array([6, 6, 7, -1]),
        predicted=np.array([6, 7, 7, 0]),
        values={"accuracy": np.array([1.0, 0.0, 1.0, 0.0]), "mae": np.array([0.1, 2.0, 1 / 3, 0.0])},
    )


def row() -> Row:
    return Row(
        evaluation="sync",
        variant="frozen",
        network="pretrained",
        architecture="c3d",
        pretraining={"question": "transformations", "motions": ["random"], "speed_loss": True, "epochs": 50},
        weights="ab" * 32,
        data_set="ucf101",
        fingerprint="cd" * 32,
        train_split="train1",
        test_split=None,
        seed=3,
        num_videos=4,
        num_groups=3,
        num_left_out=1,
        num_classes=13,
        chance={"accuracy": 1 / 13},
        metrics={
            "accuracy": Metric(value=0.5, low=0.1, high=0.9),
            "mae": Metric(value=0.6, low=math.nan, high=math.nan),
        },
        reported={"accuracy": 0.424, "mae": 1.61},
        config={"epochs": 50, "crop": None, "nested": {"rates": [1e-3, 0.1]}},
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_row(tmp_path / "sync" / "frozen", row(), scores())
    read = read_row(tmp_path / "sync" / "frozen")
    assert not read.metrics["mae"].has_interval
    assert read.metrics["accuracy"].has_interval
    assert repr(read) == repr(row())  # NaN is not equal to itself
    again = read_scores(tmp_path / "sync" / "frozen")
    assert (again.keys, again.groups) == (KEYS, scores().groups)
    assert again.labels.tolist() == [6, 6, 7, -1]
    assert again.predicted is not None
    assert again.predicted.tolist() == [6, 7, 7, 0]
    assert {name: values.tolist() for name, values in again.values.items()} == {
        "accuracy": [1.0, 0.0, 1.0, 0.0],
        "mae": [0.1, 2.0, 1 / 3, 0.0],
    }


def test_a_question_that_names_no_class_has_no_predictions(tmp_path: Path) -> None:
    write_row(tmp_path, row(), dataclasses.replace(scores(), predicted=None))
    assert read_scores(tmp_path).predicted is None
    last = (tmp_path / "videos.csv").read_text().splitlines()[4]
    assert last == '"mine, not UCF101\'s","mine, not UCF101\'s",-1,,0.0,0.0'


def test_equal_results_are_equal_bytes_and_plain_json(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_row(tmp_path / name, row(), scores())
    for name in ("row.json", "videos.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    values = json.loads((tmp_path / "a" / "row.json").read_text(), parse_constant=pytest.fail)
    assert values["metrics"]["mae"] == {"value": 0.6, "low": None, "high": None}
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["row.json", "videos.csv"]


def test_a_kill_between_the_files_leaves_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_row(tmp_path, row(), scores())
    monkeypatch.setattr("eval.results.rows.row_values", lambda _: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception, match="killed"):
        write_row(tmp_path, row(), scores())
    assert find_rows(tmp_path) == []
    with pytest.raises(WorkError, match="did not finish; run it again"):
        read_row(tmp_path)


def test_a_row_that_does_not_fit_its_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the row has \(4, 4\) videos and groups, but there are \(4, 3\)"):
        write_row(tmp_path, dataclasses.replace(row(), num_groups=4), scores())
    other = {"accuracy": row().metrics["accuracy"]}
    with pytest.raises(ValueError, match="the row has the metrics"):
        write_row(tmp_path, dataclasses.replace(row(), metrics=other), scores())
    assert not list(tmp_path.iterdir())


def test_rows_are_found_in_order(tmp_path: Path) -> None:
    for name in ("b/seed0", "a/seed1", "a/seed0"):
        write_row(tmp_path / name, row(), scores())
    (tmp_path / "c").mkdir()
    assert find_rows(tmp_path) == [tmp_path / "a/seed0", tmp_path / "a/seed1", tmp_path / "b/seed0"]
    assert find_rows(tmp_path / "a/seed0") == [tmp_path / "a/seed0"]
    with pytest.raises(UsageError, match="nowhere does not exist"):
        find_rows(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is not a folder"):
        find_rows(tmp_path / "a/seed0/row.json")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"seed": 3', '"seed": "3"', "seed: Input should be a valid integer"),
        ('"seed": 3', '"sed": 3', "seed: Field required; sed: Unexpected keyword argument"),
        ('"value": 0.5', '"value": null', r"metrics\.accuracy\.value: Input should be a valid number"),
        ('"question"', '"answer"', "does not name its question"),
        ('"sync"', "sync", "Invalid JSON"),
    ],
)
def test_damaged_rows_are_named(tmp_path: Path, old: str, new: str, reason: str) -> None:
    write_row(tmp_path, row(), scores())
    text = (tmp_path / "row.json").read_text()
    assert old in text
    (tmp_path / "row.json").write_text(text.replace(old, new))
    with pytest.raises(WorkError, match=rf"row\.json is damaged or not a result row \(.*{reason}") as caught:
        read_row(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("key,group", "name,group", "the columns are"),
        ("6,7,0.0", "6,0.0", "line 3 has 5 columns, the first has 6"),
        ("6,7,0.0", "6,,0.0", "invalid literal"),
        ("6,7,0.0", "6,7,nan", "accuracy of Punch__v_Punch_g03_c04 is not a finite number"),
    ],
)
def test_damaged_scores_are_named(tmp_path: Path, old: str, new: str, reason: str) -> None:
    write_row(tmp_path, row(), scores())
    text = (tmp_path / "videos.csv").read_text()
    assert old in text
    (tmp_path / "videos.csv").write_text(text.replace(old, new))
    with pytest.raises(WorkError, match=rf"videos\.csv is damaged.*{reason}"):
        read_scores(tmp_path)
    (tmp_path / "videos.csv").write_text("")
    with pytest.raises(WorkError, match=r"videos\.csv is damaged"):
        read_scores(tmp_path)
    (tmp_path / "videos.csv").unlink()
    with pytest.raises(WorkError, match=r"videos\.csv does not exist"):
        read_scores(tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"keys": ()}, "there is no test video"),
        ({"values": {}}, "there is no metric"),
        ({"groups": ("a",)}, "groups has 1 entries, but there are 4 videos"),
        ({"labels": np.zeros(3, dtype=np.int64)}, r"labels is int64 \(3,\), but int64 \(4,\) is needed"),
        ({"predicted": np.zeros(4, dtype=np.int32)}, r"predicted is int32 \(4,\)"),
        ({"values": {"mae": np.zeros((4, 1))}}, r"mae is float64 \(4, 1\)"),
        ({"values": {"mae": np.array([0, 0, np.inf, 0])}}, "mae of PushUps__v_PushUps_g03_c01 is not a finite number"),
    ],
)
def test_scores_check_themselves(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(scores(), **changes)


@pytest.mark.parametrize(
    ("key", "class_name", "group"),
    [
        ("Punch__v_Punch_g03_c02", "Punch", "Punch__v_Punch_g03"),
        ("v_Punch_g03_c02-0123456789", None, "v_Punch_g03"),
        ("circle__v_circle_g12_c01", "circle", "circle__v_circle_g12"),
        ("brush_hair__April_09_brush_hair_u_nm_np1_ba_goo_0", "brush_hair", "April_09"),
        ("April_09_brush_hair_u_nm_np1_ba_goo_0-0123456789", "brush_hair", "April_09"),
        ("wave__April_09_wave_wave_u_nm_np1_ba_goo_0", "wave", "April_09_wave"),
        ("April_09_brush_hair_u_nm_np1_ba_goo_0", "wave", "April_09_brush_hair_u_nm_np1_ba_goo_0"),
        ("April_09_brush_hair_u_nm_np1_ba_goo_0", None, "April_09_brush_hair_u_nm_np1_ba_goo_0"),
        ("my_wave_1", "wave", "my_wave_1"),
        ("v_Punch_g03_c02_copy", "Punch", "v_Punch_g03_c02_copy"),
        ("_g03_c02", None, "_g03_c02"),
    ],
)
def test_groups_follow_from_keys(key: str, class_name: str | None, group: str) -> None:
    assert group_of_key(key, class_name) == group


def test_hmdb51_s_test_videos_come_from_478_sources(data_dir: Path) -> None:
    """All 1,530 test videos of the official split 1 (section 6); the largest source gives 28."""
    groups: Counter[str] = Counter()
    for path in sorted((data_dir / "hmdb51" / "testTrainMulti_7030_splits").glob("*_test_split1.txt")):
        class_name = path.name.removesuffix("_test_split1.txt")
        names = [line.split()[0] for line in path.read_text().splitlines() if line.split()[1] == "2"]
        groups.update(group_of_key(f"{class_name}__{name.removesuffix('.avi')}", class_name) for name in names)
    assert (groups.total(), len(groups), max(groups.values())) == (1530, 478, 28)


def test_rows_of_earlier_versions_read(tmp_path: Path) -> None:
    """They lack `network_config`; only those of random weights told the network, in their config."""
    drawn: dict[str, Any] = {"network": {"kind": "c3d", "width": 0.25}}
    for name, pretraining, config in (("old", pretraining_of(), {}), ("drawn", None, drawn)):
        folder = write_result(
            tmp_path, "transfer", "finetune", [1, 0], network=name, pretraining=pretraining, config=config
        )
        values = json.loads((folder / ROW_NAME).read_text())
        del values["network_config"]
        (folder / ROW_NAME).write_text(json.dumps(values))
        assert read_row(folder).options == config.get("network", {})
