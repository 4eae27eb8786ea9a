"""All evaluations, in the order of the command line, `video-eval all` and the report.

To add one, write a file in `eval/evaluations`, a line here, and a line for its section in `eval.config`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.evaluations.base import Evaluation
from eval.evaluations.before_after import BEFORE_AFTER
from eval.evaluations.probe import PROBE
from eval.evaluations.retrieval import RETRIEVAL
from eval.evaluations.saliency import SALIENCY
from eval.evaluations.still import STILL
from eval.evaluations.sync import SYNC
from eval.evaluations.transfer import TRANSFER

if TYPE_CHECKING:
    from eval.config import EvalConfig
    from eval.judging.setting import Say
    from eval.results.rows import Row
    from stream_train.training.distributed import World

EVALUATIONS: tuple[Evaluation, ...] = (TRANSFER, PROBE, RETRIEVAL, SYNC, BEFORE_AFTER, STILL, SALIENCY)
"""Later ones may use networks that earlier ones trained."""


def evaluate_everything(config: EvalConfig, world: World, say: Say) -> list[Row]:
    """Run all evaluations in their order; first says how much work they are, done or not.

    First raises UsageError if a network's file is missing and no evaluation writes it.
    """
    from eval.judging.networks import require_networks
    from eval.planning.plan import plan_line
    from eval.planning.work import work_of_evaluations

    names = [name for evaluation in EVALUATIONS for name in evaluation.section_of(config).networks or config.networks]
    require_networks(dict.fromkeys(names), config.networks, but_below=config.out)
    wanted = [evaluation for evaluation in EVALUATIONS if evaluation.is_wanted(config)]
    if world.is_main and (works := list(work_of_evaluations(config, (e for e in wanted if e.makes_rows)))):
        say(plan_line(works))
    return [row for evaluation in wanted for row in evaluation.load()(config, world, say)]
