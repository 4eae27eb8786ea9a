"""The command `stream-train`: shards -> a pre-trained network, and its validation."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from shardify.command import CommandGroup, add_recipe_commands, json_option, set_option
from shardify.progress import say

if TYPE_CHECKING:
    from stream_train.training.config import PretrainConfig


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Pre-train video networks on shards, validate and audit them."""


@main.command("pretrain")
@click.argument("config")
@set_option
def pretrain_command(config: str, overrides: tuple[str, ...]) -> None:
    """Train as CONFIG (a recipe, or a YAML file) says. The same command again continues a stopped run.

    SIGTERM or SIGUSR1 stops the run: it finishes its step, saves, and exits with code 75. The first Ctrl-C does the
    same with code 130; a second one ends the run at once, but not under torchrun. There every failure has code 1.
    """
    from shardify.config import load_config
    from shardify.storage import open_store

    values = load_config(_config_model(), config, overrides)
    if values.data.reader.kind == "indexed":  # the other reader also takes paths of tars
        open_store(values.shards)
    from stream_train.training.loop import pretrain  # slow to import: report mistakes first, also a wrong folder

    pretrain(values, say=say)


@main.command("validate")
@click.argument("run")
@set_option
@json_option
def validate_command(run: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Validate a run's newest checkpoint on held-out videos.

    RUN is a folder or URL.
    """
    from stream_train.training.distributed import rank_of_process
    from stream_train.training.validation import validate_run, validation_lines

    validation = validate_run(run, overrides)
    if rank_of_process() != 0:
        return
    if as_json:
        click.echo(json.dumps(asdict(validation)))
    else:
        click.echo("\n".join(validation_lines(validation, run)))


@main.command("audit")
@click.argument("run")
@set_option
@json_option
def audit_command(run: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Ask whether a run's held-out score comes from motion.

    Or from something simpler. RUN is a folder or URL.

    Tests the newest checkpoint on changed clips and on parts of the videos, and beside it observers without a network.
    Writes audit.json and audit.png into RUN.
    """
    from stream_train.audit.run import audit_run
    from stream_train.audit.table import audit_lines

    audit = audit_run(run, overrides, say=say)
    click.echo(json.dumps(asdict(audit)) if as_json else "\n".join(audit_lines(audit)))


@main.command("export")
@click.argument("run")
@click.option("--out", required=True, help="Folder or URL for the network, its config and its results.")
@click.option("--card", is_flag=True, help="Also write a model card, README.md.")
@click.option(
    "--licence", help="The licence of the weights, for the card, such as cc-by-4.0; by default none is stated."
)
@click.option("--upload", help="Also upload the folder: hf://user/name. A new repository is private.")
def export_command(run: str, out: str, card: bool, licence: str | None, upload: str | None) -> None:
    """Copy a finished run into a small folder for others.

    `from_pretrained` loads it. RUN is a folder or URL.
    """
    from stream_train.training.sharing import export_run

    click.echo("\n".join(export_run(run, out, card=card, licence=licence, upload=upload)))


@main.command("preview")
@click.argument("dataset")
@click.option("--out", required=True, help="Folder or URL for the picture.")
def preview_command(dataset: str, out: str) -> None:
    """Draw the temporal transformations of a video, as PNG.

    DATASET is a folder or URL of shards.
    """
    from shardify.storage import open_store
    from stream_train.transformations.preview import write_transformations

    click.echo(write_transformations(open_store(dataset), out))


def _config_model() -> type[PretrainConfig]:
    from stream_train.training.config import PretrainConfig

    return PretrainConfig


add_recipe_commands(main, "pretrain", _config_model)
