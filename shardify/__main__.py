"""`python -m shardify`, and the console script `shardify`."""

from __future__ import annotations

from shardify.cli import main, run_process


def run() -> None:
    """Run the command as this process."""
    run_process(main, "shardify")


if __name__ == "__main__":
    run()
