"""What this process moved to and from object stores: counters that can be subtracted, added up and shown.

In: calls of the storage layer. Out: :class:`Traffic`, a snapshot. Worker processes send theirs along with results.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Sums since the process began, or the difference of two of them."""

    bytes_read: int = 0
    """Bytes of bodies received from object stores."""
    bytes_written: int = 0
    requests: int = 0
    """Requests sent, repeated ones included; a multi-part upload counts once."""
    retries: int = 0
    """Requests that were sent again after a failure that may pass."""
    cache_hits: int = 0
    """Times that a shard was opened and found in the node's cache."""
    cache_misses: int = 0
    """Times that a shard was opened and had to be fetched into the cache first."""
    refetches: int = 0
    """Reads repeated because what came did not match its checksum."""
    substitutes: int = 0
    """Samples that stood in for damaged ones."""
    loader_wait_seconds: float = 0.0
    """Time that loaders waited for the frames of batches that were due; several wait at once, so the sum may exceed the
    time that went by."""

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(self)})

    def __bool__(self) -> bool:
        return self != Traffic()


_lock = threading.Lock()
_total = Traffic()


def count(amount: Traffic) -> None:
    """Add to this process's sums; from any thread."""
    global _total  # noqa: PLW0603 - one sum a process, as there is one network
    with _lock:
        _total += amount


def take() -> Traffic:
    """This process's sums so far, which begin anew."""
    global _total
    with _lock:
        taken, _total = _total, Traffic()
    return taken


def traffic() -> Traffic:
    """This process's sums so far."""
    return _total
