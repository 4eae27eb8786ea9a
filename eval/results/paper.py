"""The number of the paper that a result is compared with.

In: the evaluation, the network and the data of a result. Out: the line of the paper's tables about a similar
experiment, if there is one. "Similar" ignores the sizes of data set and network, so a page that shows the number beside
a small data set must say so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from eval.results.paper_tables import BEFORE_AFTER, SYNC, TABLE_1, TABLE_2, TABLES, PaperRow, PaperTable, Question

ABLATION_EPOCHS = 50
"""Epochs of pre-training in Table 1; C3D in Table 2 has 100. Both report all transformations on HMDB51."""

_DATA_SETS = ("ucf101", "hmdb51", "kinetics")
_DEMO = "demo"
"""The demo's data set, which is similar to UCF101."""
_WHOLE = {"ucf101", "hmdb51", "kinetics600"}
_KINDS = {"transformations": "ours", "transfer": "labels"}
"""The question that a network was trained on -> the kind of the paper's line."""
_LEFT_OPEN = {question.evaluation: question.variant for question in (SYNC, BEFORE_AFTER)}
"""Evaluations where the paper does not say whether convolutions are frozen: its number is shown for both variants."""


class Reported(NamedTuple):
    """The paper's line about an experiment, and its numbers by metric; empty if there is none."""

    table: PaperTable | None
    row: PaperRow | None
    numbers: dict[str, float]


def like_data_set(name: str) -> str | None:
    """The paper's data set (ucf101, hmdb51, kinetics) that contains or resembles `name` (ucf101-8, demo), or None."""
    plain = _plain(name)
    return "ucf101" if plain == _DEMO else next((known for known in _DATA_SETS if plain.startswith(known)), None)


def is_whole(name: str) -> bool:
    """Whether a data set, by its name, is one of the paper's, so that the paper's numbers are a target."""
    return _plain(name) in _WHOLE


def find_reported(
    *, evaluation: str, variant: str, architecture: str, pretraining: Mapping[str, Any] | None, data_set: str
) -> Reported:
    """The paper's line about an experiment that is similar to a row's; the arguments are fields of the row.

    Tables 1 and 2 both report all transformations with C3D on HMDB51. Table 1 is used up to ABLATION_EPOCHS epochs of
    pre-training, Table 2 for more or unknown epochs.
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
    """Whether a line is about such a network; width and size of the training data do not matter."""
    if row.kind != _KINDS.get(str(pretraining["question"])) or row.architecture != architecture:
        return False
    if row.trained_on != like_data_set(str(pretraining.get("data_set"))):
        return False
    learnt = (frozenset(pretraining.get("motions", ())), pretraining.get("speed_loss"))
    return row.kind == "labels" or learnt == (frozenset(row.motions), row.speed_loss)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
