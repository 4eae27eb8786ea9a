"""Pictures of a run: the curves of metrics.jsonl and confusion matrices, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from shardify.storage import FolderStore
from stream_train.metrics import Record, figure_names

CURVES_NAME = "curves.png"
VALIDATION_PREFIX = "validation_"
SMOOTHING_SHARE = 0.03
"""Records averaged for the bold line, as a share of all of them."""


def draw_curves(records: Sequence[Record], path: Path, title: str, guesses: Mapping[str, float]) -> None:
    """Loss and accuracies over epochs.

    Args:
        records: lines of metrics.jsonl; held-out figures carry VALIDATION_PREFIX and are drawn as points.
        path: the PNG to write.
        title: stands above.
        guesses: what guessing reaches, by the accuracy's name; dotted lines.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    figure.suptitle(title, fontsize=10)
    losses, accuracies = figure.subplots(1, 2)
    training = [record for record in records if "loss" in record]
    for name in dict.fromkeys(name for record in training for name in record if name.startswith("loss")):
        _curve(losses, training, name, label=name.removeprefix("loss_"))
    for name in figure_names(training, ending="_accuracy"):
        colour = _curve(accuracies, training, name, label=_label(name))
        held_out = [record for record in records if VALIDATION_PREFIX + name in record]
        if held_out:
            points = [record[VALIDATION_PREFIX + name] for record in held_out]
            epochs = [record["epoch"] for record in held_out]
            accuracies.plot(epochs, points, "o--", color=colour, markersize=4, label=f"{_label(name)}, held-out")
        if name in guesses:
            accuracies.axhline(guesses[name], color=colour, linestyle=":", linewidth=1)
    losses.set(xlabel="epoch", ylabel="cross-entropy")
    accuracies.set(xlabel="epoch", ylabel="accuracy (dotted: guessing)", ylim=(0, 1))
    for axes in (losses, accuracies):
        axes.grid(alpha=0.25)
        if axes.lines:
            axes.legend(fontsize=8)
    _save(figure, path)


def draw_confusion(counts: npt.NDArray[np.int64], names: Sequence[str], path: Path, title: str) -> None:
    """A confusion matrix, shaded by the share of its row.

    Args:
        counts: int64 (K, K); rows are what a clip is, columns what the network says.
        names: the K classes.
        path: the PNG to write.
        title: stands above.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(names)), names, fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set(xlabel="network says", ylabel="clip is")
    axes.set_title(title, fontsize=10)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{share:.0%}\n{counts[row, column]}"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color="white" if share > 0.5 else "black")
    figure.colorbar(image, ax=axes, label="share of the row")
    _save(figure, path)


def _curve(axes: Axes, records: Sequence[Record], name: str, label: str) -> str:
    """Every record as a faint line, their running mean as a bold one; returns the colour."""
    points = np.array([(record["epoch"], record[name]) for record in records if name in record])
    (faint,) = axes.plot(points[:, 0], points[:, 1], alpha=0.25, linewidth=1)
    colour = to_hex(faint.get_color())
    width = max(1, round(len(points) * SMOOTHING_SHARE))
    means = [points[max(0, i + 1 - width) : i + 1, 1].mean() for i in range(len(points))]
    axes.plot(points[:, 0], means, color=colour, linewidth=1.8, label=label)
    return colour


def _label(name: str) -> str:
    return name.removesuffix("_accuracy").replace("_", " ")


def _save(figure: Figure, path: Path) -> None:
    store = FolderStore(path.parent)
    with store.temporary(path.name) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
        store.write_file(path.name, temporary)
