"""How the page names evaluations, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass

from eval.suite import EVALUATIONS as SUITE


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Something that the page would show if it were there."""

    what: str
    command: str
    """What makes it."""


@dataclass(frozen=True, kw_only=True)
class EvaluationWords:
    """The introduction of an evaluation."""

    title: str
    short: str
    """The title where space is short."""
    question: str
    """One sentence: what its numbers say."""
    command: str
    """What makes its results."""


EVALUATIONS = {
    evaluation.name: EvaluationWords(
        title=evaluation.title,
        short=evaluation.short,
        question=evaluation.question,
        command=f"video-eval {evaluation.command} CONFIG",
    )
    for evaluation in SUITE
    if evaluation.makes_rows
}
"""In the order of the page."""


def words_for(evaluation: str) -> EvaluationWords:
    """The introduction of an evaluation; for an unknown one, its name."""
    plain = evaluation.replace("_", " ").capitalize()
    return EVALUATIONS.get(evaluation) or EvaluationWords(
        title=plain, short=plain, question="", command=f"video-eval {evaluation} CONFIG"
    )


def evaluation_order(evaluation: str) -> int:
    """Position of an evaluation on the page; unknown ones come last."""
    known = list(EVALUATIONS)
    return known.index(evaluation) if evaluation in known else len(known)
