"""One picture of the probes' accuracy over the number of labelled videos.

In: the probes' rows below a folder. Out: a PNG with one panel per kind of probe and one line per network.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from eval.features.config import LabelBudget
from eval.judging.samples import Samples
from eval.pictures.charts import LabelCurve, low_label_figure
from eval.results.combined import combine
from eval.results.rows import Metric

PICTURE_NAME = "low_labels-{}.png"


def draw_label_curves(folder: Path, train: Samples, data_set: str) -> Path | None:
    """Draw all probes of a test data set, splits and seeds combined; returns the picture's path in `folder`/probe.

    `folder` is the `out` of a config. The training split converts percentages to numbers of videos. The result is None
    if no probe was measured with two budgets.
    """
    sizes = np.unique(train.labels, return_counts=True)[1].tolist()
    curves: dict[tuple[str, str], dict[float, Metric]] = {}
    chance = None
    for result in combine([folder]):
        row = result.row
        if (row.evaluation, row.data_set) == ("probe", data_set) and "labels" in row.config:
            budget = LabelBudget.parse(row.config["labels"])
            videos = float(np.mean([budget.count_of(size) for size in sizes]))
            kind = row.variant.removesuffix(f"-{budget.slug}")
            curves.setdefault((kind, row.network), {})[videos] = result.metrics["accuracy"]
            chance = row.chance["accuracy"]
    lines = [
        LabelCurve(probe=kind, network=network, metrics=dict(sorted(points.items())))
        for (kind, network), points in curves.items()
        if len(points) > 1
    ]
    if not lines:
        return None
    path = folder / "probe" / PICTURE_NAME.format(re.sub(r"[^\w.+-]", "_", data_set))
    low_label_figure(lines, path, title=f"{data_set}: accuracy with few labels", chance=chance)
    return path
