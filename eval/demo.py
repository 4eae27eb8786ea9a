"""The command `temporal-ssl`: the whole pipeline on synthetic videos, from videos to a report, in the current folder.

Each step is a command of the three packages and is printed before it runs. A stopped demo continues with the same
command.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from shardify.command import CommandGroup
from shardify.process import run_process

RUN = "runs/demo"
PRETRAINING = (
    "shardify synthetic synthetic_demo",
    "shardify build demo",
    f"shardify preview data/demo/shards --out {RUN}",
    f"stream-train preview data/demo/shards --out {RUN}",
    "stream-train pretrain demo",
    f"stream-train validate {RUN}",
)
EVALUATION = (
    "video-eval all demo",
    f"video-eval tables {RUN} --out {RUN}/tables",
    f"video-eval report {RUN}",
)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Video representations without labels: the whole pipeline on synthetic videos.

    For your own videos there are three commands: `shardify` (videos to shards), `stream-train` (shards to a network)
    and `video-eval` (what the network has learnt).
    """


@main.command("demo")
def demo_command() -> None:
    """Make videos and shards, pre-train and validate a network, draw pictures (6 minutes on 2 cores).

    Writes data/demo and runs/demo into the current folder.
    """
    _run_steps(PRETRAINING)
    click.echo("\nThe pictures:\n" + "\n".join(map(str, sorted(Path(RUN).glob("*.png")))))
    from stream_train.training.validation import RESULT_NAME

    figures = json.loads(Path(RUN, RESULT_NAME).read_text(encoding="utf-8"))["figures"]
    click.echo(
        f"\nOn videos that it has never seen, the network recognises {figures['motion_accuracy']:.0%} of the "
        f"transformations (guessing: 25%) and {figures['speed_accuracy']:.0%} of the speeds (guessing: "
        f"{figures['speed_best_constant']:.0%}).\n"
        f"Next: `temporal-ssl demo-eval` (or `make demo-eval`) evaluates it and writes {RUN}/report.html."
    )


@main.command("demo-eval")
def demo_eval_command() -> None:
    """After `demo`: every evaluation, table and figure, and one page of it all (5 to 10 minutes)."""
    _run_steps(EVALUATION)


def _run_steps(steps: tuple[str, ...]) -> None:
    """Run commands in this process, one after the other; the first that fails gives its exit code."""
    for step in steps:
        click.echo(f"\n$ {step}")
        program, *words = shlex.split(step)
        exit_code = program_group(program).main(words, prog_name=program, standalone_mode=False)
        if exit_code:
            click.get_current_context().exit(exit_code)


def program_group(program: str) -> click.Group:
    """The click group of one of the three programs."""
    if program == "shardify":
        from shardify.cli import main as group
    elif program == "stream-train":
        from stream_train.cli import main as group
    else:
        from eval.cli import main as group
    return group


def run() -> None:
    """Run the command as this process."""
    run_process(lambda: main(prog_name="temporal-ssl"))


if __name__ == "__main__":
    run()
