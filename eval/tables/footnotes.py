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
    """Notes, numbered in the order of the lines that need them. Evidence that all notes share is said once."""

    def __init__(self, *, with_roots: bool) -> None:
        """`with_roots`: whether a note names the folder of its results."""
        self._with_roots = with_roots
        self._numbers: dict[tuple[str, str], int] = {}
        """A note's words, and the evidence for all its numbers -> number."""

    def mark(self, results: Mapping[str, Combined], *, with_network: bool = True) -> str:
        """The number of the note about a line's results, by column heading; "" without results.

        `with_network`: whether it tells of the network, and of what differs from the paper, whose number is beside it.
        """
        if not results:
            return ""
        evidence = {heading: self._evidence(result) for heading, result in results.items()}
        shared = evidence.popitem()[1] if len(set(evidence.values())) == 1 else ""
        headings: dict[str, list[str]] = {}
        for heading, result in results.items():
            own = ", ".join(filter(None, (recipe_words(result.row), "" if shared else evidence[heading])))
            differences = ", ".join(result.reported.differences) if with_network else ""
            words = "; ".join(filter(None, (own, f"unlike the paper: {differences}" if differences else "")))
            headings.setdefault(words, []).append(heading)
        parts = [text if len(headings) == 1 else f"{', '.join(of)}: {text}" for text, of in headings.items() if text]
        if with_network:
            row = next(iter(results.values())).row
            parts = [f"{row.network}: {training_words(row)}", *parts]
        return str(self._numbers.setdefault(("; ".join(parts), shared), len(self._numbers) + 1))

    def _evidence(self, result: Combined) -> str:
        return evidence_words(result) + (f", {result.root}" if self._with_roots else "")

    @property
    def sentences(self) -> tuple[str, ...]:
        shared = {evidence for _, evidence in self._numbers}
        have_words = all(words and evidence for words, evidence in self._numbers)
        if len(self._numbers) > 1 and len(shared) == 1 and have_words:
            notes = (f"[{number}] {words}." for (words, _), number in self._numbers.items())
            return (f"Every measured number: {shared.pop()}.", *notes)
        return tuple(f"[{number}] {'; '.join(filter(None, parts))}." for parts, number in self._numbers.items())
