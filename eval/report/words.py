"""What the page says of each evaluation, and of what is missing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Something that the page would show if it were there."""

    what: str
    command: str
    """What makes it."""


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
