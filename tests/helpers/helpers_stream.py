"""The clip stream of one rank in a process of its own: a line for each video, as soon as its batch is there.

    python helpers_stream.py LOCATION ACCESS CACHE WORKERS RANK RANKS START NUM_BATCHES OUT

Each line of OUT: the video's place in the endless stream, and a hash of all that the network would see of it.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path

from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.loader import ClipStream
from stream_train.data.order import slots_of_rank
from stream_train.data.reader import open_shard_set
from stream_train.transformations.config import SamplingConfig
from stream_train.transformations.sampling import draw_clips

VIDEOS_PER_BATCH = 6
CLIPS = 4


def write_stream(
    location: str, access: str, cache: str, workers: int, rank: int, ranks: int, start: int, num_batches: int, out: Path
) -> None:
    """Write the lines; START and NUM_BATCHES count global batches of six videos."""
    reader = {"kind": "indexed", "window_shards": 2, "access": access, "cache": {"folder": cache or None}}
    config = DataConfig.model_validate(
        {"crop": 32, "videos_per_batch": VIDEOS_PER_BATCH, "num_workers": workers, "reader": reader}
    )
    stream = ClipStream(
        open_shard_set(location, None, config),
        config,
        functools.partial(draw_clips, config=SamplingConfig()),
        seed=11,
        rank=rank,
        world_size=ranks,
        start_sample=start * VIDEOS_PER_BATCH,
        num_batches=num_batches,
    )
    slots = slots_of_rank(VIDEOS_PER_BATCH, rank, ranks)
    with out.open("a") as file:
        for number, batch in enumerate(stream, start):
            for place, slot in enumerate(slots):
                file.write(f"{number * VIDEOS_PER_BATCH + slot} {video_hash(batch, place)}\n")
            file.flush()


def video_hash(batch: Batch, place: int) -> str:
    """Of the place-th video of a batch."""
    digest = hashlib.sha256()
    for _, tensor in batch.tensors():
        digest.update(tensor[place * CLIPS : (place + 1) * CLIPS].numpy().tobytes())
    return digest.hexdigest()


def read_stream(paths: list[Path]) -> dict[int, set[str]]:
    """What was seen at each place, over several processes and their repetitions."""
    seen: dict[int, set[str]] = {}
    for path in paths:
        for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
            if line.endswith("\n"):
                place, digest = line.split()
                seen.setdefault(int(place), set()).add(digest)
    return seen


if __name__ == "__main__":
    words = sys.argv[1:]
    write_stream(*words[:3], *map(int, words[3:8]), Path(words[8]))  # type: ignore[call-arg, arg-type]
