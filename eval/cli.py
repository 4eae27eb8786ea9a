"""The command `video-eval`: what a pretrained network is worth. An evaluation is one subcommand; there is none yet."""

from __future__ import annotations

import click

from shardify.cli import CommandGroup


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Judge pretrained networks. There is no evaluation yet; `stream-train validate` judges the pretext task."""
