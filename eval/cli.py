"""The command `video-eval`: each evaluation is a subcommand. The commands themselves import the slow modules."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from eval.evaluations.base import Evaluation
from eval.suite import EVALUATIONS, evaluate_everything
from shardify.command import CommandGroup, add_recipe_commands, json_option, set_option
from shardify.config import load_config
from shardify.progress import say, share_terminal

if TYPE_CHECKING:
    from eval.config import EvalConfig
    from eval.evaluations.base import Run
    from eval.results.rows import Row


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Evaluate pretrained networks: transfer, probes, retrieval, questions about time, and what they look at.

    Every evaluation reads one CONFIG: a recipe (see `video-eval recipes`), a YAML file or its URL. It writes one result
    row for each network, split and seed below the config's `out`, a folder or URL. A second run of the command
    computes only missing rows.
    """


all_clips_option = click.option(
    "--all-clips", is_flag=True, help="Test on every sub-sequence of a video, not on 32 to 63 of them."
)


def _add_command(evaluation: Evaluation) -> None:
    def run(config: str, overrides: tuple[str, ...], *, all_clips: bool = False, as_json: bool = False) -> None:
        _run(evaluation.load, config, overrides, all_clips, as_json, makes_rows=evaluation.makes_rows)

    command: Callable[..., None] = run
    if evaluation.makes_rows:
        command = json_option(command)
    if evaluation.has_all_clips:
        command = all_clips_option(command)
    main.command(evaluation.command, help=evaluation.help)(click.argument("config")(set_option(command)))


for _evaluation in EVALUATIONS:
    _add_command(_evaluation)


@main.command("all")
@click.argument("config")
@set_option
@all_clips_option
@json_option
def all_command(config: str, overrides: tuple[str, ...], *, all_clips: bool, as_json: bool) -> None:
    """Run every evaluation.

    Saliency only if a network has a trained head.
    """
    _run(lambda: evaluate_everything, config, overrides, all_clips, as_json)


def _run(
    load: Callable[[], Run],
    path: str,
    overrides: tuple[str, ...],
    all_clips: bool,
    as_json: bool,
    *,
    makes_rows: bool = True,
) -> None:
    """Evaluate, and print the rows; an evaluation without rows prints its own lines."""
    extra = ("transfer.all_clips=true", "probe.all_clips=true") if all_clips else ()
    config = load_config(_config_model(), path, (*overrides, *extra))
    from eval.results.rows import row_values  # after the config, so that its errors come quickly
    from shardify.storage.work_folder import require_writable
    from stream_train.training.distributed import joined_world

    with joined_world(config.device, config.threads) as world:
        world.do_on_main(lambda: require_writable(config.out))
        rows = load()(config, world, say if makes_rows else click.echo)
        if world.is_main and makes_rows:
            values = [row_values(row) for row in rows]
            click.echo(json.dumps(values, indent=2) if as_json else "\n".join(map(row_line, rows)))


def row_line(row: Row) -> str:
    """A row for the terminal: value, interval, chance, and the paper's number."""
    metrics = "  ".join(_metric(row, name) for name in row.metrics)
    data = f"{row.data_set} {row.train_split or 'all'}/{row.test_split or 'all'} seed {row.seed}"
    return f"{row.evaluation:<12} {row.variant:<13} {row.network:<12} {data}: {metrics}"


def _metric(row: Row, name: str) -> str:
    from eval.results.paper import find_reported
    from eval.results.words import paper_words

    metric = row.metrics[name]
    percent = name != "mae"
    scale, form = (100, "{:.1f}") if percent else (1, "{:.2f}")
    value, low, high = (form.format(scale * number) for number in (metric.value, metric.low, metric.high))
    asides = [f"{low} to {high}"] if metric.has_interval else []
    asides += [f"chance {form.format(scale * row.chance[name])}"] if name in row.chance else []
    asides += filter(None, [paper_words(name, find_reported(row))])
    return f"{name} {value}{' %' if percent else ''} ({', '.join(asides)})"


def _config_model() -> type[EvalConfig]:
    from eval.config import EvalConfig

    return EvalConfig


add_recipe_commands(main, "eval", _config_model)


