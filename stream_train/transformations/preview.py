"""Figure 1: the temporal transformations of one video, a row of frames each.

In: a store that holds a finished data set. Out: a PNG, in a folder or an object store.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from shardify.inspection.strips import Strip, make_strip, write_strips
from shardify.shards.manifest import Manifest
from shardify.shards.reading import Sample, Shards
from shardify.storage.store import Store
from stream_train.transformations.sequences import (
    CLIP_LENGTH,
    MAX_SKIP,
    NUM_SPEEDS,
    frames_for_speed,
    periodic_indices,
    random_indices,
    speed_indices,
    step_of,
    warp_indices,
)

TRANSFORMATIONS_NAME = "transformations.png"
MAX_SEARCHED_SHARDS = 8
"""Indexes to search for a long video; enough, because shards are mixed at random."""

_EVERY = ("every frame", "every 2nd frame", "every 4th frame", "every 8th frame")


def write_transformations(store: Store, out: str | Path) -> str:
    """Draw the transformations into a folder or URL; returns and raises as :func:`write_strips`."""
    return write_strips(store, out, TRANSFORMATIONS_NAME, transformation_strips)


def transformation_strips(store: Store, manifest: Manifest) -> list[Strip]:
    """The 16-frame clips of Figure 1, all from one long video: each speed that fits, random, periodic, warp."""
    sample = _long_sample(Shards(store=store, manifest=manifest, records=manifest.shards[:MAX_SEARCHED_SHARDS]))
    num_frames = sample.num_frames
    largest = max((kappa for kappa in range(NUM_SPEEDS) if frames_for_speed(kappa) <= num_frames), default=0)
    generator = np.random.default_rng(0)  # any fixed draw will do for a picture
    permutation = generator.permutation(CLIP_LENGTH)
    longest_step = max(1, min(MAX_SKIP + 1, (num_frames - 1) // (CLIP_LENGTH - 1)))
    steps = generator.integers(1, longest_step, CLIP_LENGTH - 1, endpoint=True)
    kappa = min(1, largest)
    turn = 8 * step_of(kappa)
    rows = [(f"speed {step_of(k)}x", _EVERY[k], speed_indices(k)) for k in range(largest + 1)]
    rows += [
        ("random", "16 frames in random order", random_indices(permutation)),
        ("periodic", "forward, then backward", periodic_indices(kappa, turn)),
        ("warp", f"skips of 0 to {longest_step - 1} frames", warp_indices(steps)),
    ]
    return [make_strip(sample, indices, title, subtitle) for title, subtitle, indices in rows]


def _long_sample(samples: Iterable[Sample]) -> Sample:
    """The first sample that is long enough for all speeds, else the longest sample."""
    longest: Sample | None = None
    for sample in samples:
        if longest is None or sample.num_frames > longest.num_frames:
            longest = sample
        if longest.num_frames >= frames_for_speed(NUM_SPEEDS - 1):
            return longest
    assert longest is not None, "shards of a manifest hold samples"
    return longest
