"""Result rows made by hand: which test videos were answered rightly, and everything else by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.results.intervals import measure
from eval.results.paper import find_reported
from eval.results.rows import Row, VideoScores, write_row

ALL_MOTIONS = ["random", "periodic", "warp"]


def pretraining_of(data_set: str = "ucf101", epochs: int | None = 100, **changes: Any) -> dict[str, Any]:
    """All transformations; `changes` replace or add keys."""
    return {
        "question": "transformations",
        "data_set": data_set,
        "split": "train1",
        "motions": ALL_MOTIONS,
        "speed_loss": True,
        "epochs": epochs,
        "step": 1000,
    } | changes


def trained_at(learning_rate: float, epochs: int = 75, evaluation: str = "transfer", **data: Any) -> dict[str, Any]:
    """The config of a row with its training; `data` are keys of its section `data`."""
    section = {"epochs": epochs, "optimizer": {"learning_rate": learning_rate}, "stride": 4}
    return {evaluation: section, "train_fingerprint": "train1", "data": {"crop": 112} | data}


def action_labels(data_set: str = "ucf101") -> dict[str, Any]:
    return {"question": "transfer", "data_set": data_set, "split": "train1", "epochs": 75, "step": 1000}


def write_result(
    root: Path,
    evaluation: str,
    variant: str,
    right: Sequence[float] | Mapping[str, Sequence[float]],
    *,
    network: str = "pretrained",
    pretraining: dict[str, Any] | None = None,
    architecture: str = "c3d",
    data_set: str = "ucf101",
    split: int = 1,
    seed: int = 0,
    weights: str | None = None,
    **changes: Any,
) -> Path:
    """Write a row and its videos, two of each source group; returns their folder.

    Args:
        root: the run of evaluations.
        evaluation: as in the row, like all that follow.
        variant: of the evaluation.
        right: a number for each video, or these by metric; `accuracy` is the default.
        network: name in the config.
        pretraining: None for random weights.
        architecture: of the network.
        data_set: of the test videos.
        split: number of the splits, which share no videos.
        seed: of the row.
        weights: by default different for each trained network.
        changes: other fields of the row.
    """
    columns = right if isinstance(right, Mapping) else {"accuracy": right}
    values = {name: np.array(column, dtype=np.float64) for name, column in columns.items()}
    num_videos = len(next(iter(values.values())))
    keys = tuple(f"v_A_g{split}{i // 2:02d}_c{i % 2 + 1:02d}" for i in range(num_videos))
    scores = VideoScores(
        keys=keys,
        groups=tuple(key[:-4] for key in keys),
        labels=np.zeros(num_videos, dtype=np.int64),
        predicted=None,
        values=values,
    )
    described: dict[str, Any] = {
        "evaluation": evaluation,
        "variant": variant,
        "network": network,
        "architecture": architecture,
        "pretraining": pretraining,
        "weights": (f"sha256 of {network}" if pretraining else "") if weights is None else weights,
        "data_set": data_set,
        "fingerprint": f"test{split}",
        "train_split": f"train{split}",
        "test_split": f"test{split}",
        "seed": seed,
        "num_videos": num_videos,
        "num_groups": len(set(scores.groups)),
        "num_left_out": 0,
        "num_classes": {"ucf101": 101, "hmdb51": 51}.get(data_set.lower().replace("-", ""), 8),
        "chance": dict.fromkeys(values, 0.125),
        "metrics": measure(scores),
        "config": {"epochs": 50, "train_fingerprint": f"train{split}"},
    }
    row = Row(**{"reported": {}} | described | changes)
    folder = root / evaluation / variant / network / f"train{split}" / f"seed{seed}"
    write_row(folder, replace(row, reported=find_reported(row).numbers), scores)
    return folder
