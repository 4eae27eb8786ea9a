"""A table of results as text: Markdown that reads well in a terminal, and CSV for machines.

In: a :class:`Table`, all of whose cells are already worded. Out: text.
"""

from __future__ import annotations

import csv
import io
import textwrap
from dataclasses import dataclass
from typing import Literal

from eval.results.rows import Metric

NOTE_WIDTH = 100

LineKind = Literal["paper", "measured", "published", "extra", "chance"]
"""An experiment of the paper's that is not measured here; one that is; a competitor's number; a result without a
counterpart in the paper; what guessing gives."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number behind a cell, for machines. Accuracies are in [0, 1]."""

    data_set: str
    evaluation: str
    variant: str
    metric: str
    reported: float | None
    """The paper's."""
    measured: Metric | None
    num_splits: int = 0
    num_seeds: int = 0
    num_videos: int = 0
    num_groups: int = 0
    num_left_out: int = 0
    network: str = ""
    architecture: str = ""
    trained_on: str = ""
    epochs: int | None = None
    weights: str = ""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A line of a table."""

    kind: LineKind
    cells: tuple[str, ...]
    """One a column."""
    numbers: tuple[Number, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the paper's, or one like it, on one data set or pair of them."""

    name: str
    """A file's name without its ending: table2, table2_ucf101-8."""
    title: str
    columns: tuple[str, ...]
    num_label_columns: int
    """The first ones, which are words; the others are numbers, set to the right."""
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]
    """Sentences to stand below."""

    def __post_init__(self) -> None:
        wrong = [row.cells for row in self.rows if len(row.cells) != len(self.columns)]
        if wrong:
            raise ValueError(f"{wrong[0]} has {len(wrong[0])} cells, but there are {len(self.columns)} columns")


def to_markdown(table: Table) -> str:
    """The title, the table with aligned columns, and the notes; ends with a line break."""
    lines = [[_escaped(cell) for cell in cells] for cells in (table.columns, *(row.cells for row in table.rows))]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(table.columns))]
    rules = ["-" * width if i < table.num_label_columns else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines.insert(1, rules)
    text = [f"## {table.title}", ""]
    for line in lines:
        padded = [
            cell.ljust(width) if i < table.num_label_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append(f"| {' | '.join(padded)} |")
    notes = [textwrap.fill(note, NOTE_WIDTH, initial_indent="- ", subsequent_indent="  ") for note in table.notes]
    return "\n".join([*text, "", *notes]) + "\n"


def to_csv(table: Table) -> str:
    """A line for every number that is reported or measured, in full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *("table", "kind", "line", "data_set", "evaluation", "variant", "metric"),
            *("reported", "measured", "low", "high"),
            *("num_splits", "num_seeds", "num_videos", "num_groups", "num_left_out"),
            *("network", "architecture", "trained_on", "epochs", "weights"),
        ]
    )
    for row in table.rows:
        line = ", ".join(cell for cell in row.cells[: table.num_label_columns] if cell)
        for number in row.numbers:
            if number.reported is None and number.measured is None:
                continue
            writer.writerow([table.name, row.kind, line, *_csv_cells(number)])
    return text.getvalue()


def _csv_cells(number: Number) -> list[object]:
    measured = number.measured
    ends = (measured.low, measured.high) if measured and measured.has_interval else (None, None)
    counts = [number.num_splits, number.num_seeds, number.num_videos, number.num_groups, number.num_left_out]
    return [
        *(number.data_set, number.evaluation, number.variant, number.metric),
        *(number.reported, measured and measured.value, *ends),
        *(counts if number.num_videos else [None] * len(counts)),
        *(number.network, number.architecture, number.trained_on, number.epochs, number.weights),
    ]


def _escaped(cell: str) -> str:
    return cell.replace("|", r"\|")
