"""A picture of many feature vectors: their two main directions, with frames of some of the videos.

In: vectors, labels, and a function that shows a video. Out: PNG.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from eval.pictures.charts import COLOURS
from shardify.arrays import FloatArray, ImageArray, IntArray
from stream_train.training.pictures import save_figure, write_title

Vectors = npt.NDArray[np.floating[Any]]
MAX_POINTS = 5000
"""More videos than this are drawn by a random choice."""
MAX_THUMBNAILS = 60
_MAX_NAMED = len(COLOURS)
"""Most classes that have a colour and a name."""
_THUMBNAIL_POINTS = 34
_APART = 0.075
"""Least distance of two frames, as a share of the picture."""


def embedding_figure(
    values: Vectors, labels: IntArray, classes: Sequence[str], show: Callable[[int], ImageArray], path: Path
) -> None:
    """Draw vectors (V, D) by their first two principal components; equal arguments give equal pictures.

    `labels` are int64 (V,), -1 without a class. `show` gives a frame (H, W, 3) of the video of a vector; it is called
    for at most MAX_THUMBNAILS of them, which lie apart. The folder of the PNG exists.

    Raises:
        ValueError: if there are fewer than two vectors.
        WorkError: if the disk is full.
    """
    if len(values) < 2:
        raise ValueError(f"a picture needs at least two vectors, not {len(values)}")
    chosen = np.arange(len(values))
    if len(values) > MAX_POINTS:
        chosen = np.sort(np.random.default_rng(0).choice(len(values), MAX_POINTS, replace=False))
    places, shares = principal_components(values[chosen])
    figure = Figure(figsize=(9, 7.5), layout="constrained")
    facts = f"the two directions with most of the variance: {shares[0]:.0%} and {shares[1]:.0%}"
    drawn = "" if len(chosen) == len(values) else f"{len(chosen):,} of "
    write_title(figure, f"{drawn}{len(values):,} vectors", facts)
    axes = figure.subplots()
    _draw_points(axes, places, labels[chosen], classes)
    for number in spread(places):
        frame = show(int(chosen[number]))
        image = OffsetImage(frame, zoom=_THUMBNAIL_POINTS / len(frame))
        axes.add_artist(AnnotationBbox(image, tuple(places[number]), pad=0.1, frameon=True))
    axes.set(xticks=[], yticks=[])
    save_figure(figure, path)


def principal_components(values: Vectors) -> tuple[FloatArray, FloatArray]:
    """The first two principal components of vectors (V, D): float64 (V, 2), and their shares (2,) of the variance.

    The largest coordinate of each direction is positive, so that the picture does not depend on the library.
    """
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])
    places = np.zeros((len(values), 2))
    shares = np.zeros(2)
    count = min(2, len(sizes))
    places[:, :count] = centred @ (directions[:count] * signs[:count, None]).T
    shares[:count] = sizes[:count] ** 2 / max(float((sizes**2).sum()), 1e-300)
    return places, shares


def spread(places: FloatArray) -> list[int]:
    """The numbers of up to MAX_THUMBNAILS places (V, 2) that lie apart from each other."""
    extent = np.maximum(np.ptp(places, axis=0), 1e-12)
    scaled = places / extent
    kept: list[int] = []
    for number in np.random.default_rng(0).permutation(len(places)).tolist():
        if len(kept) < MAX_THUMBNAILS and all(np.hypot(*(scaled[number] - scaled[k])) >= _APART for k in kept):
            kept.append(number)
    return sorted(kept)


def _draw_points(axes: Axes, places: FloatArray, labels: IntArray, classes: Sequence[str]) -> None:
    named = [number for number in range(len(classes)) if np.any(labels == number)]
    if not 0 < len(named) <= _MAX_NAMED:
        axes.scatter(places[:, 0], places[:, 1], s=14, color=COLOURS[0], alpha=0.6, linewidths=0)
        return
    x, y = places.T
    axes.scatter(x[labels < 0], y[labels < 0], s=14, color="0.6", linewidths=0)
    for colour, number in zip(COLOURS, named, strict=False):
        mine = labels == number
        axes.scatter(x[mine], y[mine], s=18, color=colour, label=classes[number], linewidths=0)
    axes.legend(fontsize=8, loc="best")
