"""The numbers of the paper, in its order: Tables 1 to 4, and the still videos of section 4.

Accuracies are fractions here and percent in the paper; the mean absolute error of synchronisation is in frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

RowKind = Literal["ours", "labels", "reimplemented", "published"]
"""This method; pre-training with action labels; other methods that the authors trained on C3D; other published ones."""

ALL_MOTIONS = ("random", "periodic", "warp")
TOP = (1, 5, 10, 20, 50)


@dataclass(frozen=True, kw_only=True)
class Question:
    """The question that a number answers."""

    evaluation: str
    variant: str
    data_set: str
    """The test data: ucf101 or hmdb51."""


FROZEN_UCF101 = Question(evaluation="probe", variant="fc-all", data_set="ucf101")
FINETUNED_UCF101 = Question(evaluation="transfer", variant="finetune", data_set="ucf101")
FINETUNED_HMDB51 = Question(evaluation="transfer", variant="finetune", data_set="hmdb51")
SYNC = Question(evaluation="sync", variant="frozen", data_set="ucf101")
BEFORE_AFTER = Question(evaluation="before_after", variant="finetune", data_set="ucf101")
STILL = Question(evaluation="still", variant="still", data_set="ucf101")
MOVING = Question(evaluation="still", variant="moving", data_set="ucf101")
RETRIEVAL = Question(evaluation="retrieval", variant="pooled", data_set="ucf101")


NETWORK_NAMES = {"c3d": "C3D", "c3d_large": "C3D, large", "r3d18": "3D-ResNet18", "r2plus1d18": "R(2+1)D"}
"""Architecture -> its name in the paper."""
_ARCHITECTURES = {name: architecture for architecture, name in NETWORK_NAMES.items()}


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """A line of one of the paper's tables."""

    method: str
    kind: RowKind
    network: str = "C3D"
    """Its name in the paper."""
    trained_on: str = "ucf101"
    """ucf101 or kinetics; "" where the paper does not say."""
    pretraining_epochs: int | None = None
    """For this method; None where the paper does not say."""
    training_epochs: int | None = None
    """Of training for the question, for measurable lines; None where the paper does not say."""
    task: str = ""
    """For other methods: our `task.kind` for it; "" where we have none."""
    not_ours: str = ""
    """For other methods: whose version the number is of, and what is known of it."""
    motions: tuple[str, ...] = ALL_MOTIONS
    """For this method: the motion classes besides speed."""
    speed_loss: bool = True
    results: Mapping[Question, Mapping[str, float]]
    """Question -> metric -> number."""

    @property
    def architecture(self) -> str:
        """This program's name for the network; "" for other networks."""
        return _ARCHITECTURES.get(self.network, "")


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One of the paper's tables, with its lines in the paper's order."""

    name: str
    title: str
    rows: tuple[PaperRow, ...]


def _fraction(percent: float) -> float:
    return round(percent / 100, 4)


def _accuracies(percents: Mapping[Question, float | None]) -> dict[Question, dict[str, float]]:
    return {question: {"accuracy": _fraction(p)} for question, p in percents.items() if p is not None}


_EPOCHS = 50
"""Table 1: epochs of pre-training, and of training after it."""


def _ablated(motions: tuple[str, ...], frozen: float, finetuned: float, *, speed_loss: bool) -> PaperRow:
    return PaperRow(
        method=" + ".join(("speed", *motions)),
        kind="ours",
        motions=motions,
        speed_loss=speed_loss,
        pretraining_epochs=_EPOCHS,
        training_epochs=_EPOCHS,
        results=_accuracies({FROZEN_UCF101: frozen, FINETUNED_HMDB51: finetuned}),
    )


_TASKS = {
    "Shuffle&Learn": "shuffle_learn",
    "O3N": "odd_one_out",
    "AoT": "arrow_of_time",
    "OPN": "order_prediction",
    "DPC": "dense_prediction",
    "SpeedNet": "speednet",
    "3D-RotNet": "rotation",
    "Clip Order": "clip_order",
    "PRP": "playback_rate",
    "PRP+": "playback_rate",
    "Spatio-Temp": "flow_statistics",
    "3D ST-puzzle": "space_time_puzzle",
}
"""Another method -> our `task.kind` for it; the published numbers of the rest have no task here."""
_OWN_TEST = "fine-tuned with SGD on consecutive frames, tested on 10 clips"
_NOT_OURS = {
    ("Clip Order", "C3D"): f"another C3D, of 8 convolutions and global pooling, {_OWN_TEST}",
    ("Clip Order", "R(2+1)D"): f"another R(2+1)D, with one block a stage, {_OWN_TEST}",
    ("PRP+", "C3D"): f"another C3D, {_OWN_TEST}",
    ("PRP", "R(2+1)D"): f"another R(2+1)D, {_OWN_TEST}",
    ("Spatio-Temp", "C3D"): "a smaller C3D without BatchNorm",
}


def _not_ours(method: str, kind: RowKind, network: str = "C3D", trained_on: str = "ucf101") -> str:
    if kind == "reimplemented":
        return "paper: the authors' version, without details"
    if kind != "published":
        return ""
    words = f"published: {_NOT_OURS.get((method, network), 'their own network and recipe')}"
    return f"{words}, pre-trained on Kinetics-400" if trained_on == "kinetics" else words


def _transferred(
    method: str,
    kind: RowKind,
    network: str,
    trained_on: str,
    ucf101: float,
    hmdb51: float | None,
    *,
    epochs: tuple[int, int] | tuple[None, None] = (None, None),
) -> PaperRow:
    """`epochs` are those of pre-training and of fine-tuning, for this method."""
    return PaperRow(
        method=method,
        kind=kind,
        network=network,
        trained_on=trained_on,
        task=_TASKS.get(method, ""),
        not_ours=_not_ours(method, kind, network, trained_on),
        pretraining_epochs=epochs[0],
        training_epochs=epochs[1],
        results=_accuracies({FINETUNED_UCF101: ucf101, FINETUNED_HMDB51: hmdb51}),
    )


def _timed(method: str, kind: RowKind, sync: float, mae: float, before_after: float) -> PaperRow:
    results = {SYNC: {"accuracy": _fraction(sync), "mae": mae}} | _accuracies({BEFORE_AFTER: before_after})
    task, not_ours = _TASKS.get(method, ""), _not_ours(method, kind)
    return PaperRow(method=method, kind=kind, task=task, not_ours=not_ours, results=results)


def _stilled(method: str, kind: RowKind, still: float, moving: float) -> PaperRow:
    return PaperRow(method=method, kind=kind, results=_accuracies({STILL: still, MOVING: moving}))


def _retrieved(method: str, kind: RowKind, network: str, trained_on: str, *percents: float) -> PaperRow:
    results = {RETRIEVAL: {f"top{k}": _fraction(p) for k, p in zip(TOP, percents, strict=True)}}
    epochs = 15 if kind == "ours" else None
    return PaperRow(
        method=method, kind=kind, network=network, trained_on=trained_on, pretraining_epochs=epochs, results=results
    )


_LABELS = PaperRow(
    method="action labels",
    kind="labels",
    training_epochs=_EPOCHS,
    results=_accuracies({FROZEN_UCF101: 60.7, FINETUNED_HMDB51: 28.8}),
)

TABLE_1 = PaperTable(
    name="table1",
    title="Table 1: which transformations are learnt",
    rows=(
        _LABELS,
        _ablated((), 49.3, 32.5, speed_loss=True),
        _ablated(("random",), 44.5, 31.7, speed_loss=False),
        _ablated(("periodic",), 40.6, 29.5, speed_loss=False),
        _ablated(("warp",), 43.5, 32.6, speed_loss=False),
        _ablated(("random",), 55.1, 33.2, speed_loss=True),
        _ablated(("periodic",), 56.5, 36.1, speed_loss=True),
        _ablated(("warp",), 55.8, 36.9, speed_loss=True),
        _ablated(("random", "periodic"), 47.4, 30.1, speed_loss=False),
        _ablated(("random", "warp"), 54.8, 36.6, speed_loss=False),
        _ablated(("periodic", "warp"), 50.6, 36.4, speed_loss=False),
        _ablated(("random", "periodic"), 60.0, 37.1, speed_loss=True),
        _ablated(("random", "warp"), 60.4, 39.2, speed_loss=True),
        _ablated(("periodic", "warp"), 59.5, 39.0, speed_loss=True),
        _ablated(ALL_MOTIONS, 54.2, 34.9, speed_loss=False),
        _ablated(ALL_MOTIONS, 60.6, 38.0, speed_loss=True),
    ),
)
TABLE_2 = PaperTable(
    name="table2",
    title="Table 2: action recognition by fine-tuning",
    rows=(
        _transferred("Shuffle&Learn", "published", "AlexNet", "ucf101", 50.2, 18.1),
        _transferred("O3N", "published", "AlexNet", "ucf101", 60.3, 32.5),
        _transferred("AoT", "published", "VGG-16", "ucf101", 78.1, None),
        _transferred("OPN", "published", "VGG-M-2048", "ucf101", 59.8, 23.8),
        _transferred("DPC", "published", "3D-ResNet34", "kinetics", 75.7, 35.7),
        _transferred("SpeedNet", "published", "S3D-G", "kinetics", 81.1, 48.8),
        _transferred("AVTS (RGB + audio)", "published", "MC3", "kinetics", 85.8, 56.9),
        _transferred("Shuffle&Learn", "reimplemented", "C3D", "ucf101", 55.8, 25.4),
        _transferred("3D-RotNet", "reimplemented", "C3D", "ucf101", 60.6, 27.3),
        _transferred("Clip Order", "published", "C3D", "ucf101", 65.6, 28.4),
        _transferred("PRP+", "published", "C3D", "ucf101", 69.1, 34.5),
        _transferred("Spatio-Temp", "published", "C3D", "ucf101", 58.8, 32.6),
        _transferred("Spatio-Temp", "published", "C3D", "kinetics", 61.2, 33.4),
        _transferred("3D ST-puzzle", "published", "C3D", "kinetics", 60.6, 28.3),
        _transferred("this method", "ours", "C3D", "ucf101", 68.3, 38.4, epochs=(100, 75)),
        _transferred("this method", "ours", "C3D", "kinetics", 69.9, 39.6, epochs=(15, 75)),
        _transferred("3D ST-puzzle", "published", "3D-ResNet18", "kinetics", 65.8, 33.7),
        _transferred("3D-RotNet", "published", "3D-ResNet18", "kinetics", 66.0, 37.1),
        _transferred("DPC", "published", "3D-ResNet18", "kinetics", 68.2, 34.5),
        _transferred("this method", "ours", "3D-ResNet18", "ucf101", 77.3, 47.5, epochs=(200, 150)),
        _transferred("this method", "ours", "3D-ResNet18", "kinetics", 79.3, 49.8, epochs=(15, 150)),
        _transferred("Clip Order", "published", "R(2+1)D", "ucf101", 72.4, 30.9),
        _transferred("PRP", "published", "R(2+1)D", "ucf101", 72.1, 35.0),
        _transferred("this method", "ours", "R(2+1)D", "ucf101", 81.6, 46.4, epochs=(200, 150)),
    ),
)
TABLE_3 = PaperTable(
    name="table3",
    title="Table 3: tasks about time",
    rows=(
        _timed("action labels", "labels", 36.7, 1.85, 66.6),
        _timed("3D-RotNet", "reimplemented", 28.0, 2.84, 57.8),
        _timed("Shuffle&Learn", "reimplemented", 39.0, 1.89, 69.8),
        _timed("this method", "ours", 42.4, 1.61, 76.9),
    ),
)
TABLE_STILL = PaperTable(
    name="still",
    title="Still videos: one frame repeated",
    rows=(_stilled("action labels", "labels", 18.5, 56.5), _stilled("this method", "ours", 1.0, 58.1)),
)
TABLE_4 = PaperTable(
    name="table4",
    title="Table 4: retrieval by nearest neighbours",
    rows=(
        _retrieved("Jigsaw", "published", "AlexNet", "", 19.7, 28.5, 33.5, 40.0, 49.4),
        _retrieved("OPN", "published", "AlexNet", "", 19.9, 28.7, 34.0, 40.6, 51.6),
        _retrieved("Büchler et al.", "published", "AlexNet", "", 25.7, 36.2, 42.2, 49.2, 59.5),
        _retrieved("Clip Order", "published", "R3D", "", 14.1, 30.3, 40.0, 51.1, 66.5),
        _retrieved("SpeedNet", "published", "S3D-G", "", 13.0, 28.1, 37.5, 49.5, 65.0),
        _retrieved("PRP", "published", "R3D", "", 22.8, 38.5, 46.7, 55.2, 69.1),
        _retrieved("this method", "ours", "3D-ResNet18", "kinetics", 26.1, 48.5, 59.1, 69.6, 82.8),
    ),
)
TABLES = (TABLE_1, TABLE_2, TABLE_3, TABLE_STILL, TABLE_4)
