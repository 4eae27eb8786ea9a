"""The command `video-eval`: what a pretrained network is worth. An evaluation is one subcommand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from shardify.command import CommandGroup, json_option, set_option

if TYPE_CHECKING:
    from eval.config import EvalConfig

ALL = "all"
SALIENCY = "saliency"
Command = TypeVar("Command", bound=Callable[..., None])


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Judge pretrained networks: transfer, probes, retrieval, questions about time, and pictures of what they look at.

    Every evaluation reads one CONFIG (configs/eval/*.yaml), leaves one result row for each network, split and seed
    below its `out`, a folder or URL, and goes on with what is missing there if it is started again.
    """


def _load(config: str, overrides: tuple[str, ...]) -> EvalConfig:
    from eval.config import EvalConfig
    from shardify.config import load_config

    return load_config(EvalConfig, config, overrides)


def _all_clips_option(name: str) -> Callable[[Command], Command]:
    """A flag of the evaluations that average over sub-sequences, and of no other."""
    if name not in ("transfer", "probe", "still", ALL):
        return lambda command: command
    return click.option(
        "--all-clips", is_flag=True, help="Test on every sub-sequence of a video, not on 32 to 63 of them."
    )


def _evaluation(name: str, text: str) -> None:
    @main.command(name, help=text)
    @click.argument("config")
    @set_option
    @_all_clips_option(name)
    @json_option
    def command(config: str, overrides: tuple[str, ...], as_json: bool, all_clips: bool = False) -> None:
        extra = ("transfer.all_clips=true", "probe.all_clips=true") if all_clips else ()
        _evaluate(name, _load(config, (*overrides, *extra)), as_json)


_TEXTS = {
    "transfer": "Fine-tune all layers to recognise actions (Table 2).",
    "probe": "New classifiers on frozen features, with all labels or few (Table 1).",
    "retrieval": "Nearest neighbours of test videos among training videos (Table 4, Figure 5).",
    "sync": "By how many frames two overlapping clips are shifted (Table 3).",
    "before-after": "Which of two pieces of a video comes first (Table 3).",
    "still": "The probe on clips that repeat one frame, beside the moving one.",
    ALL: "All of the above, and the saliency pictures.",
}
for _name, _text in _TEXTS.items():
    _evaluation(_name, _text)


def _evaluate(name: str, config: EvalConfig, as_json: bool) -> None:
    from eval.results.rows import row_values
    from eval.suite import EVALUATIONS, evaluate_everything, row_lines
    from shardify.storage.work_folder import require_writable
    from stream_train.training.distributed import joined_world

    evaluate = evaluate_everything if name == ALL else EVALUATIONS[name]
    with joined_world(config.device, config.threads) as world:
        world.do_on_main(lambda: require_writable(config.out))
        rows = evaluate(config, world, lambda line: click.echo(line, err=True))
        if world.is_main:
            text = json.dumps([row_values(row) for row in rows], indent=2) if as_json else "\n".join(row_lines(rows))
            click.echo(text)


@main.command(SALIENCY)
@click.argument("config")
@set_option
def saliency_command(config: str, overrides: tuple[str, ...]) -> None:
    """Show what networks look at: a picture and a short video (Figure 4)."""
    from eval.evaluations.saliency import draw_saliency
    from shardify.storage.work_folder import require_writable
    from stream_train.training.distributed import joined_world

    values = _load(config, overrides)
    with joined_world(values.device, values.threads) as world:
        world.do_on_main(lambda: require_writable(values.out))
        draw_saliency(values, world, click.echo)


@main.command("show-config")
@click.argument("config")
@set_option
def show_config_command(config: str, overrides: tuple[str, ...]) -> None:
    """Print CONFIG with every key, as an evaluation would use it."""
    from shardify.config import dump_config

    click.echo(dump_config(_load(config, overrides)), nl=False)


@main.command("features")
@click.argument("source")
@click.argument("checkpoint")
@click.option("--out", required=True, help="File for the vectors: .npz or .safetensors.")
@click.option("--split", default=None, help="Split of a data set of shards; every sample if left out.")
@set_option
@json_option
def features_command(
    source: str, checkpoint: str, out: str, split: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Write one feature vector a video: SOURCE is a folder of videos or of shards, CHECKPOINT a run or its export."""
    from eval.features.config import features_config

    values = {"source": source, "checkpoint": checkpoint, "out": out, "split": split}
    config = features_config(values, overrides)
    from eval.features.of_videos import write_features  # after the config, so that a mistake in it is said at once
    from stream_train.training.distributed import rank_of_process

    summary = write_features(config, lambda line: click.echo(line, err=True))
    if rank_of_process() == 0:
        click.echo(json.dumps(summary, indent=2) if as_json else _features_line(summary))


def _features_line(summary: dict[str, object]) -> str:
    return "{out}: {num_videos} videos, {num_dimensions} dimensions each, {num_rejected} rejected".format(**summary)


@main.command("tables")
@click.argument("folders", nargs=-1)
@click.option("--out", default=None, help="Folder for one CSV file a table.")
def tables_command(folders: tuple[str, ...], out: str | None) -> None:
    """Print the paper's tables, measured beside reported, from the results below FOLDERS (none: reported only)."""
    from eval.tables.build import tables_markdown, tables_of, write_tables

    tables = tables_of(folders)
    click.echo(tables_markdown(tables), nl=False)
    if out is not None:
        for place in write_tables(tables, out):
            click.echo(place, err=True)


@main.command("report")
@click.argument("run")
@click.option("--out", default=None, help="The HTML file; RUN/report.html if left out.")
def report_command(run: str, out: str | None) -> None:
    """Put everything below the folder RUN into one HTML page."""
    from eval.report.page import write_report

    click.echo(write_report(run, out))
