"""A :class:`Table` of results -> text: Markdown that is readable in a terminal, and CSV for programs."""

from __future__ import annotations

import csv
import io
import math
import re
import textwrap
from dataclasses import dataclass
from typing import Literal

from eval.results.combined import Combined
from eval.results.paper_tables import Question
from eval.results.rows import Metric
from eval.results.training import learning_rate_of, training_of
from eval.results.words import interval_words, plain_number

NOTE_WIDTH = 100
NOT_MEASURED = "not measured"

LineKind = Literal["paper", "measured", "published", "extra", "chance"]
"""An experiment of the paper that is not measured here; one that is; another method's number; a result that is not in
the paper; the value of guessing."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """The number of a cell. Accuracies are in [0, 1]."""

    question: Question
    metric: str
    reported: float | None = None
    """The paper's number."""
    result: Combined | None = None
    chance: float | None = None
    """The value of guessing, if the cell shows it."""

    @property
    def measured(self) -> Metric | None:
        if self.chance is not None:
            return Metric(value=self.chance, low=math.nan, high=math.nan)
        return self.result.metrics.get(self.metric) if self.result else None

    @property
    def reported_cell(self) -> str:
        return plain_number(self.metric, self.reported)

    @property
    def measured_cell(self) -> str:
        """Such as "68.3 [66.0, 70.6]", or NOT_MEASURED."""
        measured = self.measured
        if measured is None:
            return NOT_MEASURED
        value = plain_number(self.metric, measured.value)
        return f"{value} {interval_words(self.metric, measured)}" if measured.has_interval else value


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A line of a table."""

    kind: LineKind
    cells: tuple[str, ...]
    numbers: tuple[Number, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether the line holds a result, not only the paper's numbers or guessing."""
        return self.kind != "chance" and any(number.measured is not None for number in self.numbers)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the paper, or a similar one, for the paper's data sets or for one other."""

    name: str
    """The file name without its ending: table2, table2_ucf101-8."""
    title: str
    columns: tuple[str, ...]
    num_label_columns: int
    """The number of first columns with words; the others hold numbers, aligned on the right."""
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        wrong = [row.cells for row in self.rows if len(row.cells) != len(self.columns)]
        if wrong:
            raise ValueError(f"{wrong[0]} has {len(wrong[0])} cells, but there are {len(self.columns)} columns")


def file_words(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def to_markdown(table: Table) -> str:
    """The title, the table with aligned columns, and the notes; ends with a line break."""
    lines = [[cell.replace("|", r"\|") for cell in cells] for cells in (table.columns, *(r.cells for r in table.rows))]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(table.columns))]
    is_label = [i < table.num_label_columns for i in range(len(table.columns))]
    lines.insert(1, ["-" * w if label else "-" * (w - 1) + ":" for w, label in zip(widths, is_label, strict=True)])
    text = [f"## {table.title}", ""]
    for line in lines:
        aligned = zip(line, widths, is_label, strict=True)
        padded = [cell.ljust(width) if label else cell.rjust(width) for cell, width, label in aligned]
        text.append(f"| {' | '.join(padded)} |")
    wrap = textwrap.TextWrapper(
        NOTE_WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_on_hyphens=False,  # a folder or URL stays in one piece
        break_long_words=False,
    )
    notes = [wrap.fill(note) for note in table.notes]
    return "\n".join([*text, "", *notes]) + "\n"


def to_csv(table: Table) -> str:
    """One line for every reported or measured number, in full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *("table", "kind", "line", "data_set", "evaluation", "variant", "metric"),
            *("reported", "measured", "low", "high"),
            *("num_splits", "num_seeds", "num_videos", "num_groups", "num_left_out"),
            *("network", "architecture", "trained_on", "epochs", "weights"),
            *("network_variant", "network_width", "training_epochs", "learning_rate", "differences"),
        ]
    )
    for row in table.rows:
        line = ", ".join(cell for cell in row.cells[: table.num_label_columns] if cell)
        for number in row.numbers:
            if number.reported is not None or number.measured is not None:
                writer.writerow([table.name, row.kind, line, *_csv_cells(number)])
    return text.getvalue()


def _csv_cells(number: Number) -> list[object]:
    question, metric, measured, result = number.question, number.metric, number.measured, number.result
    ends = (measured.low, measured.high) if measured and measured.has_interval else (None, None)
    numbers = [metric, number.reported, measured and measured.value, *ends]
    if measured is None or result is None:
        return [question.data_set, question.evaluation, question.variant, *numbers, *[None] * 15]
    row, pretraining = result.row, result.row.pretraining or {}
    return [
        *(question.data_set, question.evaluation, row.variant, *numbers),
        *(result.num_splits, result.num_seeds, result.num_videos, result.num_groups, result.num_left_out),
        *(row.network, row.architecture, pretraining.get("data_set"), pretraining.get("epochs"), row.weights),
        *(row.options.get("variant"), row.options.get("width")),
        *(training_of(row).get("epochs"), learning_rate_of(row), "; ".join(result.reported.differences)),
    ]
