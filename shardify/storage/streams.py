"""Streams of bytes: prefetched in a thread, read as a file, or read once with a digest."""

from __future__ import annotations

import hashlib
import io
import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

from shardify.storage.store import Store

Item = TypeVar("Item")

PIECE_BYTES = 8 << 20
BUFFER_BYTES = 1 << 20
_POLL_SECONDS = 0.2


def prefetch(items: Iterable[Item], num_items: int) -> Generator[Item]:
    """Take items in one other thread while the caller works; an error arrives after the items before it.

    At most `num_items` wait for the caller, while the thread takes one more.
    """
    drawn: queue.Queue[Item | _End] = queue.Queue(num_items)
    abandoned = threading.Event()

    def put(item: Item | _End) -> None:
        while not abandoned.is_set():
            try:
                return drawn.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                pass
        return None

    def draw() -> None:
        try:
            for item in items:
                put(item)
                if abandoned.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            put(_End(error))
        else:
            put(_End(None))

    # not an executor's thread: the interpreter would wait for it at exit, perhaps during a long outage
    threading.Thread(target=draw, daemon=True).start()
    try:
        while True:
            item = drawn.get()
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                return
    finally:
        abandoned.set()


class _End:
    """Comes after the last item; holds the error if there was one."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class PieceReader(io.RawIOBase):
    """Pieces of bytes as a file that is read from start to end."""

    def __init__(self, pieces: Generator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        num_bytes = min(len(buffer), len(self._rest))
        buffer[:num_bytes] = self._rest[:num_bytes]
        self._rest = self._rest[num_bytes:]
        return num_bytes

    def close(self) -> None:
        if not self.closed:
            self._pieces.close()
        super().close()


class Scan:
    """Reads an object of known size once, from start to end, and computes its sha256."""

    def __init__(self, store: Store, name: str, num_bytes: int) -> None:
        self._store = store
        self._name = name
        self._num_bytes = num_bytes
        self._digest = hashlib.sha256()
        self._start = 0
        self._held = b""
        """The bytes from `_start` up to the current position."""

    def stretch(self, start: int, stop: int) -> bytes:
        """Bytes [start, stop), fewer at the end; call in rising order. WorkError if the object cannot be read fully."""
        stop = min(stop, self._num_bytes)
        if start >= stop:
            return b""
        if start < self._start:  # only a wrong index asks for earlier bytes
            return self._store.read_range(self._name, start, stop - start)
        while self._position < stop:
            self._read_on(keep_from=start)
        return self._held[start - self._start : stop - self._start]

    def sha256(self) -> str:
        """The hexadecimal digest of the whole object; reads the rest of it."""
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
