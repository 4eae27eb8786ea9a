"""Accuracy over labels: which rows become which points, and that data sets stay apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers_eval import write_eval_dataset
from helpers_results import write_result

from eval.judging.samples import open_samples
from eval.pictures.charts import LabelCurve
from eval.pictures.label_curves import draw_label_curves


def test_points_are_of_one_data_set_by_videos_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 training videos of two classes: 100 % are 8 a class, 50 % are 4; another data set has other numbers."""
    train = open_samples(write_eval_dataset(tmp_path / "shards"), "train1")
    assert len(train) == 16
    rights = {"ucf101": ([1, 1, 1, 0], [1, 0, 0, 0]), "hmdb51": ([0, 0, 0, 1], [0, 0, 0, 0])}
    for data_set, (all_right, half_right) in rights.items():
        for variant, labels, right in (("knn-all", "100%", all_right), ("knn-50pct", "50%", half_right)):
            write_result(
                tmp_path / "out" / data_set, "probe", variant, right, data_set=data_set, config={"labels": labels}
            )
    (tmp_path / "out" / "probe").mkdir()
    drawn: list[LabelCurve] = []

    def figure(curves: Sequence[LabelCurve], path: Path, **_: Any) -> None:
        drawn.extend(curves)
        path.touch()

    monkeypatch.setattr("eval.pictures.label_curves.low_label_figure", figure)
    for data_set, values in (("ucf101", {4: 0.25, 8: 0.75}), ("hmdb51", {4: 0.0, 8: 0.25})):
        drawn.clear()
        path = draw_label_curves(tmp_path / "out", train, data_set)
        assert path == tmp_path / "out" / "probe" / f"low_labels-{data_set}.png"
        (curve,) = drawn
        assert (curve.probe, curve.network) == ("knn", "pretrained")
        assert {videos: metric.value for videos, metric in curve.metrics.items()} == values
    assert draw_label_curves(tmp_path / "out", train, "another") is None
