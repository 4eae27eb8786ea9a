"""What the page calls things: evaluations, metrics, pre-training, numbers.

In: rows and their values. Out: words for people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eval.results.rows import Metric
from eval.tables.words import is_error, number_cell

_QUESTIONS = {"transfer": "action labels", "torchvision": "torchvision's weights"}
PROBE = "probe"
PERCENT = "\N{NO-BREAK SPACE}%"


@dataclass(frozen=True, kw_only=True)
class EvaluationWords:
    """How an evaluation is introduced."""

    title: str
    short: str
    """The title where space is short."""
    question: str
    """One sentence: what its numbers say."""
    command: str
    """What makes its results."""


EVALUATIONS = {
    "transfer": EvaluationWords(
        title="Transfer: action recognition by fine-tuning",
        short="Transfer",
        question="The whole network is trained on to name the action of a video (Table 2 of the paper).",
        command="video-eval transfer CONFIG",
    ),
    "probe": EvaluationWords(
        title="Probes: what frozen features know about actions",
        short="Probe",
        question="The convolutions stay as they are; new classifiers on them learn the actions from all or few labels "
        "(Table 1 of the paper, UCF101).",
        command="video-eval probe CONFIG",
    ),
    "retrieval": EvaluationWords(
        title="Retrieval: nearest neighbours",
        short="Retrieval",
        question="For each test video, is one of its k nearest training videos of the same class (Table 4 and Figure 5 "
        "of the paper)?",
        command="video-eval retrieval CONFIG",
    ),
    "sync": EvaluationWords(
        title="Synchronisation: by how many frames are two clips shifted?",
        short="Synchronisation",
        question="Two overlapping clips of one video; the offset is one of 13 (Table 3 of the paper).",
        command="video-eval sync CONFIG",
    ),
    "before_after": EvaluationWords(
        title="Before or after: which piece comes first?",
        short="Before or after",
        question="Two disjoint pieces of one video, in the right or in the wrong order (Table 3 of the paper).",
        command="video-eval before-after CONFIG",
    ),
    "still": EvaluationWords(
        title="Still videos: what is known without motion",
        short="Still videos",
        question="One frame, repeated, against the moving clip: what a network recognises without any motion (section "
        "4 of the paper).",
        command="video-eval still CONFIG",
    ),
}
"""In the order of the page."""


def words_for(evaluation: str) -> EvaluationWords:
    """The introduction of an evaluation; of one that is not known here, its bare name."""
    plain = evaluation.replace("_", " ").capitalize()
    return EVALUATIONS.get(evaluation) or EvaluationWords(
        title=plain, short=plain, question="", command=f"video-eval {evaluation} CONFIG"
    )


def evaluation_order(evaluation: str) -> int:
    """Where an evaluation stands on the page; unknown ones come last."""
    known = list(EVALUATIONS)
    return known.index(evaluation) if evaluation in known else len(known)


def has_few_labels(evaluation: str, variant: str) -> bool:
    """Whether only part of the labels was learnt from; there are many such probes."""
    return evaluation == PROBE and not variant.endswith("-all")


def variant_order(variant: str) -> tuple[str, int, float, str]:
    """Where a variant stands: probes by classifier, then from all labels to few."""
    match = re.fullmatch(r"(?P<classifier>.+)-(?:(?P<percent>[\d.]+)pct|(?P<videos>\d+))", variant)
    if match is None:
        return variant.removesuffix("-all"), 0, 0.0, variant
    number = match["percent"] or match["videos"]
    return match["classifier"], 1 if match["percent"] else 2, -float(number), variant


def is_share(metric: str) -> bool:
    """Whether a metric is a share, more being better, instead of an error in units of its own."""
    return not is_error(metric)


def metric_words(metric: str) -> str:
    """`top5` -> "top 5"."""
    if metric.startswith("top") and metric[3:].isdigit():
        return f"top {metric[3:]}"
    return "mean absolute error, steps" if is_error(metric) else metric.replace("_", " ")


def number_words(metric: str, value: float) -> str:
    """0.5781 -> "57.8 %"; errors keep their units."""
    return number_cell(value, metric) + (PERCENT if is_share(metric) else "")


def interval_words(metric: str, measured: Metric) -> str:
    """[45.0, 59.2]; says so where there is none."""
    if not measured.has_interval:
        return "no interval"
    return f"[{number_cell(measured.low, metric)}, {number_cell(measured.high, metric)}]"


def pretraining_words(pretraining: Mapping[str, Any] | None) -> str:
    """What a network had learnt before it was judged."""
    if pretraining is None:
        return "none (random weights)"
    question = str(pretraining["question"])
    parts = [_QUESTIONS.get(question, question)]
    if "motions" in pretraining:
        learnt = ["speed"] if pretraining.get("speed_loss") else []
        parts[0] += f" ({', '.join([*map(str, pretraining['motions']), *learnt])})"
    if pretraining.get("data_set"):
        parts.append(f"on {pretraining['data_set']}" + (f" {split}" if (split := pretraining.get("split")) else ""))
    if pretraining.get("epochs") is not None:
        parts.append(f"{pretraining['epochs']} epochs")
    return ", ".join(parts)


def count_words(count: int, noun: str) -> str:
    """1 -> "1 video", 1200 -> "1,200 videos"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def as_percent(share: float | None) -> str:
    """0.5781 -> "57.8 %"; nothing for None."""
    return "" if share is None else f"{100 * share:.1f}{PERCENT}"


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Something that the page would show if it were there."""

    what: str
    command: str
    """What makes it."""
