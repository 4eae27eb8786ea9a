"""`python -m stream_train`, and the console script `stream-train`."""

from __future__ import annotations

from shardify.process import run_process


def run() -> None:
    """Run the command as this process."""
    run_process(_run)


def _run() -> None:
    from stream_train.cli import main

    main(prog_name="stream-train")


if __name__ == "__main__":
    run()
