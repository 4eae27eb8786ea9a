"""Which of the paper's numbers a result is compared with.

In: what was evaluated, of which network, on which data. Out: the line of the paper's tables that reports the like, if
any does. "Like" ignores the size of the data set and of the network: a page that shows such a number beside a small
data set must say so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from eval.results.paper_tables import BEFORE_AFTER, SYNC, TABLE_1, TABLE_2, TABLES, PaperRow, PaperTable, Question

ABLATION_EPOCHS = 50
"""Epochs of pre-training in Table 1. Table 2's C3D had 100, and both report all transformations on HMDB51."""

_DATA_SETS = ("ucf101", "hmdb51", "kinetics")
_DEMO = "demo"
"""The demo's name; it is laid out like UCF101."""
_WHOLE = {"ucf101", "hmdb51", "kinetics600"}
_KINDS = {"transformations": "ours", "transfer": "labels"}
"""What a network was trained to answer -> the kind of the paper's line."""
_LEFT_OPEN = {question.evaluation: question.variant for question in (SYNC, BEFORE_AFTER)}
"""The paper does not say whether the convolutions are frozen here; its number stands beside both variants."""


class Reported(NamedTuple):
    """The line of the paper that reports an experiment, and its numbers by metric; empty if there is none."""

    table: PaperTable | None
    row: PaperRow | None
    numbers: dict[str, float]


def like_data_set(name: str) -> str | None:
    """The paper's data set (ucf101, hmdb51, kinetics) that a data set is, is a part of or resembles; else None.

    Args:
        name: from its manifest, such as ucf101, ucf101-8, demo, kinetics400.
    """
    plain = _plain(name)
    return "ucf101" if plain == _DEMO else next((known for known in _DATA_SETS if plain.startswith(known)), None)


def is_whole(name: str) -> bool:
    """Whether a data set's name is that of one of the paper's, so that its numbers are a target."""
    return _plain(name) in _WHOLE


def find_reported(
    *, evaluation: str, variant: str, architecture: str, pretraining: Mapping[str, Any] | None, data_set: str
) -> Reported:
    """The line of the paper that reports an experiment like a result row's.

    Tables 1 and 2 both report all transformations with C3D on HMDB51: Table 1 is meant up to ABLATION_EPOCHS of
    pre-training, Table 2 beyond, or if the number of epochs is unknown. The arguments are the fields of a row.
    """
    like = like_data_set(data_set)
    if pretraining is None or like is None:
        return Reported(None, None, {})
    question = Question(evaluation=evaluation, variant=_LEFT_OPEN.get(evaluation, variant), data_set=like)
    epochs = pretraining.get("epochs")
    is_short = isinstance(epochs, int) and epochs <= ABLATION_EPOCHS
    first_two = (TABLE_1, TABLE_2) if is_short else (TABLE_2, TABLE_1)
    for table in (*first_two, *TABLES[2:]):
        for row in table.rows:
            if question in row.results and _is_like(row, architecture, pretraining):
                return Reported(table, row, dict(row.results[question]))
    return Reported(None, None, {})


def _is_like(row: PaperRow, architecture: str, pretraining: Mapping[str, Any]) -> bool:
    """Whether a line reports such a network; its width and the size of its training data are ignored."""
    if row.kind != _KINDS.get(str(pretraining["question"])) or row.architecture != architecture:
        return False
    if row.trained_on != like_data_set(str(pretraining.get("data_set"))):
        return False
    learnt = (frozenset(pretraining.get("motions", ())), pretraining.get("speed_loss"))
    return row.kind == "labels" or learnt == (frozenset(row.motions), row.speed_loss)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
