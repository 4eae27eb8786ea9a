"""Which of the paper's numbers a result is to be held against.

In: what was evaluated, of which network, on which data. Out: the line of the paper's tables that reports the like, if
any does. "Like" disregards the size of the data set and of the network, so whoever shows such a number beside a small
data set has to say so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from eval.results.paper_tables import (
    BEFORE_AFTER,
    SYNC,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_STILL,
    PaperRow,
    PaperTable,
    Question,
)

ABLATION_EPOCHS = 50
"""Epochs of pre-training in Table 1. Table 2's C3D had 100, and both report all transformations on HMDB51."""

_DATA_SETS = ("ucf101", "hmdb51", "kinetics")
_DEMO = "demo"
"""The demo's name; it is laid out like UCF101."""
_WHOLE = {"ucf101", "hmdb51", "kinetics600"}
_KINDS = {"transformations": "ours", "transfer": "labels"}
"""What a network was trained to answer -> the kind of the paper's line."""
_LEFT_OPEN = {"sync": SYNC.variant, "before_after": BEFORE_AFTER.variant}
"""The paper does not say whether the convolutions are frozen here; its number stands beside either."""


def like_data_set(name: str) -> str | None:
    """The paper's data set that a data set is, is a part of, or is made like: ucf101, hmdb51 or kinetics; else None.

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
) -> tuple[PaperTable, PaperRow, Question] | None:
    """The line of the paper that reports an experiment like a result row's.

    Where Tables 1 and 2 both do (all transformations, C3D, HMDB51), Table 1 is meant up to ABLATION_EPOCHS of
    pre-training and Table 2 beyond, or where their number is not known.

    Args:
        evaluation: as in the row, like all that follow.
        variant: of the evaluation.
        architecture: c3d, r3d18 ...
        pretraining: None for random weights and for features without a network, which the paper does not report.
        data_set: name of the test data; see :func:`like_data_set`.

    Returns:
        The table, its line and the question in it; None if the paper has no such experiment.
    """
    like = like_data_set(data_set)
    if pretraining is None or like is None:
        return None
    question = Question(evaluation=evaluation, variant=_LEFT_OPEN.get(evaluation, variant), data_set=like)
    epochs = pretraining.get("epochs")
    is_short = isinstance(epochs, int) and epochs <= ABLATION_EPOCHS
    first_two = (TABLE_1, TABLE_2) if is_short else (TABLE_2, TABLE_1)
    for table in (*first_two, TABLE_3, TABLE_STILL, TABLE_4):
        for row in table.rows:
            if question in row.results and _is_like(row, architecture, pretraining):
                return table, row, question
    return None


def reported_for(
    *, evaluation: str, variant: str, architecture: str, pretraining: Mapping[str, Any] | None, data_set: str
) -> dict[str, float]:
    """The paper's numbers for an experiment like a result row's, by metric; empty if there are none.

    See :func:`find_reported`. They are for the whole of the paper's data and networks of full width.
    """
    found = find_reported(
        evaluation=evaluation,
        variant=variant,
        architecture=architecture,
        pretraining=pretraining,
        data_set=data_set,
    )
    if found is None:
        return {}
    _, row, question = found
    return dict(row.results[question])


def _is_like(row: PaperRow, architecture: str, pretraining: Mapping[str, Any]) -> bool:
    """Whether a network is what a line reports, but for its width and the size of the data that it learnt from."""
    if row.kind != _KINDS.get(str(pretraining["question"])) or row.architecture != architecture:
        return False
    if row.trained_on != like_data_set(str(pretraining.get("data_set"))):
        return False
    learnt = (frozenset(pretraining.get("motions", ())), pretraining.get("speed_loss"))
    return row.kind == "labels" or learnt == (frozenset(row.motions), row.speed_loss)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
