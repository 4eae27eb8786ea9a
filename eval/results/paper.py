"""The number of the paper that a result is compared with.

In: a result row. Out: the line of the paper's tables about this experiment, if there is one, its numbers, and in words
what the result does differently. Both data sets must be the paper's own: results on other data are shown without
the paper's numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from eval.results.paper_tables import BEFORE_AFTER, SYNC, TABLE_1, TABLE_2, TABLES, PaperRow, PaperTable, Question
from eval.results.presets import preset_of
from eval.results.rows import OTHER_TASK, Row
from eval.results.training import rate_words, training_of

ABLATION_EPOCHS = 50
"""Epochs of pre-training in Table 1; C3D in Table 2 has 100. Both report all transformations on HMDB51."""
LEARNING_RATE = 5e-5
"""The paper's rate of fine-tuning."""
GMACS = {
    "r3d18": {"torchvision": 40.7, "official": 8.1},
    "r2plus1d18": {"torchvision": 40.5, "official": 20.3},
}
"""Architecture -> variant -> 10^9 multiply-adds for a clip of 16 x 112 x 112. The paper's numbers are of `official`."""

_DATA_SETS = {"ucf101": "ucf101", "hmdb51": "hmdb51", "kinetics600": "kinetics"}
"""A data set's name, without case and punctuation -> its name in the paper's tables."""
_NUM_CLASSES = {"ucf101": 101, "hmdb51": 51}
_PRETRAINING_SPLITS = {"ucf101": "train1", "kinetics": "train"}
_CROPS = {112: ("torchvision", "official", None), 128: ("official",)}
"""Size of the clips in pixels -> variants of networks that were tested at this size."""
_STRIDE = 4
_KINDS = {"transformations": "ours", "transfer": "labels", "action_labels": "labels"}
"""The question that a network was trained on -> the kind of the paper's line; other pretext tasks have `line.task`."""
_LEFT_OPEN = {question.evaluation: question.variant for question in (SYNC, BEFORE_AFTER)}
"""Evaluations where the paper does not say whether convolutions are frozen: its number is shown for both variants."""


class Reported(NamedTuple):
    """The paper's line about an experiment, and its numbers by metric; empty if there is none."""

    table: PaperTable | None
    row: PaperRow | None
    numbers: dict[str, float]
    differences: tuple[str, ...] = ()
    """What the result does differently, such as "20 epochs of training (paper 75)"; empty if everything known fits."""


def paper_data_set(name: str, num_classes: int | None = None) -> str | None:
    """The paper's name (ucf101, hmdb51, kinetics) of a data set; None for any other, also for a part of one.

    A data set of that name with another number of classes is another data set.
    """
    paper = _DATA_SETS.get(re.sub(r"[^a-z0-9]", "", name.lower()))
    right = _NUM_CLASSES.get(paper or "")
    return None if num_classes is not None and right not in (None, num_classes) else paper


def find_reported(row: Row) -> Reported:
    """The paper's line about the experiment of a row.

    Tables 1 and 2 both report all transformations with C3D on HMDB51. Table 1 is used up to ABLATION_EPOCHS epochs of
    pre-training, Table 2 for more or unknown epochs.
    """
    data_set = paper_data_set(row.data_set, row.num_classes)
    if row.pretraining is None or data_set is None:
        return Reported(None, None, {})
    variant = _LEFT_OPEN.get(row.evaluation, row.variant)
    question = Question(evaluation=row.evaluation, variant=variant, data_set=data_set)
    epochs = row.pretraining.get("epochs")
    is_short = isinstance(epochs, int) and epochs <= ABLATION_EPOCHS
    first_two = (TABLE_1, TABLE_2) if is_short else (TABLE_2, TABLE_1)
    for table in (*first_two, *TABLES[2:]):
        for line in table.rows:
            if question in line.results and _is_about(line, row.architecture, row.pretraining):
                return Reported(table, line, dict(line.results[question]), tuple(_differences(row, line)))
    return Reported(None, None, {})


def _is_about(line: PaperRow, architecture: str, pretraining: Mapping[str, Any]) -> bool:
    """Whether a line is about such a network, whatever its width and variant."""
    if line.architecture != architecture or line.trained_on != paper_data_set(str(pretraining.get("data_set"))):
        return False
    question = str(pretraining["question"])
    if line.task:
        return question == OTHER_TASK + line.task
    if line.kind != _KINDS.get(question):
        return False
    learnt = (frozenset(pretraining.get("motions", ())), pretraining.get("speed_loss"))
    return line.kind == "labels" or learnt == (frozenset(line.motions), line.speed_loss)


def _differences(row: Row, line: PaperRow) -> Iterator[str]:
    """What a result does differently from a line of the paper, as far as its row says."""
    yield from _network_differences(row, line)
    pretraining = row.pretraining or {}
    if line.kind != "labels":
        if line.pretraining_epochs is not None:
            yield from _unless_equal("epochs of pre-training", pretraining.get("epochs"), line.pretraining_epochs)
        split, usual = pretraining.get("split"), _PRETRAINING_SPLITS[line.trained_on]
        if split != usual:
            yield f"pre-trained on the split {split or 'all'} (paper {usual})"
        changes = pretraining.get("changes", {})
        if preset_of(changes) is None:  # for other tasks, `changes` are those to our common recipe
            yield f"pre-trained with {', '.join(f'{key} = {value}' for key, value in changes.items())}"
    section, data = training_of(row), row.config.get("data", {})
    if line.training_epochs is not None and section:
        yield from _unless_equal("epochs of training", section.get("epochs"), line.training_epochs)
        rate = section["optimizer"].get("learning_rate")
        if rate not in (None, LEARNING_RATE):
            yield f"learning rate {rate_words(rate)} (paper {rate_words(LEARNING_RATE)})"
        if section.get("stride", _STRIDE) != _STRIDE:
            yield f"stride {section['stride']} (paper {_STRIDE})"
    crop = data.get("crop")
    if crop is not None and row.options.get("variant") not in _CROPS.get(crop, ()):
        yield f"crops of {crop} pixels (paper 112)"


def _network_differences(row: Row, line: PaperRow) -> Iterator[str]:
    if line.not_ours:
        yield f"our version of the task ({line.not_ours})"
    if row.architecture in GMACS and line.kind != "published":
        variant, costs = row.options.get("variant"), GMACS[row.architecture]
        if variant is None:
            yield "variant of the network not recorded"
        elif variant != "official":
            yield f"torchvision's network, {costs[variant]} GMAC a clip (paper {costs['official']})"
    if row.options.get("width", 1) != 1:
        yield f"width {row.options['width']:g} (paper 1)"


def _unless_equal(what: str, count: object, paper: int) -> Iterator[str]:
    if count not in (None, paper):
        yield f"{count} {what} (paper {paper})"
