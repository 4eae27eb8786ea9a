"""Input videos and archives as streams of bytes, from a folder or an object store, fetched a little ahead.

In: a root (folder or URL) and paths below it. Out: videos that :func:`shardify.frames.decoding.decode_video` takes, or
an archive's bytes from first to last. Whatever is fetched stays in memory. A store that does not answer, or denies
access, ends the work with one line; one video that is not there any more is that video's matter, as in a folder.
"""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from shardify.errors import WorkError
from shardify.frames.decoding import VideoError
from shardify.frames.memory_file import MemoryFile
from shardify.storage.locations import is_url, join_location

if TYPE_CHECKING:
    from shardify.storage.object_store import ObjectStore

Item = TypeVar("Item")

_BUFFER_BYTES = 1 << 20
_POLL_SECONDS = 0.2


def open_videos(root: str, paths: Sequence[str]) -> Generator[Path | MemoryFile | VideoError]:
    """Each video in turn, ready to be decoded; those of an object store are in memory, the next one is under way.

    Args:
        root: folder or URL.
        paths: below it.

    Yields:
        A path, or a file in memory, to be closed by the caller; or the error if the object is gone.

    Raises:
        UsageError: if the store denies access.
        WorkError: if it does not answer, or an object ends too early.
    """
    if not is_url(root):
        yield from (Path(root, path) for path in paths)
        return
    from shardify.storage.object_store import ObjectStore

    store = ObjectStore(root)
    yield from ahead((_fetch(store, path) for path in paths), num_items=1)


def open_archive(root: str, path: str, num_bytes: int) -> io.BufferedReader[Any]:
    """An archive's bytes, to be read once from first to last.

    Raises:
        WorkError: now or while reading, if it cannot be read or is gone.
    """
    if is_url(root):
        from shardify.storage.object_store import ObjectStore

        pieces = ahead(_pieces(ObjectStore(root), path, num_bytes), num_items=1)
        return io.BufferedReader(PieceReader(pieces), _BUFFER_BYTES)
    try:
        return io.BufferedReader(io.FileIO(Path(root, path)), _BUFFER_BYTES)
    except OSError as error:
        raise WorkError(f"{join_location(root, path)} cannot be read: {error.strerror}") from None


def ahead(items: Iterable[Item], num_items: int) -> Generator[Item]:
    """Draw items in a thread, so that the next ones come while the caller is busy; errors arrive in their turn.

    Args:
        items: drawn from in one other thread alone.
        num_items: so many wait to be taken, and one more is being drawn.
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
        except BaseException as error:  # noqa: BLE001 - raised where the items are used
            put(_End(error))
        else:
            put(_End(None))

    # not an executor's thread: an interpreter that exits would wait for it, and an outage is long
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
    """Behind the last item: nothing, or what went wrong."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _fetch(store: ObjectStore, path: str) -> MemoryFile | VideoError:
    memory = MemoryFile(path)
    try:
        for piece in store.stream(path, store.size(path)):
            memory.write(piece)
    except FileNotFoundError:
        memory.close()
        return VideoError(status="transient", reason="cannot be read: No such file or directory")
    except BaseException:
        memory.close()
        raise
    return memory


def _pieces(store: ObjectStore, path: str, num_bytes: int) -> Iterator[bytes]:
    try:
        yield from store.stream(path, num_bytes)
    except FileNotFoundError:
        raise WorkError(
            f"{store.url(path)} is not there any more; put it back and run the same command again"
        ) from None


class PieceReader(io.RawIOBase):
    """Pieces of bytes as a file that is read from first to last."""

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
