"""The report: a run's folder -> one self-contained HTML page.

In: a folder with a pre-training run, with results of evaluations below it, or both. Out: a page that contains every
picture and number and loads no other file. For missing parts it names the command that makes them. Equal folders give
equal pages.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

from eval.report.evaluations import EvaluationResults, Rows, missing_evaluations, read_evaluations
from eval.report.forest import ForestPanel, forest_panels
from eval.report.pictures import Picture, find_pictures, read_picture
from eval.report.pretraining import Pretraining, holds_pretraining, read_pretraining
from eval.report.runs import require_something
from eval.report.shards import ShardFacts, read_shards
from eval.report.summary import summary_sentences
from eval.report.words import Missing
from eval.report.writing import REPORT_NAME, fill, page_target, write_page
from eval.results.combined import combine
from eval.results.rows import ROW_NAME, find_rows, read_row
from eval.tables.build import build_tables
from eval.tables.format import Table
from shardify.storage.locations import is_url, join_location, split_location
from shardify.storage.work_folder import work_folder
from stream_train.training.config import CONFIG_NAME

TEMPLATE_NAME = "page.html"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything that the template shows."""

    name: str
    summary: tuple[str, ...]
    panels: tuple[ForestPanel, ...]
    more_panels: tuple[ForestPanel, ...]
    """Probes with few labels; there are many."""
    tables: tuple[Table, ...]
    unmeasured_tables: tuple[Table, ...]
    """Only with the paper's numbers."""
    pretraining: Pretraining | None
    evaluations: tuple[EvaluationResults, ...]
    missing_evaluations: tuple[Missing, ...]
    saliency: tuple[Picture, ...]
    others: tuple[Picture, ...]
    shards: ShardFacts | None
    settings: dict[str, list[str]]
    """Text of a resolved config -> all files with this text, relative to the run's folder."""
    run: str
    """The folder or URL, as the user gave it."""


def write_report(run: str | Path, out: str | Path | None = None) -> str:
    """Write the page about a run's folder or URL, and return the page's location.

    `out` is the HTML file or its URL; by default REPORT_NAME in the run's folder.

    Raises:
        UsageError: if the folder holds nothing to report, or `out` is a folder.
        WorkError: if a result or picture is damaged, or the disk is full.
    """
    target = page_target(join_location(run, REPORT_NAME) if out is None else out)
    with work_folder(run, is_reported, create=False) as folder:
        page = render(read_contents(folder.path, str(run)))
    write_page(target, page)
    return target


def is_reported(name: str) -> bool:
    """Whether the page may show a file, by its path below a run."""
    return name.endswith((".json", ".jsonl", ".yaml", ".csv", ".png"))


def render(contents: Contents) -> str:
    """The HTML text."""
    return fill(TEMPLATE_NAME, contents)


def read_contents(run: Path, location: str | None = None) -> Contents:
    """Everything below a local folder that the page shows; `location` is the folder or URL that the user gave.

    Raises:
        UsageError: if there is no such folder, or it holds neither a run nor results.
        WorkError: if a result or picture is damaged.
    """
    location = location or str(run)
    require_something(run, location)
    rows = {PurePosixPath(folder.relative_to(run).as_posix()): read_row(folder) for folder in find_rows(run)}
    is_pretrained = holds_pretraining(run)
    pictures = _by_owner(run, rows)
    own = pictures.pop(PurePosixPath("."), []) if is_pretrained else []
    pretraining = read_pretraining(run, own, location) if is_pretrained else None
    strays = [picture for owner, found in pictures.items() if owner not in rows for picture in found]
    saliency = tuple(picture for picture in strays if PurePosixPath(picture.name).name.startswith("saliency"))
    results = combine([run])
    panels = forest_panels(run, results)
    tables = build_tables([run]) if rows else []
    return Contents(
        name=split_location(location)[1] if is_url(location) else run.resolve().name,
        summary=tuple(summary_sentences(pretraining, results)),
        panels=tuple(panel for panel in panels if not panel.has_few_labels),
        more_panels=tuple(panel for panel in panels if panel.has_few_labels),
        tables=tuple(table for table in tables if any(row.is_measured for row in table.rows)),
        unmeasured_tables=tuple(table for table in tables if not any(row.is_measured for row in table.rows)),
        pretraining=pretraining,
        evaluations=tuple(read_evaluations(rows, pictures)),
        missing_evaluations=tuple(missing_evaluations(rows)),
        saliency=saliency,
        others=tuple(picture for picture in strays if picture not in saliency),
        shards=read_shards(pretraining.shards, pretraining.validation) if pretraining and pretraining.shards else None,
        settings=_read_settings(run, rows),
        run=location,
    )


def _by_owner(run: Path, rows: Rows) -> dict[PurePosixPath, list[Picture]]:
    """All pictures in the page's order, by the folder of the nearest result above them, else by their own folder."""
    found = defaultdict(list)
    for name in find_pictures(run):
        owner = next((folder for folder in name.parents if folder in rows), name.parent)
        found[owner].append(read_picture(run, name))
    return {owner: sorted(own, key=lambda picture: (picture.rank, picture.name)) for owner, own in found.items()}


def _read_settings(run: Path, rows: Rows) -> dict[str, list[str]]:
    """Each config below a folder, equal ones once; for a result without a config file, the config of its row."""
    texts: dict[str, list[str]] = defaultdict(list)
    files = [PurePosixPath(path.relative_to(run).as_posix()) for path in sorted(run.rglob(CONFIG_NAME))]
    for file in files:
        texts[(run / file).read_text(encoding="utf-8", errors="replace")].append(str(file))
    for folder, row in rows.items():
        if folder / CONFIG_NAME not in files:
            text = yaml.safe_dump(row.config, sort_keys=False, allow_unicode=True, width=100)
            texts[text].append(str(folder / ROW_NAME))
    return dict(texts)
