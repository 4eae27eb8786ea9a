"""`python -m eval`, and the console script `video-eval`."""

from __future__ import annotations

from eval.cli import main
from shardify.cli import run_process


def run() -> None:
    """Run the command as this process."""
    run_process(main, "video-eval")


if __name__ == "__main__":
    run()
