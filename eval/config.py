"""The config of all evaluations (configs/eval/*.yaml): data, networks, and one section per evaluation."""

from __future__ import annotations

from typing import ClassVar

from eval.evaluations.before_after import BeforeAfterSection
from eval.evaluations.probe import ProbeSection
from eval.evaluations.retrieval import RetrievalSection
from eval.evaluations.saliency import SaliencySection
from eval.evaluations.still import StillSection
from eval.evaluations.sync import SyncSection
from eval.evaluations.transfer import TransferSection
from eval.judging.config import JudgingConfig


class EvalConfig(JudgingConfig):
    """The shared keys, and one section for each evaluation in `eval.suite`, under its name."""

    recipes: ClassVar[str] = "eval"
    transfer: TransferSection = TransferSection()
    probe: ProbeSection = ProbeSection()
    retrieval: RetrievalSection = RetrievalSection()
    sync: SyncSection = SyncSection()
    before_after: BeforeAfterSection = BeforeAfterSection()
    still: StillSection = StillSection()
    saliency: SaliencySection = SaliencySection()
