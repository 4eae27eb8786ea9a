"""`python -m eval`, and the console script `video-eval`."""

from __future__ import annotations

from shardify.process import run_process


def run() -> None:
    """Run the command as this process."""
    run_process(_run)


def _run() -> None:
    from eval.cli import main

    main(prog_name="video-eval")


if __name__ == "__main__":
    run()
