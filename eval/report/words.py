"""The page's words for evaluations and for missing parts."""

from __future__ import annotations

from dataclasses import dataclass

from eval.suite import EVALUATIONS as SUITE


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A missing part of the page, and the command that makes it."""

    what: str
    command: str


@dataclass(frozen=True, kw_only=True)
class EvaluationWords:
    """The introduction of an evaluation."""

    title: str
    short: str
    question: str
    """One sentence: what its numbers mean."""
    command: str
    """The command that computes its results."""


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
    """The introduction of an evaluation; an unknown one has only its name."""
    plain = evaluation.replace("_", " ").capitalize()
    return EVALUATIONS.get(evaluation) or EvaluationWords(
        title=plain, short=plain, question="", command=f"video-eval {evaluation} CONFIG"
    )


def evaluation_order(evaluation: str) -> int:
    """The position of an evaluation on the page; unknown ones come last."""
    known = list(EVALUATIONS)
    return known.index(evaluation) if evaluation in known else len(known)
