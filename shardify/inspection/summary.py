"""Summaries of a finished data set for `shardify inspect` and `shardify urls`: dictionaries for --json, and text."""

from __future__ import annotations

import difflib
import io
import json
import tarfile
from collections import Counter
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np

from shardify.arrays import IntArray
from shardify.build.summary import group_reasons, short_words
from shardify.errors import UsageError, counted, first_names
from shardify.inspection.copies import Copies, find_copies
from shardify.inspection.disturbances import count_disturbances
from shardify.progress import counting
from shardify.shards.format import NO_LABEL, REJECTED_NAME, shard_name
from shardify.shards.index import TAR_BLOCK_BYTES, ShardIndex, read_index
from shardify.shards.manifest import Manifest, read_manifest
from shardify.shards.record import ShardRecord
from shardify.shards.seen import Seen, seen_lines
from shardify.storage.store import Store


def shard_urls(store: Store, split: str | None = None) -> list[str]:
    """One URL per shard, for stock readers; without a split, of all shards."""
    return [store.url(shard_name(shard.number, "tar")) for shard in read_manifest(store).shards_of(split)]


def summarise_dataset(store: Store, pixels: int = 0) -> dict[str, Any]:
    """Counts of a whole data set: samples, frames and bytes by split, class and length; rejects by reason.

    `pixels`: also decode so many samples, and count what disturbs temporal tasks in them.
    """
    manifest = read_manifest(store)
    indexes = [read_index(store, shard) for shard in counting(manifest.shards, unit="shard", doing="reading indexes")]
    lengths = np.concatenate([index.num_frames for index in indexes] or [np.empty(0, dtype=np.int64)])
    labels = Counter(label for index in indexes for label in index.labels.tolist())
    rejected = [json.loads(line) for line in store.read(REJECTED_NAME).splitlines()] if manifest.num_rejected else []
    return {
        "name": manifest.name,
        "location": store.location,
        "packing": manifest.packing,
        "height": manifest.height,
        "width": manifest.width,
        "ffmpeg_version": manifest.ffmpeg_version,
        "fingerprint": manifest.fingerprint(None) if manifest.shards else None,
        **_counts(manifest.shards),
        "splits": {split: _split_counts(manifest, split) for split in manifest.splits},
        "classes": {name: labels[label] for label, name in enumerate(manifest.classes)},
        "num_unlabelled": labels[NO_LABEL],
        "lengths": _length_histogram(lengths),
        "rejected": group_reasons([line["reason"] for line in rejected]),
        "num_missing": manifest.num_missing,
        "num_short": manifest.num_short,
        "copies": asdict(find_copies(zip(manifest.shards, indexes, strict=True))),
        "seen": asdict(manifest.seen) if manifest.seen else None,
    } | ({"disturbances": count_disturbances(store, manifest, pixels)} if pixels else {})


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The summary as text."""
    num_rejected = sum(summary["rejected"].values())
    bytes_per_frame = summary["num_bytes"] / max(summary["num_frames"], 1)
    lines = [
        f"{summary['name']} ({summary['location']})",
        f"  {_sizes(summary)}",
        f"  frames of {summary['width']}x{summary['height']} pixels, {bytes_per_frame:,.0f} bytes each with headers",
        f"  packing {summary['packing']}, ffmpeg {summary['ffmpeg_version']}",
        f"  {counted(num_rejected, 'video')} rejected, {summary['num_missing']} listed ones missing",
    ]
    lines += [f"    rejected {count}: {reason}" for reason, count in summary["rejected"].items()]
    if summary["num_short"]:
        lines.append(f"  {short_words(summary['num_short'])}")
    lines += [f"  {line}" for line in Copies(**summary["copies"]).lines()]
    if summary["seen"]:
        lines += [f"  {line}" for line in seen_lines(Seen.from_json(summary["seen"]))]
    if "disturbances" in summary:
        lines += _disturbance_lines(summary["disturbances"])
    if summary["splits"]:
        lines += ["splits", *_table({split: _sizes(counts) for split, counts in summary["splits"].items()})]
    if summary["lengths"]:
        lines += ["samples by number of frames", *_table(summary["lengths"])]
    if summary["classes"]:
        lines += ["samples by class", *_class_lines(summary["classes"])]
    return lines


def _class_lines(counts: dict[str, int]) -> list[str]:
    """A line for each class with samples, and one for all classes without."""
    filled = {name: count for name, count in counts.items() if count}
    empty = [name for name in counts if name not in filled]
    lines = _table(filled) if filled else []
    return [*lines, f"  no sample of {len(empty)} of {len(counts)} classes: {first_names(empty)}"] if empty else lines


def _disturbance_lines(counts: dict[str, Any]) -> list[str]:
    looked = counts["num_samples"]
    periods = ", ".join(f"{count} every {period} frames" for period, count in counts["periods"].items())
    rhythms = f" ({periods})" if periods else ""
    return [
        f"of {counted(looked, 'decoded sample')}",
        f"  {counts['num_rhythms']} repeat frames in a rhythm, so their speed is uneven{rhythms}",
        f"  {counts['num_bars']} have black bars",
    ]


def sample_record(store: Store, key: str) -> dict[str, Any]:
    """A sample's location and the content of its `KEY.json`. Raises UsageError if no sample has this key."""
    keys: list[str] = []
    for shard in counting(read_manifest(store).shards, unit="shard", doing="looking"):
        index = read_index(store, shard)
        if key in index.keys:
            position = index.keys.index(key)
            place = {"key": key, "shard": shard.number, "position": position, "splits": shard.splits}
            member: dict[str, Any] = json.loads(read_member(store, shard, index, position, "json"))
            return {**place, "offset": index[position].offset, **member}
        keys += index.keys
    close = difflib.get_close_matches(key, keys, n=3)
    hint = f"; close to it: {', '.join(close)}" if close else ""
    raise UsageError(f"{store.location} has no sample {key!r}{hint}")


