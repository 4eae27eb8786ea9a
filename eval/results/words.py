"""Rows and results -> words for tables and report: data sets, networks, metrics, numbers, and their evidence."""

from __future__ import annotations

import re

from eval.results.combined import Combined
from eval.results.paper import Reported
from eval.results.paper_tables import NETWORK_NAMES
from eval.results.presets import preset_of
from eval.results.rows import Metric, Row
from eval.results.training import rate_words
from shardify.errors import counted

NONE = "-"
DIFFERENCE = "_difference"
"""End of the name of a metric's difference between two networks."""
PERCENT = "\N{NO-BREAK SPACE}%"
PROBE_CLASSIFIERS = {"fc": "three new layers", "linear": "logistic regression", "knn": "nearest neighbours"}
"""First part of a probe's variant -> its name, in the order of tables and report."""

_DATA_SETS = {"ucf101": "UCF101", "hmdb51": "HMDB51", "kinetics": "Kinetics", "kinetics600": "Kinetics-600"}
_QUESTIONS = {"transfer": "action labels", "torchvision": "torchvision's weights"}


AUTHORS = "authors'"
"""The variant of the networks that the paper's authors ran."""
_NETWORK_VARIANTS = {"official": AUTHORS, "torchvision": "torchvision's"}


def data_set_words(name: str) -> str:
    """The paper's name of a data set; other data sets keep their names."""
    return _DATA_SETS.get(name, name)


def network_words(architecture: str) -> str:
    """The paper's name of an architecture; a dash for "none"."""
    return NETWORK_NAMES.get(architecture, NONE if architecture == "none" else architecture)


def variant_words(row: Row) -> str:
    """A network's variant and width: "authors'", "torchvision's, width 0.25"; a dash if there is one variant only."""
    variant = _NETWORK_VARIANTS.get(str(row.options.get("variant")))
    width = row.options.get("width", 1)
    return ", ".join(filter(None, (variant, "" if width == 1 else f"width {width:g}"))) or NONE


def question_words(question: str) -> str:
    """The name of the question that a network was trained on."""
    return _QUESTIONS.get(question, question.replace("_", " "))


def training_words(row: Row) -> str:
    """A network's earlier training: "transformations (warp, speed), on ucf101 train1, 100 epochs", "random weights"."""
    pretraining = row.pretraining
    if pretraining is None:
        return "no network" if row.architecture == "none" else "random weights"
    words = question_words(str(pretraining["question"]))
    if "motions" in pretraining:
        words += f" ({', '.join([*pretraining['motions'], *(['speed'] if pretraining.get('speed_loss') else [])])})"
    if pretraining.get("data_set"):
        words += f", on {' '.join(filter(None, (pretraining['data_set'], pretraining.get('split'))))}"
    if pretraining.get("epochs") is not None:
        words += f", {pretraining['epochs']} epochs"
    if pretraining.get("learning_rate") is not None:
        words += f" at {rate_words(pretraining['learning_rate'])}"
    return words + (", as in the authors' code" if preset_of(pretraining.get("changes", {})) == "official" else "")


def is_error(metric: str) -> bool:
    """Whether a metric (or its difference) is an error in steps, where less is better; all others are shares."""
    return metric in {"mae", f"mae{DIFFERENCE}"}


def metric_words(metric: str) -> str:
    """`top5` -> "top 5"."""
    if is_error(metric):
        return "mean absolute error, steps"
    return re.sub(r"^top(\d+)$", r"top \1", metric).replace("_", " ")


def plain_number(metric: str, value: float | None) -> str:
    """0.683 -> "68.3"; the error 1.611 -> "1.61"; None -> a dash."""
    if value is None:
        return NONE
    return f"{value:.2f}" if is_error(metric) else f"{100 * value:.1f}"


def number_words(metric: str, value: float) -> str:
    """A number with its unit: 0.683 -> "68.3 %"; errors have no unit."""
    return plain_number(metric, value) + ("" if is_error(metric) else PERCENT)


def paper_words(metric: str, reported: Reported) -> str:
    """The paper's number and what the result does differently; empty if there is none."""
    if metric not in reported.numbers:
        return ""
    number = f"paper {number_words(metric, reported.numbers[metric])}"
    return f"{number} (here: {'; '.join(reported.differences)})" if reported.differences else number


def interval_words(metric: str, measured: Metric) -> str:
    """An interval such as "[45.0, 59.2]", or "no interval"."""
    if not measured.has_interval:
        return "no interval"
    return f"[{plain_number(metric, measured.low)}, {plain_number(metric, measured.high)}]"


def evidence_words(result: Combined) -> str:
    """The evidence for a number: "2 splits, 1 seed, 48 test videos in 24 groups, 3 too short and left out"."""
    videos = counted(result.num_videos, "test video")
    if result.num_groups < result.num_videos:
        videos += f" in {counted(result.num_groups, 'group')}"
    parts = [counted(result.num_splits, "split"), counted(result.num_seeds, "seed"), videos]
    parts += [f"{result.num_left_out:,} too short and left out"] if result.num_left_out else []
    return ", ".join(parts)


def epoch_words(epochs: float) -> str:
    """24.0 -> "24", 1.49 -> "1.5"."""
    return f"{round(epochs, 1):g}"


def variant_order(variant: str) -> tuple[int, str, int, float]:
    """Sort key of variants: probes by classifier, then all labels, percentages, numbers of videos, each descending."""
    name, _, budget = variant.partition("-")
    known = list(PROBE_CLASSIFIERS)
    if name not in known:
        return len(known), variant, 0, 0.0
    number = re.match(r"[\d.]+", budget)
    kind = 0 if number is None else (1 if budget.endswith("pct") else 2)
    return known.index(name), name, kind, -float(number[0]) if number else 0.0


def has_few_labels(row: Row) -> bool:
    """Whether a row is a probe that learnt from only part of the labels."""
    return row.evaluation == "probe" and not row.variant.endswith("-all")
