"""Parts of the held-out videos on which a temporal score may differ: repeated frames, black bars, frame rates.

In: a split, and each video's sums. Out: the sums of each part that is large enough.
"""

from __future__ import annotations

from collections.abc import Iterator

from shardify.inspection.disturbances import disturbances_of
from shardify.progress import counting
from stream_train.audit.table import Counts
from stream_train.data.clips import decode_frame
from stream_train.data.reader import FrameReader, ShardSet

MIN_VIDEOS = 8
"""A smaller part gives no line."""


def parts_of(shard_set: ShardSet, counts: Counts) -> Iterator[tuple[str, Counts, str]]:
    """(name, sums, how to read it) of each part with at least MIN_VIDEOS videos that is not the whole."""
    reader = FrameReader(shard_set)
    named: dict[str, list[int]] = {}
    readings = {
        "repeated frames": "videos that repeat frames in a rhythm: a clip's true speed changes there",
        "no repeated frames": "all other videos",
        "black bars": "videos with black bars, which no transformation moves",
        "no black bars": "all other videos",
    }
    for position in counting(counts, unit="video"):
        entry = reader.entry(position)
        jpegs = reader.read(position, range(entry.num_frames))
        found = disturbances_of(
            decode_frame(jpeg, shard_set.geometry, f"{entry.key}: frame {frame}") for frame, jpeg in jpegs.items()
        )
        named.setdefault("repeated frames" if found.period else "no repeated frames", []).append(position)
        named.setdefault("black bars" if found.has_bars else "no black bars", []).append(position)
        rate = f"{entry.fps:.3g} frames a second"
        readings[rate] = "a clip of equal frames lasts longer at a low rate, and looks faster"
        named.setdefault(rate, []).append(position)
    for name in sorted(named, key=list(readings).index):
        if MIN_VIDEOS <= len(named[name]) < len(counts):
            yield name, {position: counts[position] for position in named[name]}, readings[name]