def sample_paths(store: Store) -> list[str]:
    """The path of each sample's video below its source, in the order of the shards; for archives: archive/member."""
    paths: list[str] = []
    for shard in counting(read_manifest(store).shards, unit="shard", doing="reading paths"):
        index = read_index(store, shard)
        records = (read_member(store, shard, index, position, "json") for position in range(len(index)))
        paths += [json.loads(record)["path"] for record in records]
    return paths


def read_member(store: Store, shard: ShardRecord, index: ShardIndex, position: int, extension: str) -> bytes:
    """A sample's `KEY.cls` or `KEY.json`; both lie between the previous sample and this sample's first frame."""
    start = 0
    if position:
        before = index[position - 1]
        end = int(before.frame_offsets(index.packing)[-1] + before.frame_bytes[-1])
        start = -(-end // TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES
    sample = index[position]
    data = store.read_range(shard_name(shard.number, "tar"), start, sample.offset - TAR_BLOCK_BYTES - start)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        member = tar.extractfile(f"{sample.key}.{extension}")
        assert member is not None, "shards hold plain files only"
        return member.read()


def _counts(shards: tuple[ShardRecord, ...]) -> dict[str, int]:
    return {
        "num_shards": len(shards),
        "num_samples": sum(shard.num_samples for shard in shards),
        "num_frames": sum(shard.num_frames for shard in shards),
        "num_bytes": sum(shard.tar_bytes for shard in shards),
    }


def _split_counts(manifest: Manifest, split: str) -> dict[str, int]:
    return _counts(tuple(shard for shard in manifest.shards if split in shard.splits))


def _length_histogram(lengths: IntArray) -> dict[str, int]:
    """Samples by length; clips at speeds 1, 2, 4 and 8 need 16, 31, 61 and 121 frames (section 3.1)."""
    edges = [1, 16, 31, 61, 121]
    names = [f"{low} to {high - 1}" for low, high in pairwise(edges)] + [f"{edges[-1]} and more"]
    bins = np.searchsorted(edges, lengths, side="right") - 1
    counts = np.bincount(bins, minlength=len(edges)).tolist()
    return {name: count for name, count in zip(names, counts, strict=True) if count}


def _sizes(counts: dict[str, int]) -> str:
    return (
        f"{counted(counts['num_samples'], 'sample')}, {counted(counts['num_frames'], 'frame')}, "
        f"{counts['num_bytes'] / 1e6:,.1f} MB in {counted(counts['num_shards'], 'shard')}"
    )


def _table(rows: dict[str, Any]) -> list[str]:
    width = max(len(name) for name in rows)
    return [f"  {name:<{width}}  {value}" for name, value in rows.items()]
