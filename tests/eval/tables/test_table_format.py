"""A table as Markdown that is aligned in a terminal, and as CSV that loses nothing."""

from __future__ import annotations

import csv
import dataclasses
import math

import pytest

from eval.results.rows import Metric
from eval.tables.build import build_tables, tables_markdown
from eval.tables.format import Number, Table, TableRow, to_csv, to_markdown


def small_table() -> Table:
    number = Number(
        data_set="ucf101",
        evaluation="transfer",
        variant="finetune",
        metric="accuracy",
        reported=0.683,
        measured=Metric(value=0.5, low=0.25, high=0.75),
        num_splits=3,
        num_seeds=1,
        num_videos=24,
        num_groups=12,
        network="pretrained",
        architecture="c3d",
        trained_on="ucf101",
        epochs=100,
        weights="ab",
    )
    unsure = dataclasses.replace(number, reported=None, measured=Metric(value=1.0, low=math.nan, high=math.nan))
    nothing = dataclasses.replace(number, reported=None, measured=None)
    return Table(
        name="small",
        title="A table",
        columns=("method", "paper"),
        num_label_columns=1,
        rows=(
            TableRow(kind="measured", cells=("this | that", "68.3"), numbers=(number, nothing)),
            TableRow(kind="extra", cells=("b", "9.1"), numbers=(unsure,)),
        ),
        notes=("A note " + "that is long " * 10 + "and ends.",),
    )


def test_markdown_is_aligned_and_its_notes_are_wrapped() -> None:
    assert to_markdown(small_table()).splitlines() == [
        "## A table",
        "",
        "| method       | paper |",
        "| ------------ | ----: |",
        r"| this \| that |  68.3 |",
        "| b            |   9.1 |",
        "",
        "- A note" + " that is long" * 7,
        "  that is long that is long that is long and ends.",
    ]
    assert all(len(line) <= 170 for line in tables_markdown(build_tables([])).splitlines())


def test_csv_has_a_line_for_each_number_in_full_precision() -> None:
    header, first, second = csv.reader(to_csv(small_table()).splitlines())
    assert dict(zip(header, first, strict=True)) == {
        "table": "small",
        "kind": "measured",
        "line": "this | that",
        "data_set": "ucf101",
        "evaluation": "transfer",
        "variant": "finetune",
        "metric": "accuracy",
        "reported": "0.683",
        "measured": "0.5",
        "low": "0.25",
        "high": "0.75",
        "num_splits": "3",
        "num_seeds": "1",
        "num_videos": "24",
        "num_groups": "12",
        "num_left_out": "0",
        "network": "pretrained",
        "architecture": "c3d",
        "trained_on": "ucf101",
        "epochs": "100",
        "weights": "ab",
    }
    assert second[header.index("measured") : header.index("high") + 1] == ["1.0", "", ""]


def test_a_row_of_another_width_is_refused() -> None:
    row = TableRow(kind="extra", cells=("a", "b", "c"))
    with pytest.raises(ValueError, match="has 3 cells, but there are 2 columns"):
        dataclasses.replace(small_table(), rows=(row,))
