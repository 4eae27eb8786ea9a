"""`python -m shardify`, and the console script `shardify`."""

from __future__ import annotations

from shardify.process import run_process


def run() -> None:
    """Run the command as this process."""
    run_process(_run)


def _run() -> None:
    from shardify.cli import main

    main(prog_name="shardify")


if __name__ == "__main__":
    run()