@main.command("features")
@click.argument("source")
@click.argument("checkpoint")
@click.option("--out", required=True, help="File for the vectors: .npz, .safetensors or .parquet.")
@click.option("--split", default=None, help="Split of the shards; by default every sample.")
@set_option
@json_option
def features_command(
    source: str, checkpoint: str, out: str, split: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Write one feature vector per video.

    SOURCE: a folder of videos or shards. CHECKPOINT: a run or its export.
    """
    from eval.features.config import features_config

    values = {"source": source, "checkpoint": checkpoint, "out": out, "split": split}
    config = features_config(values, overrides)
    from eval.features.of_videos import write_features  # after the config, so that its errors come quickly
    from stream_train.training.distributed import rank_of_process

    summary = write_features(config, say)
    if rank_of_process() == 0:
        windows = ", {num_windows} windows" if config.windows else ""
        line = "{out}: {num_videos} videos" + windows + ", {num_dimensions} dimensions each, {num_rejected} rejected"
        click.echo(json.dumps(summary, indent=2) if as_json else line.format(**summary))


@main.command("tables")
@click.argument("folders", nargs=-1)
@click.option("--out", default=None, help="Folder for tables.md and a CSV file for each table with numbers.")
def tables_command(folders: Sequence[str], out: str | None) -> None:
    """Print the paper's tables with your results.

    Those below FOLDERS; without FOLDERS, only the paper's numbers.
    """
    from eval.tables.build import tables_markdown, tables_of, write_tables

    tables = tables_of(folders)
    click.echo(tables_markdown(tables), nl=False)
    if out is not None:
        for path in write_tables(tables, out):
            click.echo(path, err=True)


@main.command("report")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--out", default=None, help="The HTML file; by default RUN/report.html, for several runs runs.html.")
@click.option("--open", "opens", is_flag=True, help="Show the page in the browser.")
def report_command(runs: Sequence[str], out: str | None, *, opens: bool) -> None:
    """Write one HTML page about a run, or several runs.

    One RUN: everything below that folder. Several: what differs in their configs, their held-out results over the
    epochs, and their evaluations' results.
    """
    if len(runs) == 1:
        from eval.report.page import write_report

        page = write_report(runs[0], out)
    else:
        from eval.report.side_by_side import write_side_by_side

        page = write_side_by_side(runs, out)
    click.echo(page)
    if opens:
        click.launch(page)


def _finite(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number")
    return value


@main.command("plan")
@click.argument("config")
@set_option
@click.option(
    "--seconds",
    default=60.0,
    type=click.FloatRange(min=1),
    callback=_finite,
    help="How long to measure speeds here.",
)
@click.option(
    "--teraflops",
    type=click.FloatRange(min=0, min_open=True),
    callback=_finite,
    help="Do not measure: a GPU's real 10^12 operations/s.",
)
@click.option("--cores", type=click.IntRange(min=1), help="With --teraflops: cores that decode for it.")
@json_option
def plan_command(
    config: str,
    overrides: tuple[str, ...],
    *,
    seconds: float,
    teraflops: float | None,
    cores: int | None,
    as_json: bool,
) -> None:
    """Say what a config costs, before anyone starts.

    Clips, hours, and bytes to keep and to fetch. CONFIG is of a pre-training, evaluations or a study.

    Speeds are measured on this machine, with the config's data. For another machine, give its --teraflops: 320 is about
    a third of an H100's peak in bfloat16.
    """
    if cores is not None and teraflops is None:
        raise click.UsageError("--cores is for a machine that is not here: give its --teraflops too, or leave both out")
    from eval.planning.command import plan_config
    from eval.planning.plan import plan_text

    plan, out = plan_config(config, overrides, seconds=seconds, teraflops=teraflops, cores=cores)
    click.echo(json.dumps(plan.values(), indent=2) if as_json else plan_text(plan, out), nl=as_json)


@main.command("study")
@click.argument("config")
@set_option
@click.option(
    "--at-once", default=1, type=click.IntRange(1, 64), help="Processes, each with a job; with GPUs, one each."
)
@click.option("--tables-only", is_flag=True, help="Do no job; print the tables of what is done so far.")
@click.option(
    "--rows",
    help="Do no job; make tables and picture from this file or URL, the rows.jsonl of a study.",
)
@click.option("--worker", is_flag=True, hidden=True)
def study_command(
    config: str, overrides: tuple[str, ...], *, at_once: int, tables_only: bool, rows: str | None, worker: bool
) -> None:
    """Pre-train and evaluate many rows, then compare them.

    CONFIG is a recipe, such as demo or table1, or a YAML file.

    Start it as often as you like, also on several machines, if `out` is a folder or URL that all can write: no job is
    done twice, and the job of a process that died is taken over. Failed jobs are named at the end (exit code 1).
    """
    from eval.study.config import StudyConfig

    study = load_config(StudyConfig, config, overrides)
    from eval.study.command import run_study  # after the config, so that its errors come quickly
    from eval.study.running import work_on

    if worker:  # one of the processes of --at-once, which speaks for all
        share_terminal()
        work_on(study, say)
        return
    words = [config, *(word for override in overrides for word in ("--set", override))]
    for text in run_study(study, words, say, at_once=at_once, work=not tables_only, rows=rows):
        click.echo(text, nl=False)
