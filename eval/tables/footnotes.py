"""The notes below a table: the evidence for its measured numbers.

In: the results of a line. Out: the number of a note, and the notes as sentences.
"""

from __future__ import annotations

from collections.abc import Mapping

from eval.results.combined import Combined
from eval.results.training import recipe_words
from eval.results.words import evidence_words, training_words

INTERVALS = (
    "Accuracies in percent; in brackets 95 % intervals, by bootstrap over source groups (UCF101's gXX; elsewhere "
    "single videos), and over seeds where several ran."
)


class Footnotes:
    """Notes, numbered in the order of the lines that need them."""

    def __init__(self, *, with_roots: bool) -> None:
        """`with_roots`: whether a note names the folder of its results."""
        self._with_roots = with_roots
        self._numbers: dict[str, int] = {}

    def mark(self, results: Mapping[str, Combined], *, with_network: bool = True) -> str:
        """The number of the note about a line's results, by column heading; "" without results.

        `with_network`: whether it tells of the network, and of what differs from the paper, whose number is beside it.
        """
        if not results:
            return ""
        headings: dict[str, list[str]] = {}
        for heading, result in results.items():
            evidence = ", ".join(filter(None, (recipe_words(result.row), evidence_words(result))))
            evidence += f", {result.root}" if self._with_roots else ""
            if with_network and result.reported.differences:
                evidence += f"; unlike the paper: {', '.join(result.reported.differences)}"
            headings.setdefault(evidence, []).append(heading)
        words = "; ".join(text if len(headings) == 1 else f"{', '.join(of)}: {text}" for text, of in headings.items())
        if with_network:
            row = next(iter(results.values())).row
            words = f"{row.network}: {training_words(row)}; {words}"
        return str(self._numbers.setdefault(words, len(self._numbers) + 1))

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(f"[{number}] {words}." for words, number in self._numbers.items())
