"""`python -m stream_train`, and the console script `stream-train`."""

from __future__ import annotations

from shardify.cli import run_process
from stream_train.cli import main


def run() -> None:
    """Run the command as this process."""
    run_process(main, "stream-train")


if __name__ == "__main__":
    run()
