"""An object read once, from its first byte to its last: stretches of it on the way, and its digest at the end.

In: a store and a name. Out: bytes, at most a piece and a stretch of them in memory; nothing is fetched twice.
"""

from __future__ import annotations

import hashlib

from shardify.storage import Store

PIECE_BYTES = 8 << 20


class Scan:
    """A reading of an object of a known size.

    Args:
        store: where it lies.
        name: its name.
        num_bytes: its size.
    """

    def __init__(self, store: Store, name: str, num_bytes: int) -> None:
        self._store = store
        self._name = name
        self._num_bytes = num_bytes
        self._digest = hashlib.sha256()
        self._start = 0
        self._held = b""
        """The bytes from `_start` to where the reading is."""

    def stretch(self, start: int, stop: int) -> bytes:
        """Bytes [start, stop), fewer where the object ends before; stretches are asked for in rising order.

        Raises:
            WorkError: if the object has become shorter, or cannot be read.
        """
        stop = min(stop, self._num_bytes)
        if start >= stop:
            return b""
        if start < self._start:  # only an index that is not this object's asks so
            return self._store.read_range(self._name, start, stop - start)
        while self._position < stop:
            self._read_on(keep_from=start)
        return self._held[start - self._start : stop - self._start]

    def sha256(self) -> str:
        """The digest of the whole object, in hexadecimal digits, for which the rest of it is read."""
        while self._position < self._num_bytes:
            self._read_on(keep_from=self._num_bytes)
        return self._digest.hexdigest()

    @property
    def _position(self) -> int:
        return self._start + len(self._held)

    def _read_on(self, *, keep_from: int) -> None:
        position = self._position
        piece = self._store.read_range(self._name, position, min(PIECE_BYTES, self._num_bytes - position))
        self._digest.update(piece)
        kept = self._held[keep_from - self._start :]
        self._held, self._start = kept + piece, position - len(kept)
