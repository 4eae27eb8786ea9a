"""A page's contents -> HTML text -> a file or an object."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eval.report.forest import AXIS_TICKS
from eval.report.pretraining import frames_rows
from eval.results.paper import find_reported
from eval.results.training import recipe_words
from eval.results.words import (
    interval_words,
    metric_words,
    number_words,
    paper_words,
    training_words,
    variant_words,
)
from shardify.errors import UsageError, counted
from shardify.storage import open_store
from shardify.storage.locations import is_url, join_location, split_location
from stream_train.audit.table import shown_metrics

REPORT_NAME = "report.html"
DIGEST_LETTERS = 12
"""Letters of a sha256 on a page; enough to tell networks or data sets apart."""


def fill(template: str, contents: object) -> str:
    """The HTML text of a template of this folder, which knows `contents` as `page`."""
    return _environment().get_template(template).render(page=contents)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    words = (shown_metrics, counted, interval_words, metric_words, number_words, training_words, variant_words)
    functions = (*words, frames_rows, paper_words, recipe_words, find_reported)
    environment.globals |= {"ticks": AXIS_TICKS, "digest_letters": DIGEST_LETTERS} | {f.__name__: f for f in functions}
    environment.filters["quoted"] = shlex.quote
    environment.filters["thousands"] = "{:,}".format
    environment.filters["pieces"] = re.compile("(?<=[._/])").split  # where a long name may break
    return environment


def page_target(out: str | Path) -> str:
    """The file or URL for a page. Raises UsageError if it is a folder."""
    target = str(out)
    if not is_url(target) and Path(target).is_dir():
        raise UsageError(f"{target} is a folder; give a file with --out, such as {join_location(target, REPORT_NAME)}")
    return target


def write_page(target: str, page: str) -> None:
    """Write the HTML text, whole or not at all; makes the folder. Raises WorkError if the disk is full."""
    parent, name = split_location(target)
    open_store(parent, create=True).write(name, page.encode())
