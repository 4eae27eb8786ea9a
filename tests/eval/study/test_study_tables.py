from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from helpers_results import pretraining_of, write_result
from helpers_study import study_config

from eval.results.combined import combine
from eval.study.outputs import write_outputs
from eval.tables.format import Table


def write_seeds(
    out: Path, row: str, answers: Mapping[int, Sequence[float]], *, motions: list[str] | None = None
) -> None:
    """The transfer of one row on UCF101: right or wrong for each video, by seed; each seed has weights of its own."""
    for seed, right in answers.items():
        trained = None if motions is None else pretraining_of(motions=motions, epochs=100)
        weights = "" if motions is None else f"{row} {seed}"
        write_result(
            out / row / f"seed{seed}" / "ucf101",
            "transfer",
            "finetune",
            right,
            network=row,
            pretraining=trained,
            seed=seed,
            weights=weights,
        )


def tables_of(out: Path) -> dict[str, Table]:
    return {table.name: table for table in write_outputs(study_config(out, out))[0]}


def cells_of(table: Table) -> dict[str, tuple[str, ...]]:
    return {row.cells[0]: row.cells[1:] for row in table.rows}


def test_seeds_with_weights_of_their_own_are_one_result_of_a_study(tmp_path: Path) -> None:
    write_seeds(tmp_path, "all", {0: [1, 1, 1, 0], 1: [1, 1, 0, 0]}, motions=["random", "periodic", "warp"])
    assert [result.num_seeds for result in combine([tmp_path])] == [1, 1]
    (result,) = combine([tmp_path], study=tmp_path)
    assert (result.num_seeds, result.metrics["accuracy"].value) == (2, 0.625)
    assert result.root == tmp_path


def test_rows_stand_beside_the_paper_and_against_the_reference_on_the_same_seeds(tmp_path: Path) -> None:
    write_seeds(tmp_path, "all", {0: [1] * 12, 1: [1] * 10 + [0] * 2}, motions=["random", "periodic", "warp"])
    write_seeds(tmp_path, "speed", {0: [0] * 12, 1: [1] * 8 + [0] * 4}, motions=[])
    write_seeds(tmp_path, "random", {0: [0] * 11 + [1]})
    write_seeds(tmp_path, "removed", {0: [0] * 12})
    tables = tables_of(tmp_path)
    (line,) = [row for row in tables["table2"].rows if row.cells[:2] == ("this method", "C3D") and row.is_measured]
    assert {"68.3"} <= set(line.cells)
    assert any(cell.startswith("91.7 [") for cell in line.cells)
    values = cells_of(tables["study"])
    assert list(values) == ["all", "speed", "random"], "rows of the config only, in its order"
    assert [values[name][0] for name in values] == ["4 x 5 x 1", "1 x 5 x 1", "-"]
    assert values["speed"][1].startswith("33.3 [")
    differences = cells_of(tables["study_differences"])
    assert list(differences) == ["speed", "random"]
    assert differences["speed"][0].startswith("-58.3 [")
    assert differences["random"][0].startswith("-91.7 ["), "only the seed that both have"
    assert differences["random"][0].endswith(" worse")


def test_missing_results_are_said_and_nothing_is_compared_without_a_reference(tmp_path: Path) -> None:
    assert write_outputs(study_config(tmp_path, tmp_path))[0] == []
    write_seeds(tmp_path, "speed", {0: [0, 1, 1, 0]}, motions=[])
    tables = tables_of(tmp_path)
    assert cells_of(tables["study"])["all"][1] == "not measured"
    assert "study_differences" not in tables


@pytest.mark.parametrize("metric", ["accuracy", "mae"])
def test_synchronisation_has_two_columns(metric: str, tmp_path: Path) -> None:
    for row, error in (("all", 1.0), ("speed", 2.0)):
        write_result(
            tmp_path / row / "seed0" / "x",
            "sync",
            "frozen",
            {"accuracy": [0, 1] * 4, "mae": [error] * 4 + [0.0] * 4},
            network=row,
            pretraining=pretraining_of(),
        )
    differences = tables_of(tmp_path)["study_differences"]
    column = [("mean absolute error" in heading) for heading in differences.columns[1:]].index(metric == "mae")
    cell = cells_of(differences)["speed"][column]
    assert cell.startswith("0.50 [") if metric == "mae" else cell == "0.0 no interval"
