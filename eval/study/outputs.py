"""What a study writes beside its jobs: tables, a picture, and all rows in one file.

In: results below a folder, or a file of rows. Out: files in the study's folder of tables, and the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from eval.pictures.study import Panel, study_figure
from eval.results.combined import Combined, combine
from eval.results.rows import is_of_rows
from eval.study.audits import is_audit, read_audits
from eval.study.comparisons import Comparisons, heading
from eval.study.config import StudyConfig
from eval.study.rows_file import ROWS_NAME, rows_text, unpack_rows
from eval.study.tables import study_tables
from eval.tables.build import MARKDOWN_NAME, write_tables
from eval.tables.format import Table
from shardify.errors import WorkError, counted
from shardify.storage import open_store
from shardify.storage.full_disk import temporary_folder
from shardify.storage.locations import join_location
from shardify.storage.work_folder import work_folder

PICTURE_NAME = "study.png"


def write_outputs(config: StudyConfig, rows: str | None = None) -> tuple[list[Table], str]:
    """Write all outputs of the results so far to the folder of tables; nothing without results.

    `rows` is a file to take the results from, instead of `out`. Returns the tables and the location of the Markdown.
    Raises WorkError if a result or the file is damaged.
    """
    with _results_folder(config, rows) as folder:
        found = combine([folder], study=folder) if folder.is_dir() else []
        results = [result for result in found if result.row.network in config.rows]
        if rows is not None and not results:
            raise WorkError(f"{rows} holds no result of this study's rows: {', '.join(config.rows)}")
        tables = study_tables(config, results, read_audits(config, folder))
        if tables:
            write_tables(tables, config.tables_location)
            with work_folder(config.tables_location) as out:
                _draw(config, results, out.path / PICTURE_NAME)
                out.publish()
            if rows is None:
                open_store(config.tables_location).write(ROWS_NAME, rows_text(found, folder).encode())
    return tables, join_location(config.tables_location, MARKDOWN_NAME)


@contextmanager
def _results_folder(config: StudyConfig, rows: str | None) -> Iterator[Path]:
    if rows is None:
        with work_folder(config.out, _is_wanted, create=False) as folder:
            yield folder.path
    else:
        with temporary_folder() as path:
            unpack_rows(rows, path)
            yield path


def _is_wanted(name: str) -> bool:
    return is_of_rows(name) or is_audit(name)


def _draw(config: StudyConfig, results: Sequence[Combined], path: Path) -> None:
    compared = Comparisons.of(results)
    panels = []
    for column in compared.columns:
        if column[3] == "mae":
            continue
        found = {name: compared.cells[name, column] for name in config.rows if (name, column) in compared.cells}
        chances = {result.row.chance.get(column[3]) for result in found.values()}
        metrics = {name: result.metrics[column[3]] for name, result in found.items()}
        chance = chances.pop() if len(chances) == 1 else None
        panels.append(Panel(title=heading(column), metrics=metrics, chance=chance))
    shown = [name for name in config.rows if any(name in panel.metrics for panel in panels)]
    seeds = {result.num_seeds for result in results}
    some = f"{min(seeds)} to {max(seeds)} seeds" if len(seeds) > 1 else counted(max(seeds), "seed")
    title = f"All rows of the study, {some}"
    study_figure(panels, shown, config.reference_row, path, title=title)
