"""The loader's memory, with all its processes, does not grow from epoch to epoch."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from helpers_processes import descendants

from stream_train.data.config import DataConfig
from stream_train.data.loader import ClipStream
from stream_train.data.reader import open_shard_set
from stream_train.transformations.config import SamplingConfig
from stream_train.transformations.sampling import draw_clips

STRETCHES = 10
BATCHES = 60
"""In each stretch: about 18 epochs of the small data set."""
ALLOWED_BYTES = 3 << 20
"""Less than three batches hold; a leak of 7 KB a batch would reach it."""


def own_bytes(pid: int) -> int:
    """Memory of a process, its share of what it has in common with others of its family included.

    Without the pages of libraries: their share changes with any other process that uses the same libraries.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


def used_after_stretches(shards: Path, workers: int) -> list[int]:
    """Bytes that this process and all below it hold after each stretch of batches."""
    config = DataConfig(crop=32, num_workers=workers)
    draw = functools.partial(draw_clips, config=SamplingConfig())
    shard_set = open_shard_set(shards, None, config)
    used = []
    for number, _ in enumerate(ClipStream(shard_set, config, draw, seed=0, num_batches=STRETCHES * BATCHES), 1):
        if number % BATCHES == 0:
            gc.collect()
            used.append(sum(map(own_bytes, [os.getpid(), *descendants(os.getpid())])))
    return used


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_memory_stays_flat(small_dataset: Path, workers: int) -> None:
    # In a process of its own: what other tests left in this one, the loader's processes would copy page by page.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        used = pool.submit(used_after_stretches, small_dataset, workers).result()
    assert len(used) == STRETCHES
    assert max(used[2:]) - used[1] < ALLOWED_BYTES, [size >> 10 for size in used]
