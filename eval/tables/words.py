"""How tables put things: numbers, networks, what they learnt from, and what stands in the notes.

In: results and lines of the paper. Out: cells and sentences.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from eval.results.combined import Combined
from eval.results.paper_tables import ALL_MOTIONS, PaperRow
from eval.results.rows import Metric
from eval.tables.format import Number

INTERVALS = (
    "Accuracies in percent; in brackets 95 % intervals, by bootstrap over source groups (UCF101's gXX; elsewhere "
    "single videos), and over seeds where several ran."
)
NOT_MEASURED = "not measured"
NONE = "-"

_NETWORKS = {"c3d": "C3D", "c3d_large": "C3D, large", "r3d18": "3D-ResNet18", "r2plus1d18": "R(2+1)D", "none": NONE}
_DATA_SETS = {"ucf101": "UCF101", "hmdb51": "HMDB51", "kinetics": "Kinetics", "kinetics600": "Kinetics-600"}
_VARIANTS = {"frozen": "frozen convolutions", "finetune": "fine-tuned"}


def data_set_words(name: str) -> str:
    """A data set as the paper writes it; others by their own names."""
    return _DATA_SETS.get(name, name)


def network_words(architecture: str) -> str:
    """An architecture as the paper writes it."""
    return _NETWORKS.get(architecture, architecture)


def is_error(metric: str) -> bool:
    """Whether a metric counts frames, less being better, instead of being a share."""
    return metric == "mae"


def number_cell(value: float | None, metric: str) -> str:
    """0.683 -> 68.3; an error, 1.611 -> 1.61; None -> a dash."""
    if value is None:
        return NONE
    return f"{value:.2f}" if is_error(metric) else f"{100 * value:.1f}"


def measured_cell(measured: Metric, metric: str) -> str:
    """0.683 in [0.66, 0.706] -> 68.3 [66.0, 70.6]."""
    value = number_cell(measured.value, metric)
    if not measured.has_interval:
        return value
    return f"{value} [{number_cell(measured.low, metric)}, {number_cell(measured.high, metric)}]"


def certain(value: float) -> Metric:
    """A number that has no interval because it is not measured, such as chance."""
    return Metric(value=value, low=math.nan, high=math.nan)


def number_of(
    result: Combined | None, *, data_set: str, evaluation: str, variant: str, metric: str, reported: float | None
) -> Number:
    """A number for machines; with a result, all that is known of it."""
    shared = Number(
        data_set=data_set, evaluation=evaluation, variant=variant, metric=metric, reported=reported, measured=None
    )
    if result is None or metric not in result.metrics:
        return shared
    row = result.row
    pretraining = row.pretraining or {}
    return replace(
        shared,
        variant=row.variant,
        measured=result.metrics[metric],
        num_splits=result.num_splits,
        num_seeds=result.num_seeds,
        num_videos=result.num_videos,
        num_groups=result.num_groups,
        num_left_out=result.num_left_out,
        network=row.network,
        architecture=row.architecture,
        trained_on=str(pretraining.get("data_set") or ""),
        epochs=pretraining.get("epochs"),
        weights=row.weights,
    )


def file_words(name: str) -> str:
    """A name as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def paper_labels(columns: Sequence[str], row: PaperRow) -> tuple[str, ...]:
    """The words of a line of the paper, for each of a table's label columns."""
    words = {
        "method": row.method + ("*" if row.kind == "reimplemented" else ""),
        "speed loss": NONE if row.kind == "labels" else ("yes" if row.speed_loss else "no"),
        "network": row.network,
        "trained on": data_set_words(row.trained_on) or NONE,
    }
    return tuple(words[column] for column in columns)


def result_labels(columns: Sequence[str], result: Combined, *, variant: str | None = None) -> tuple[str, ...]:
    """The same for a result that the paper has no line for.

    Args:
        columns: headings of the label columns.
        result: what was measured.
        variant: to be named because it is not the table's own.
    """
    pretraining = result.row.pretraining or {}
    method = _method(result, with_speed_loss="speed loss" not in columns)
    if "network" not in columns and result.row.architecture not in {"c3d", "none"}:
        method += f", {network_words(result.row.architecture)}"
    if variant is not None:
        method += f", {_VARIANTS.get(variant, variant)}"
    words = {
        "method": method,
        "speed loss": {True: "yes", False: "no"}.get(pretraining.get("speed_loss", NONE), NONE),
        "network": network_words(result.row.architecture),
        "trained on": data_set_words(str(pretraining.get("data_set", NONE))),
    }
    return tuple(words[column] for column in columns)


def random_labels(columns: Sequence[str], method: str, architecture: str) -> tuple[str, ...]:
    """The same for random weights, measured or not."""
    words = {"method": method, "speed loss": NONE, "network": network_words(architecture), "trained on": NONE}
    return tuple(words[column] for column in columns)


def _method(result: Combined, *, with_speed_loss: bool) -> str:
    row = result.row
    if row.pretraining is None:
        return f"{row.network}, no network" if row.architecture == "none" else "random weights"
    question = str(row.pretraining["question"])
    if question != "transformations":
        return {"transfer": "action labels", "torchvision": "torchvision's weights"}.get(question, question)
    motions = row.pretraining.get("motions", ())
    signal = " + ".join(("speed", *(motion for motion in ALL_MOTIONS if motion in motions)))
    if not with_speed_loss:
        return signal
    if not row.pretraining.get("speed_loss"):
        return f"{signal}, no speed loss"
    return "this method" if set(motions) == set(ALL_MOTIONS) else signal


def training_words(result: Combined) -> str:
    """What a network learnt from: "trained on ucf101, 100 epochs", "random weights", "no network"."""
    row = result.row
    if row.pretraining is None:
        return "no network" if row.architecture == "none" else "random weights"
    data_set, epochs = row.pretraining.get("data_set"), row.pretraining.get("epochs")
    words = f"trained on {data_set or 'unknown data'}"
    return words if epochs is None else f"{words}, {epochs} epochs"


class Footnotes:
    """The notes that lines point to, numbered as they are first needed."""

    def __init__(self, *, with_roots: bool) -> None:
        self._with_roots = with_roots
        self._numbers: dict[str, int] = {}

    def mark(self, results: Mapping[str, Combined], *, with_network: bool = True) -> str:
        """The number of the note on what a line's results rest on; "" without results.

        Args:
            results: by the heading that they stand under.
            with_network: whether the note says which network it was, the same for all of a line.
        """
        if not results:
            return ""
        headings: dict[str, list[str]] = {}
        for heading, result in results.items():
            headings.setdefault(self._evidence(result), []).append(heading)
        words = "; ".join(text if len(headings) == 1 else f"{', '.join(of)}: {text}" for text, of in headings.items())
        if with_network:
            first = next(iter(results.values()))
            words = f"{first.row.network}: {training_words(first)}; {words}"
        return str(self._numbers.setdefault(words, len(self._numbers) + 1))

    @property
    def sentences(self) -> tuple[str, ...]:
        """The notes, to stand below the table."""
        return tuple(f"[{number}] {words}." for words, number in self._numbers.items())

    def _evidence(self, result: Combined) -> str:
        videos = _count(result.num_videos, "test video")
        if result.num_groups < result.num_videos:
            videos += f" in {_count(result.num_groups, 'group')}"
        parts = [_count(result.num_splits, "split"), _count(result.num_seeds, "seed"), videos]
        parts += [f"{result.num_left_out:,} too short and left out"] if result.num_left_out else []
        parts += [str(result.root)] if self._with_roots else []
        return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
