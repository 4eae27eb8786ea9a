"""Which results stand on which line of which table.

In: a table's layout and all results. Out: :class:`Target`s, the data sets that the table is printed for, and its
:class:`Line`s for one of them: the paper's in the paper's order, random weights after each network, then what the paper
does not have, and last what guessing gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from eval.results.combined import Combined
from eval.results.paper import is_whole, like_data_set
from eval.results.paper_tables import PaperRow
from eval.tables.format import LineKind
from eval.tables.layouts import OTHER_VARIANTS, Figure, Layout
from eval.tables.words import paper_labels, random_labels, result_labels


@dataclass(frozen=True, kw_only=True)
class Target:
    """The data that a table is printed for."""

    data_set: str | None
    """None stands for the paper's own, UCF101 and HMDB51."""
    is_foreign: bool
    """Whether the paper has no numbers for the like."""
    figures: tuple[Figure, ...]

    def takes(self, figure: Figure, result: Combined) -> bool:
        """Whether a result's data is the target's, for one figure."""
        return result.data_set == (figure.question.data_set if self.data_set is None else self.data_set)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a line has for a figure."""

    figure: Figure
    reported: float | None
    result: Combined | None
    chance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a table, still in numbers."""

    labels: tuple[str, ...]
    kind: LineKind
    is_measurable: bool
    """Whether a missing result is one that could be measured."""
    entries: tuple[Entry, ...]

    @property
    def results(self) -> list[Combined]:
        return [entry.result for entry in self.entries if entry.result is not None]


def targets_of(layout: Layout, results: Sequence[Combined]) -> list[Target]:
    """The paper's data sets if anything is measured on them, or nothing at all; then all others that are."""
    alike, foreign = set(), set()
    for result in results:
        figures = [figure for figure in layout.figures if figure.at_home and _asks(figure, result)]
        like = like_data_set(result.row.data_set)
        if result.line[0] is layout.table or any(figure.question.data_set == like for figure in figures):
            alike.add(result.data_set)
        elif figures:
            foreign.add(result.data_set)
    whole = {name for name in alike if is_whole(name)}
    targets = []
    if whole or not (alike or foreign):
        targets.append(Target(data_set=None, is_foreign=False, figures=layout.figures))
    for name in sorted(alike - whole):
        figures = [figure for figure in layout.figures if figure.question.data_set == like_data_set(name)]
        targets.append(Target(data_set=name, is_foreign=False, figures=tuple(figures)))
    for name in sorted(foreign):
        at_home = {(f.question.evaluation, f.question.variant, f.metric): f for f in layout.figures if f.at_home}
        targets.append(Target(data_set=name, is_foreign=True, figures=tuple(at_home.values())))
    return targets


def lines_of(layout: Layout, target: Target, results: Sequence[Combined]) -> list[Line]:
    """All lines of a table."""
    lines: list[Line] = []
    rows = () if target.is_foreign else layout.table.rows
    last = {row.architecture: i for i, row in enumerate(layout.table.rows) if row.kind in {"ours", "labels"}}
    for i, row in enumerate(rows):
        lines += _paper_lines(layout, target, row, results)
        lines += [line for a, at in last.items() if at == i for line in _random_lines(layout, target, a, results)]
    if target.is_foreign:
        lines += [line for a in last for line in _random_lines(layout, target, a, results)]
    lines += _extra_lines(layout, target, results, placed=[result for line in lines for result in line.results])
    measured = [result for line in lines for result in line.results]
    if measured:
        lines.append(_chance_line(layout, target, lines))
    return lines


def _asks(figure: Figure, result: Combined) -> bool:
    """Whether a result answers a figure's question, in its variant or another one of the same table."""
    row, question = result.row, figure.question
    variants = (question.variant, *OTHER_VARIANTS.get(question.evaluation, ()))
    return row.evaluation == question.evaluation and row.variant in variants


def _answers(figure: Figure, result: Combined, variant: str | None = None) -> bool:
    """Whether it answers in exactly a figure's own variant, or in another one that is given."""
    return _asks(figure, result) and result.row.variant == (variant or figure.question.variant)


