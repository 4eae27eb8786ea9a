"""Every evaluation by its name, one after the other.

In: a config. Out: the rows of its evaluations. A new evaluation is one file with a function like those below, its
section in `eval.config` and its line here.
"""

from __future__ import annotations

from collections.abc import Callable

from eval.config import EvalConfig, FitSection, RetrievalSection, SaliencySection, StillSection
from eval.evaluations.before_after import evaluate_before_after
from eval.evaluations.probe import evaluate_probe
from eval.evaluations.retrieval import evaluate_retrieval
from eval.evaluations.saliency import draw_saliency, trained_names
from eval.evaluations.still import evaluate_still
from eval.evaluations.sync import evaluate_sync
from eval.evaluations.transfer import evaluate_transfer
from eval.judging.networks import require_networks
from eval.judging.setting import Say
from eval.results.paper import is_whole
from eval.results.rows import Row
from stream_train.training.distributed import World

Evaluate = Callable[[EvalConfig, World, Say], list[Row]]

EVALUATIONS: dict[str, Evaluate] = {
    "transfer": evaluate_transfer,
    "probe": evaluate_probe,
    "retrieval": evaluate_retrieval,
    "sync": evaluate_sync,
    "before-after": evaluate_before_after,
    "still": evaluate_still,
}
"""In an order in which later ones may use what earlier ones trained."""


def evaluate_everything(config: EvalConfig, world: World, say: Say) -> list[Row]:
    """All evaluations, then the saliency pictures if there is a network that they could explain.

    Raises:
        UsageError: before the first, if a network is missing that none of them makes; else as each of them.
    """
    judged = [name for section in _sections(config) for name in section.networks or config.networks]
    require_networks(dict.fromkeys(judged), config.networks, but_below=config.out)
    rows = [row for evaluate in EVALUATIONS.values() for row in evaluate(config, world, say)]
    if config.saliency.networks or (config.saliency.networks is None and trained_names(config)):
        draw_saliency(config, world, world.on_main(say))
    return rows


def _sections(config: EvalConfig) -> tuple[FitSection | RetrievalSection | StillSection | SaliencySection, ...]:
    return (
        config.transfer,
        config.probe,
        config.retrieval,
        config.sync,
        config.before_after,
        config.still,
        config.saliency,
    )


def row_lines(rows: list[Row]) -> list[str]:
    """Rows as a table for the terminal: what was measured, its interval, chance, and the paper's number."""
    lines = []
    for row in rows:
        metrics = "  ".join(_metric(row, name) for name in row.metrics)
        where = f"{row.data_set} {row.train_split or 'all'}/{row.test_split or 'all'} seed {row.seed}"
        lines.append(f"{row.evaluation:<12} {row.variant:<13} {row.network:<12} {where}: {metrics}")
    return lines


def _metric(row: Row, name: str) -> str:
    metric = row.metrics[name]
    percent = name != "mae"
    scale, form = (100, "{:.1f}") if percent else (1, "{:.2f}")
    value, low, high = (form.format(scale * number) for number in (metric.value, metric.low, metric.high))
    whose = "" if is_whole(row.data_set) else ", on its own data,"
    asides = [f"{low} to {high}"] if metric.has_interval else []
    asides += [f"chance {form.format(scale * row.chance[name])}"] if name in row.chance else []
    asides += [f"the paper{whose} {form.format(scale * row.reported[name])}"] if name in row.reported else []
    return f"{name} {value}{' %' if percent else ''} ({', '.join(asides)})"
