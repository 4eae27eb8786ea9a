"""The tables of docs/findings.md are those of its rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eval.study.config import StudyConfig
from eval.study.outputs import write_outputs
from eval.study.rows_file import ROWS_NAME
from eval.tables.build import MARKDOWN_NAME
from shardify.config import load_config

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "findings"


def words_and_numbers(path: Path) -> tuple[list[str], list[float]]:
    """The text without its numbers and spaces, and the numbers."""
    parts = re.split(r"(-?\d+\.\d+)", path.read_text(encoding="utf-8"))
    return [re.sub(r"\s+|-{2,}:?", "", part) for part in parts[::2]], [float(part) for part in parts[1::2]]


@pytest.mark.slow
def test_the_tables_of_the_page_are_those_of_its_rows(tmp_path: Path) -> None:
    config = load_config(StudyConfig, ROOT / "configs" / "study" / "ucf101_8.yaml", (f"out={tmp_path}",))
    write_outputs(config, str(PAGE / f"{ROWS_NAME}.gz"))
    words, numbers = words_and_numbers(PAGE / MARKDOWN_NAME)
    again, numbers_again = words_and_numbers(tmp_path / MARKDOWN_NAME)
    assert words == again
    assert numbers_again == pytest.approx(numbers, abs=0.11)  # the last digit may be rounded otherwise
