"""The lines of the paper's tables, with results on them.

In: a table's layout and all results. Out: :class:`Target`s, the data sets that the table is printed for, and its
:class:`Line`s for one of them: the paper's lines in its order, random weights after each network, then results that are
not in the paper, and last the value of guessing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from eval.results.combined import Combined
from eval.results.paper import GMACS
from eval.results.paper_tables import ALL_MOTIONS, PaperRow
from eval.results.rows import SEAM_METRIC, Row
from eval.results.training import learning_rate_of, rate_words
from eval.results.words import AUTHORS, NONE, data_set_words, network_words, question_words, variant_words
from eval.tables.format import LineKind, Number
from eval.tables.layouts import OTHER_VARIANTS, Column, Layout

_VARIANTS = {"frozen": "frozen convolutions", "finetune": "fine-tuned"}
Results = Sequence[Combined]
Joined = tuple[Combined | None, ...]
"""The results of one network on one line, one for each column."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The data that a table is printed for."""

    data_set: str | None
    """None: the paper's own, UCF101 and HMDB51."""
    columns: tuple[Column, ...]

    @property
    def is_foreign(self) -> bool:
        """Whether the paper has no numbers for this data."""
        return self.data_set is not None

    def holds(self, column: Column, result: Combined, variant: str | None = None) -> bool:
        """Whether a result belongs to a column, in `variant` or by default the column's own variant."""
        data_set = column.question.data_set if self.data_set is None else self.data_set
        is_variant = result.row.variant == (variant or column.question.variant)
        return result.data_set == data_set and is_variant and _asks(column, result)

    def number(self, column: Column, result: Combined | None = None, chance: float | None = None) -> Number:
        """The number of a column, with the paper's number for the result if there is one."""
        question = column.question
        return Number(
            question=question if self.data_set is None else replace(question, data_set=self.data_set),
            metric=column.metric,
            reported=_reported(column, result.reported.row) if result else None,
            result=result,
            chance=chance,
        )


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a table, as numbers."""

    labels: tuple[str, ...]
    kind: LineKind
    is_measurable: bool = False
    """Whether a missing result could be measured."""
    numbers: tuple[Number, ...]
    """One for each column of the target."""
    paper_labels: tuple[str, ...] = ()
    """The labels of the paper's numbers, where they differ from those of the measured ones."""

    @property
    def results(self) -> list[Combined]:
        return [number.result for number in self.numbers if number.result is not None]


def targets_of(layout: Layout, results: Results) -> list[Target]:
    """The paper's data sets, if they or no data set have results; then all other data sets with results."""
    papers, foreign = False, set()
    for result in results:
        columns = [column for column in layout.columns if column.at_home and _asks(column, result)]
        is_the_papers = any(column.question.data_set == result.data_set for column in columns)
        if result.reported.table is layout.table or is_the_papers:
            papers = True
        elif columns:
            foreign.add(result.data_set)
    targets = [Target(data_set=None, columns=layout.columns)] if papers or not foreign else []
    at_home = {(c.question.evaluation, c.question.variant, c.metric): c for c in layout.columns if c.at_home}
    return targets + [Target(data_set=name, columns=tuple(at_home.values())) for name in sorted(foreign)]


def lines_of(layout: Layout, target: Target, results: Results) -> list[Line]:
    """All lines of a table."""
    lines: list[Line] = []
    last = {row.architecture: i for i, row in enumerate(layout.table.rows) if row.kind in {"ours", "labels"}}
    for i, row in enumerate(layout.table.rows):
        lines += [] if target.is_foreign else _paper_lines(layout, target, row, results)
        if last.get(row.architecture) == i:
            lines += _random_lines(layout, target, row.architecture, results)
    lines += _extra_lines(layout, target, results, placed=[result for line in lines for result in line.results])
    if any(line.results for line in lines):
        lines += _chance_lines(layout, target, lines)
    return lines


def _asks(column: Column, result: Combined) -> bool:
    """Whether a result answers a column's question, in its variant or one of OTHER_VARIANTS."""
    question = column.question
    variants = (question.variant, *OTHER_VARIANTS.get(question.evaluation, ()))
    return result.row.evaluation == question.evaluation and result.row.variant in variants


def _reported(column: Column, row: PaperRow | None) -> float | None:
    return None if row is None else row.results.get(column.question, {}).get(column.metric)


def _join(target: Target, results: Results, belongs: Callable[[Column, Combined], bool]) -> list[Joined]:
    """The results of each network, side by side; further results of the same network go on further lines."""
    found = [[result for result in results if belongs(column, result)] for column in target.columns]
    networks = dict.fromkeys(_trained_network(result) for column in found for result in column)
    return [
        joined
        for network in networks
        for joined in zip_longest(*([r for r in column if _trained_network(r) == network] for column in found))
    ]


def _trained_network(result: Combined) -> tuple[object, ...]:
    """Equal for results that may share a line; random weights share one only if they learnt at the same rate."""
    return (*result.network, None if result.row.weights else learning_rate_of(result.row))


def _with_rates(method: str, rates: Iterable[float | None]) -> str:
    """A method's name with the learning rate, if there is one only."""
    known = {rate for rate in rates if rate is not None}
    return f"{method}, {rate_words(known.pop())}" if len(known) == 1 else method


def _shown(joined: Joined) -> list[Combined]:
    return [result for result in joined if result is not None]


def _nothing(target: Target) -> Joined:
    return (None,) * len(target.columns)


def _numbers(target: Target, joined: Joined) -> tuple[Number, ...]:
    return tuple(target.number(column, result) for column, result in zip(target.columns, joined, strict=True))


