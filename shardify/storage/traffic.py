"""Counters of what this process reads and writes: bytes, requests, hits in the cache, damaged samples, waiting.

Loader processes send theirs with their results.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Sums since the process began, or in a loader process since the last :func:`take`; or a difference of sums."""

    bytes_read: int = 0
    """Bytes of downloaded bodies."""
    bytes_written: int = 0
    requests: int = 0
    """Including retries; a multi-part upload counts once."""
    retries: int = 0
    cache_hits: int = 0
    """How often an opened shard was already in the node's cache."""
    cache_misses: int = 0
    """How often an opened shard had to be downloaded into the cache first."""
    refetches: int = 0
    """Reads repeated because the bytes did not match their checksum."""
    substitutes: int = 0
    """Samples used in place of damaged ones."""
    single_pictures: int = 0
    """Samples with one picture only, in tars of other programs that cannot be counted before they are read."""
    loader_wait_seconds: float = 0.0
    """Time that loaders waited for frames of due batches, summed over loaders; it may exceed the elapsed time."""

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(self)})

    def __bool__(self) -> bool:
        return self != Traffic()


_lock = threading.Lock()
_total = Traffic()


def count(amount: Traffic) -> None:
    """Add to this process's sums, from any thread."""
    global _total  # noqa: PLW0603 - one sum per process
    with _lock:
        _total += amount


def take() -> Traffic:
    """Return this process's sums so far, and set them to zero."""
    global _total
    with _lock:
        taken, _total = _total, Traffic()
    return taken


def traffic() -> Traffic:
    """This process's sums so far."""
    return _total
