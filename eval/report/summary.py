"""The first paragraph of the page: the run, its data, and the main numbers."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.forest import reading_order
from eval.report.pretraining import Pretraining
from eval.report.words import words_for
from eval.results.combined import Combined
from eval.results.words import count_words, number_words


def summary_sentences(pretraining: Pretraining | None, results: Sequence[Combined]) -> list[str]:
    """The run, its validation metrics, and the main number of each evaluation."""
    sentences = []
    if pretraining is not None:
        sentences.append(f"{pretraining.headline}.")
        metrics = [f"{m.name} {m.held_out} (guessing {m.guessing})" for m in pretraining.metrics if m.is_complete]
        if metrics:
            sentences.append(f"On held-out videos it reaches {', '.join(metrics)}.")
    if results:
        data = dict.fromkeys(result.row.data_set for result in results)
        networks = {result.network for result in results if result.row.architecture != "none"}
        sentences.append(
            f"{count_words(len(results), 'result')} of {count_words(len(networks), 'network')}, tested on "
            f"{', '.join(data)}; the figure below has their intervals. The main ones:"
        )
        ordered = sorted(results, key=reading_order)
        evaluations = dict.fromkeys(result.row.evaluation for result in ordered)
        parts = [_main_numbers([r for r in ordered if r.row.evaluation == name]) for name in evaluations]
        sentences.append("; ".join(parts) + ".")
    return sentences


def _main_numbers(results: Sequence[Combined]) -> str:
    """The main number of an evaluation's first network, and of all random weights in the same variant."""
    row = results[0].row
    shown = [results[0]]
    if row.pretraining is not None:
        rivals = [r for r in results if r.row.pretraining is None and r.row.architecture != "none"]
        shown += [r for r in rivals if (r.row.variant, r.row.data_set) == (row.variant, row.data_set)]
    numbers = [f"{r.row.network} {number_words(r.main_metric, r.metrics[r.main_metric].value)}" for r in shown]
    return f"{words_for(row.evaluation).short} ({row.variant}): {', '.join(numbers)}"