def _reported(figure: Figure, row: PaperRow | None) -> float | None:
    return None if row is None else row.results.get(figure.question, {}).get(figure.metric)


def _paper_lines(layout: Layout, target: Target, row: PaperRow, results: Sequence[Combined]) -> Iterator[Line]:
    is_measurable = row.kind in {"ours", "labels"}
    found = [
        [r for r in results if target.takes(figure, r) and _answers(figure, r) and r.line[1] is row]
        for figure in target.figures
    ]
    for joined in _joined(found) or [(None,) * len(found)]:
        entries = [
            Entry(figure=figure, reported=_reported(figure, row), result=result)
            for figure, result in zip(target.figures, joined, strict=True)
        ]
        kind: LineKind = "measured" if any(joined) else "paper"
        yield Line(
            labels=paper_labels(layout.labels, row),
            kind=kind if is_measurable else "published",
            is_measurable=is_measurable,
            entries=tuple(entries),
        )


def _random_lines(layout: Layout, target: Target, architecture: str, results: Sequence[Combined]) -> Iterator[Line]:
    """Measured or not, unless the paper has nothing to hold against it."""
    random = [r for r in results if r.row.pretraining is None and r.row.architecture == architecture]
    found = [[r for r in random if target.takes(figure, r) and _answers(figure, r)] for figure in target.figures]
    missing = [] if target.is_foreign else [(None,) * len(found)]
    for joined in _joined(found) or missing:
        labels = random_labels(layout.labels, layout.random_method, architecture)
        yield _unreported(target, joined, labels, is_measurable=True)


def _extra_lines(
    layout: Layout, target: Target, results: Sequence[Combined], placed: Sequence[Combined]
) -> Iterator[Line]:
    """Results that the paper has no line for in any table, and those of other variants."""
    left = [r for r in results if r not in placed and (r.line[0] is None or r.line[0] is layout.table)]
    others = dict.fromkeys(v for f in target.figures for v in OTHER_VARIANTS.get(f.question.evaluation, ()))
    for variant in (None, *others):
        found = [
            [
                r
                for r in left
                if target.takes(figure, r) and _answers(figure, r, variant) and not _is_own(figure, variant)
            ]
            for figure in target.figures
        ]
        for joined in _joined(found):
            at_home = [r for figure, r in zip(target.figures, joined, strict=True) if r is not None and figure.at_home]
            if at_home:
                labels = result_labels(layout.labels, at_home[0], variant=variant)
                yield _unreported(target, joined, labels, is_measurable=False)


def _is_own(figure: Figure, variant: str | None) -> bool:
    return variant == figure.question.variant


def _unreported(
    target: Target, joined: Sequence[Combined | None], labels: tuple[str, ...], *, is_measurable: bool
) -> Line:
    entries = [
        Entry(figure=figure, reported=None if r is None else _reported(figure, r.line[1]), result=r)
        for figure, r in zip(target.figures, joined, strict=True)
    ]
    return Line(labels=labels, kind="extra", is_measurable=is_measurable, entries=tuple(entries))


def _chance_line(layout: Layout, target: Target, lines: Sequence[Line]) -> Line:
    entries = []
    for i, figure in enumerate(target.figures):
        results = [line.entries[i].result for line in lines]
        chances = {r.row.chance.get(figure.metric) for r in results if r is not None}
        chance = chances.pop() if len(chances) == 1 else None
        entries.append(Entry(figure=figure, reported=None, result=None, chance=chance))
    labels = ("guessing", *("-" for _ in layout.labels[1:]))
    return Line(labels=labels, kind="chance", is_measurable=False, entries=tuple(entries))


def _joined(found: Sequence[Sequence[Combined]]) -> list[tuple[Combined | None, ...]]:
    """The results of each figure -> lines: a network's results side by side, the second ones on a second line."""
    networks = dict.fromkeys(result.network for results in found for result in results)
    return [
        joined
        for network in networks
        for joined in zip_longest(*([r for r in results if r.network == network] for results in found))
    ]
