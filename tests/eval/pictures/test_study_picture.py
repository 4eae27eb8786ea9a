from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from eval.pictures import study
from eval.pictures.study import Panel, study_figure
from eval.results.rows import Metric


def test_each_row_stands_on_its_line_with_its_interval_beside_guessing_and_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(study, "save_figure", lambda figure, _: drawn.append(figure))
    metrics = {
        "all": Metric(value=0.6, low=0.5, high=0.7),
        "random": Metric(value=0.3, low=math.nan, high=math.nan),
    }
    panels = [Panel(title="probe", metrics=metrics, chance=0.125), Panel(title="sync", metrics={}, chance=None)]
    study_figure(panels, ["all", "speed", "random"], "all", tmp_path / "x.png", title="a study")
    probe, sync = drawn[0].axes
    assert [axes.get_title() for axes in (probe, sync)] == ["probe", "sync"]
    assert [label.get_text() for label in probe.get_yticklabels()] == ["all", "speed", "random"]
    lines = [tuple(np.asarray(line.get_data()).tolist()) for line in probe.lines]
    assert lines == [
        ([0.5, 0.7], [0, 0]),
        ([0.6], [0]),
        ([0.3], [2]),
        ([0.6, 0.6], [0, 1]),
        ([0.125, 0.125], [0, 1]),
    ]
    assert not sync.lines
    with pytest.raises(ValueError, match="results"):
        study_figure([], ["all"], "all", tmp_path / "x.png", title="a study")
