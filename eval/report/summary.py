"""The first paragraph of the page: what was run, on what data, and the main numbers.

In: what is known of the run and its results. Out: sentences.
"""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.forest import main_metric, reading_order
from eval.report.pretraining import Pretraining
from eval.report.words import count_words, number_words, words_for
from eval.results.combined import Combined


def summary_sentences(pretraining: Pretraining | None, results: Sequence[Combined]) -> list[str]:
    """What was run, what it reaches on held-out videos, and the main number of each evaluation."""
    sentences = []
    if pretraining is not None:
        sentences.append(f"{pretraining.headline}.")
        figures = [
            f"{figure.name} {figure.held_out} (guessing {figure.guessing})"
            for figure in pretraining.figures
            if figure.held_out and figure.guessing
        ]
        if figures:
            sentences.append(f"On held-out videos it reaches {', '.join(figures)}.")
    if results:
        data = dict.fromkeys(result.row.data_set for result in results)
        networks = {result.network for result in results if result.row.architecture != "none"}
        sentences.append(
            f"{count_words(len(results), 'result')} of {count_words(len(networks), 'network')}, tested on "
            f"{', '.join(data)}; the main ones, with their intervals in the figure below:"
        )
        ordered = sorted(results, key=reading_order)
        evaluations = dict.fromkeys(result.row.evaluation for result in ordered)
        parts = [_main_numbers([r for r in ordered if r.row.evaluation == name]) for name in evaluations]
        sentences.append("; ".join(parts) + ".")
    return sentences


def _main_numbers(results: Sequence[Combined]) -> str:
    """The first network's number of an evaluation, and random weights' in the same variant."""
    first = results[0]
    shown = [first]
    if first.row.pretraining is not None:
        rivals = [result for result in results if result.row.pretraining is None and result.row.architecture != "none"]
        like = (first.row.variant, first.row.data_set)
        shown += [rival for rival in rivals if (rival.row.variant, rival.row.data_set) == like][:1]
    return f"{words_for(first.row.evaluation).short} ({first.row.variant}): " + ", ".join(map(_number, shown))


def _number(result: Combined) -> str:
    name = main_metric(result)
    return f"{result.row.network} {number_words(name, result.metrics[name].value)}"
