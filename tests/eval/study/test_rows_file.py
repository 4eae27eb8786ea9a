from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers_results import pretraining_of, write_result
from helpers_study import study_config, write_study

from eval.cli import main
from eval.results.combined import combine
from eval.results.rows import find_rows
from eval.study.outputs import PICTURE_NAME, write_outputs
from eval.study.rows_file import ROWS_NAME, rows_text, unpack_rows
from eval.tables.build import MARKDOWN_NAME
from shardify.errors import UsageError, WorkError
from stream_train.audit.table import AUDIT_NAME, Audit, AuditRow, write_audit


def audit_of(score: float) -> Audit:
    return Audit(
        task="transformations",
        step=10,
        split="test1",
        shards_fingerprint="0" * 64,
        num_videos=4,
        guesses={"speed_accuracy": 0.5},
        rows=tuple(
            AuditRow(
                group=group,
                name=name,
                num_videos=4,
                scores={"speed_accuracy": value},
                intervals={"speed_accuracy": (0.0, 1.0)},
                reading="a line",
            )
            for group, name, value in (
                ("network", "as in training", score),
                ("observer", "JPEG sizes", 0.375),
                ("videos", "black bars", 0.125),
            )
        ),
        frames_needed={"speed": {2: 0.25, 16: 0.5}},
    )


def write_two(out: Path) -> None:
    for seed in (0, 1):
        values = {"accuracy": [1, 0, 1 / 3, 1], "mae": [0.5, 1, 2, 3]}
        trained = pretraining_of()
        write_result(
            out / "all" / f"seed{seed}" / "x", "sync", "frozen", values, network="all", seed=seed, pretraining=trained
        )
        write_audit(out / "all" / f"seed{seed}", audit_of(0.5 + 0.25 * seed))
    write_result(out / "random" / "seed0" / "x", "probe", "fc-all", [1, 1, 0, 0, 1, 0], network="random")


def test_rows_come_back_byte_for_byte(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_two(out)
    path = tmp_path / "rows.jsonl"
    path.write_text(rows_text(combine([out], study=out), out))
    unpack_rows(path, tmp_path / "again")
    before, after = find_rows(out), find_rows(tmp_path / "again")
    assert [folder.relative_to(out) for folder in before] == [f.relative_to(tmp_path / "again") for f in after]
    for one, two in zip(before, after, strict=True):
        for name in ("row.json", "videos.csv"):
            assert (one / name).read_bytes() == (two / name).read_bytes()
    for seed in ("seed0", "seed1"):
        files = [folder / "all" / seed / AUDIT_NAME for folder in (out, tmp_path / "again")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert sum("keys" in line for line in path.read_text().splitlines()) == 2, "equal test videos stand there once"


def test_tables_and_picture_of_the_file_are_those_of_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_two(out)
    tables, _ = write_outputs(study_config(out, out))
    again = tmp_path / "again"
    path = write_study(tmp_path / "study.yaml", out, again)
    result = CliRunner().invoke(main, ["study", str(path), "--rows", str(out / ROWS_NAME)])
    assert result.exit_code == 0, result.output
    assert tables
    assert "All rows of the study" in result.output
    audits = next(table for table in tables if table.name == "study_audits")
    assert audits.columns[4:] == ("as in training", "JPEG sizes"), "parts of the videos have no column"
    assert [row.cells for row in audits.rows] == [("all", "2", "speed", "50.0", "62.5", "37.5")]
    names = {file.name for file in again.iterdir()}
    assert "study_audits.csv" not in names, "a table without numbers is no file for programs"
    assert names == {file.name for file in out.iterdir() if file.is_file()} - {ROWS_NAME}
    assert all((out / name).read_bytes() == (again / name).read_bytes() for name in names - {PICTURE_NAME})
    assert (again / PICTURE_NAME).read_bytes().startswith(b"\x89PNG")

    before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    _, location = write_outputs(study_config(out, out, tables="other", reference="speed"))
    assert location == str(out / "other" / MARKDOWN_NAME)
    assert {file.name for file in (out / "other").iterdir()} == before.keys()
    assert all((out / name).read_bytes() == data for name, data in before.items()), "tables of another study"


def test_a_compressed_file_gives_the_same_and_a_cut_one_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_two(out)
    text = rows_text(combine([out], study=out), out)
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(text.encode()))
    unpack_rows(path, tmp_path / "again")
    again = tmp_path / "again"
    assert rows_text(combine([again], study=again), again) == text
    for damaged in (path.read_bytes()[:-20], path.read_bytes()[:2], path.read_bytes()[:12] + bytes(40)):
        path.write_bytes(damaged)
        with pytest.raises(WorkError, match=r"rows\.jsonl\.gz is damaged"):
            unpack_rows(path, tmp_path / "b")


def change_folder(line: dict[str, Any]) -> None:
    line["folder"] = "../../elsewhere"


def shorten_folder(line: dict[str, Any]) -> None:
    line["folder"] = "x"


def empty_folder(line: dict[str, Any]) -> None:
    line["folder"] = ""


def count_from_the_end(line: dict[str, Any]) -> None:
    line["videos"] = -1


def change_evaluation(line: dict[str, Any]) -> None:
    line["row"]["evaluation"] = "divination"


def change_videos(line: dict[str, Any]) -> None:
    line["videos"] = 7


def change_values(line: dict[str, Any]) -> None:
    line["values"]["accuracy"].pop()


def change_type(line: dict[str, Any]) -> None:
    line["values"] = []


def change_audit(line: dict[str, Any]) -> None:
    line.pop("row")
    line["audit"] = {"task": "transformations"}


@pytest.mark.parametrize(
    "change",
    [
        *(change_audit, change_folder, shorten_folder, empty_folder, change_videos, count_from_the_end),
        *(change_evaluation, change_values, change_type, dict.clear),
    ],
)
def test_a_damaged_file_is_refused_and_nothing_is_written_outside(
    change: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_two(out)
    lines = [json.loads(line) for line in rows_text(combine([out], study=out), out).splitlines()]
    change(lines[-1])
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(WorkError, match=r"rows\.jsonl is damaged") as caught:
        unpack_rows(path, tmp_path / "a" / "b")
    assert "pydantic" not in str(caught.value)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("text", ["", '{"videos":{"keys":["a"],"groups":["a"],"labels":[0]}}'])
def test_a_file_without_this_study_s_rows_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(WorkError, match="holds no result of this study's rows: all, speed, random"):
        write_outputs(study_config(tmp_path, tmp_path / "out"), str(tmp_path / "rows.jsonl"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder; give the file rows\.jsonl"):
        unpack_rows(tmp_path, tmp_path / "again")
    with pytest.raises(WorkError, match=r"nowhere\.jsonl does not exist"):
        unpack_rows(tmp_path / "nowhere.jsonl", tmp_path)
