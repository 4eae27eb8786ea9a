"""A table as Markdown that is aligned in a terminal, and as CSV that loses nothing."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from helpers_results import pretraining_of, trained_at, write_result

from eval.results.combined import combine
from eval.results.paper_tables import FINETUNED_UCF101
from eval.tables.build import build_tables, tables_markdown
from eval.tables.format import Number, Table, TableRow, to_csv, to_markdown


def table_of(numbers: tuple[Number, ...]) -> Table:
    return Table(
        name="small",
        title="A table",
        columns=("method", "paper"),
        num_label_columns=1,
        rows=(
            TableRow(kind="measured", cells=("this | that", "68.3"), numbers=numbers[:2]),
            TableRow(kind="chance", cells=("b", "9.1"), numbers=numbers[2:]),
        ),
        notes=("A note " + "that is long " * 10 + "and ends.",),
    )


def test_markdown_is_aligned_and_its_notes_are_wrapped() -> None:
    assert to_markdown(table_of(())).splitlines() == [
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


def test_csv_has_a_line_for_each_number_in_full_precision(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"config": trained_at(3e-4), "network_config": {"kind": "c3d", "width": 1.0}}
    write_result(tmp_path, "transfer", "finetune", [1, 1, 0, 1], pretraining=pretraining_of(), **shared)
    (result,) = combine([tmp_path])
    measured = Number(question=FINETUNED_UCF101, metric="accuracy", reported=0.683, result=result)
    nothing = Number(question=FINETUNED_UCF101, metric="mae", result=result)
    chance = Number(question=FINETUNED_UCF101, metric="accuracy", chance=1 / 8)
    header, first, second = csv.reader(to_csv(table_of((measured, nothing, chance))).splitlines())
    assert dict(zip(header, first, strict=True)) == {
        "table": "small",
        "kind": "measured",
        "line": "this | that",
        "data_set": "ucf101",
        "evaluation": "transfer",
        "variant": "finetune",
        "metric": "accuracy",
        "reported": "0.683",
        "measured": "0.75",
        "low": "0.5",
        "high": "1.0",
        "num_splits": "1",
        "num_seeds": "1",
        "num_videos": "4",
        "num_groups": "2",
        "num_left_out": "0",
        "network": "pretrained",
        "architecture": "c3d",
        "trained_on": "ucf101",
        "epochs": "100",
        "weights": "sha256 of pretrained",
        "network_variant": "",
        "network_width": "1.0",
        "training_epochs": "75",
        "learning_rate": "0.0003",
        "differences": "learning rate 3e-4 (paper 5e-5)",
    }
    assert second == [*("small", "chance", "b", "ucf101", "transfer", "finetune", "accuracy", "", "0.125"), *[""] * 17]


def test_a_row_of_another_width_is_refused() -> None:
    row = TableRow(kind="extra", cells=("a", "b", "c"))
    with pytest.raises(ValueError, match="3 cells"):
        dataclasses.replace(table_of(()), rows=(row,))
