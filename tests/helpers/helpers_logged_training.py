"""`stream-train` that also writes down which clips each rank has trained on; run it as a module, as the command is.

Each rank appends lines to `$CLIP_LOG/rank-RANK`, as `helpers_stream` does: a video's place in the endless stream, and
a hash of all that the network saw of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from helpers_stream import video_hash

import stream_train.training.loop as training
from stream_train.cli import main
from stream_train.data.batch import Batch
from stream_train.data.order import slots_of_rank
from stream_train.training.run import Run

compute_gradients = training.compute_gradients


def write_down(run: Run, batch: Batch) -> Any:
    """In place of a step's arithmetic: the same, after the lines."""
    slots = slots_of_rank(run.config.data.videos_per_batch, run.world.rank, run.world.size)
    lines = [f"{run.samples_consumed + slot} {video_hash(batch, place)}\n" for place, slot in enumerate(slots)]
    with Path(os.environ["CLIP_LOG"], f"rank-{run.world.rank}").open("a", encoding="utf-8") as file:
        file.write("".join(lines))
    return compute_gradients(run, batch)


if __name__ == "__main__":
    training.compute_gradients = write_down
    main()