def _paper_lines(layout: Layout, target: Target, row: PaperRow, results: Results) -> Iterator[Line]:
    is_measurable = row.kind in {"ours", "labels"}
    labels = {
        "method": row.method + ("*" if row.kind == "reimplemented" else ""),
        "speed loss": NONE if row.kind == "labels" else ("yes" if row.speed_loss else "no"),
        "network": row.network,
        "variant": AUTHORS if is_measurable and row.architecture in GMACS else NONE,
        "trained on": data_set_words(row.trained_on) or NONE,
    }
    found = _join(target, results, lambda c, r: target.holds(c, r) and r.reported.row is row)
    for joined in found or [_nothing(target)]:
        kind: LineKind = "measured" if any(joined) else ("paper" if is_measurable else "published")
        numbers = zip(target.columns, _numbers(target, joined), strict=True)
        measured = {}
        if shown := _shown(joined):
            rates = [(result.row.pretraining or {}).get("learning_rate") for result in shown]  # of its training before
            measured = {"method": _with_rates(labels["method"], rates), "variant": variant_words(shown[0].row)}
        yield Line(
            labels=_pick(layout, labels | measured),
            paper_labels=_pick(layout, labels),
            kind=kind,
            is_measurable=is_measurable,
            numbers=tuple(replace(number, reported=_reported(column, row)) for column, number in numbers),
        )


def _random_lines(layout: Layout, target: Target, architecture: str, results: Results) -> Iterator[Line]:
    """The lines of random weights, on foreign data only if measured."""
    random = [r for r in results if r.row.pretraining is None and r.row.architecture == architecture]
    found = _join(target, random, target.holds)
    lines = [(joined, [learning_rate_of(result.row) for result in _shown(joined)]) for joined in found]
    if not target.is_foreign:
        measured = {rate for _, rates in lines for rate in rates}
        missing = [rate for rate in layout.random_rates if rate not in measured]
        lines += [(_nothing(target), [rate]) for rate in missing]
        lines = lines or [(_nothing(target), [])]
    for joined, rates in lines:
        labels = {"method": _with_rates(layout.random_method, rates), "network": network_words(architecture)}
        labels |= {"variant": variant_words(shown[0].row)} if (shown := _shown(joined)) else {}
        numbers = _numbers(target, joined)
        yield Line(labels=_pick(layout, labels), kind="extra", is_measurable=True, numbers=numbers)


def _extra_lines(layout: Layout, target: Target, results: Results, placed: Results) -> Iterator[Line]:
    """Results without a line in any table of the paper, and results of other variants."""
    left = [r for r in results if r not in placed and r.reported.table in (None, layout.table)]
    others = dict.fromkeys(v for c in target.columns for v in OTHER_VARIANTS.get(c.question.evaluation, ()))
    for variant in (None, *others):

        def belongs(column: Column, result: Combined, variant: str | None = variant) -> bool:
            return variant != column.question.variant and target.holds(column, result, variant)

        for joined in _join(target, left, belongs):
            pairs = zip(target.columns, joined, strict=True)
            at_home = [result for column, result in pairs if result is not None and column.at_home]
            if at_home:
                labels = _pick(layout, _result_labels(at_home[0].row, layout.labels, variant))
                yield Line(labels=labels, kind="extra", numbers=_numbers(target, joined))


def _chance_lines(layout: Layout, target: Target, lines: Sequence[Line]) -> Iterator[Line]:
    """The value of guessing, and of answers from the seam alone where they were measured (before-after)."""

    def guess(result: Combined, metric: str) -> float | None:
        return result.row.chance.get(metric)

    def seam(result: Combined, metric: str) -> float | None:
        measured = result.metrics.get(SEAM_METRIC) if metric == result.main_metric else None
        return None if measured is None else measured.value

    for method, value_of in (("guessing", guess), ("seam only", seam)):
        numbers = []
        for i, column in enumerate(target.columns):
            results = [line.numbers[i].result for line in lines]
            values = {value_of(result, column.metric) for result in results if result is not None}
            numbers.append(target.number(column, chance=values.pop() if len(values) == 1 else None))
        if method == "guessing" or any(number.chance is not None for number in numbers):
            labels = _pick(layout, {"method": method})
            yield Line(labels=labels, kind="chance", numbers=tuple(numbers))


def _pick(layout: Layout, labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(column, NONE) for column in layout.labels)


def _result_labels(row: Row, columns: Sequence[str], variant: str | None) -> dict[str, str]:
    """The labels of a result without a line in the paper; they include the variant if it is given."""
    pretraining = row.pretraining or {}
    method = _method(row, with_speed_loss="speed loss" not in columns)
    if "network" not in columns and row.architecture not in {"c3d", "none"}:
        method += f", {network_words(row.architecture)}"
    if variant is not None:
        method += f", {_VARIANTS.get(variant, variant)}"
    return {
        "method": method,
        "speed loss": {True: "yes", False: "no"}.get(pretraining.get("speed_loss", NONE), NONE),
        "network": network_words(row.architecture),
        "variant": variant_words(row),
        "trained on": data_set_words(str(pretraining.get("data_set", NONE))),
    }


def _method(row: Row, *, with_speed_loss: bool) -> str:
    if row.pretraining is None:
        if row.architecture == "none":
            return f"{row.network}, no network"
        return _with_rates("random weights", [learning_rate_of(row)])
    question = str(row.pretraining["question"])
    if question != "transformations":
        return _with_rates(question_words(question), [row.pretraining.get("learning_rate")])
    motions = row.pretraining.get("motions", ())
    signal = " + ".join(("speed", *(motion for motion in ALL_MOTIONS if motion in motions)))
    if not with_speed_loss:
        return signal
    if not row.pretraining.get("speed_loss"):
        return f"{signal}, no speed loss"
    return "this method" if set(motions) == set(ALL_MOTIONS) else signal
