"""What the page says of the data set that a network learnt from.

In: where its shards lie. Out: :class:`ShardFacts`, in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eval.report.words import count_words
from shardify.errors import UsageError, UserFacingError
from shardify.inspection.summary import summarise_dataset
from shardify.shards.manifest import read_manifest
from shardify.storage import open_store
from shardify.storage.store import Store
from stream_train.training.validation import Validation


@dataclass(frozen=True, kw_only=True)
class ShardFacts:
    """A data set, or why it cannot be described."""

    location: str
    problem: str = ""
    """Why nothing is known; "" if it is."""
    warning: str = ""
    """What the reader should know before believing the rest."""
    facts: tuple[tuple[str, str], ...] = ()
    splits: tuple[tuple[str, ...], ...] = ()
    """Name, videos, frames, megabytes and shards of each."""
    lengths: tuple[tuple[str, str], ...] = ()
    """Range of frames, videos."""
    rejects: tuple[tuple[str, str], ...] = ()
    """Reason, videos."""
    classes: tuple[tuple[str, str], ...] = ()
    """Name, videos."""


def read_shards(location: str, validation: Validation | None) -> ShardFacts:
    """Describe a data set; one that is gone or damaged gives the reason.

    Args:
        location: the folder.
        validation: what a network reached on a split of it, if that is known.
    """
    try:
        store = open_store(location)
        summary = summarise_dataset(store)
        is_other = validation is not None and _fingerprint(store, validation.split) != validation.shards_fingerprint
    except UserFacingError as error:
        return ShardFacts(location=location, problem=str(error))
    except OSError as error:
        return ShardFacts(location=location, problem=f"{error.filename}: {error.strerror}")
    num_rejected = sum(summary["rejected"].values())
    changed = "The held-out videos that lie there now are not those that the network was judged on."
    return ShardFacts(
        location=location,
        warning=changed if is_other else "",
        facts=(
            ("name", summary["name"]),
            ("videos", f"{summary['num_samples']:,}, {summary['num_frames']:,} frames"),
            ("size", f"{_megabytes(summary)} in {count_words(summary['num_shards'], 'shard')}"),
            ("frames", f"{summary['width']} × {summary['height']} pixels"),
            (
                "left out",
                f"{count_words(num_rejected, 'video')} rejected, {summary['num_missing']:,} listed but missing",
            ),
            ("ffmpeg", summary["ffmpeg_version"]),
            ("fingerprint", summary["fingerprint"] or "none"),
        ),
        splits=tuple((name, *_size_cells(counts)) for name, counts in summary["splits"].items()),
        lengths=_pairs(summary["lengths"]),
        rejects=_pairs(summary["rejected"]),
        classes=_pairs(summary["classes"]),
    )


def _fingerprint(store: Store, split: str | None) -> str:
    """Of a split; "" if the data set has no such split any more."""
    try:
        return read_manifest(store).fingerprint(split)
    except UsageError:
        return ""


def _size_cells(counts: Mapping[str, int]) -> tuple[str, ...]:
    numbers = (f"{counts[name]:,}" for name in ("num_samples", "num_frames"))
    return (*numbers, _megabytes(counts), f"{counts['num_shards']:,}")


def _megabytes(counts: Mapping[str, Any]) -> str:
    return f"{counts['num_bytes'] / 1e6:,.1f} MB"


def _pairs(counts: Mapping[str, int]) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"{count:,}") for name, count in counts.items())
