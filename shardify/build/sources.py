"""Input videos and archives as bytes, from a folder or an object store, with a short prefetch.

In: a root (folder or URL) and paths below it. Out: videos for :func:`shardify.frames.decoding.decode_video`, or an
archive's bytes from first to last. Downloads stay in memory. If a store does not answer or denies access, the work ends
with one line. If a single video is gone or changes meanwhile, it is rejected, as in a folder.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardify.errors import ReplacedError, WorkError
from shardify.frames.decoding import VideoError
from shardify.frames.memory_file import MemoryFile
from shardify.storage.locations import can_list, is_url, join_location
from shardify.storage.streams import BUFFER_BYTES, PieceReader, prefetch

if TYPE_CHECKING:
    from shardify.storage.object_store import ObjectStore

_STAT_THREADS = 16
"""Files whose sizes are asked for at once; a network mount answers each slowly."""


def open_videos(root: str, paths: Sequence[str]) -> Generator[Path | MemoryFile | VideoError]:
    """Yield each video in turn; with an object store, the next video is downloaded meanwhile.

    Yields:
        A local path, or a file in memory that the caller closes; or the error if the object is gone or was replaced.

    Raises UsageError if the store denies access, WorkError if it does not answer or an object ends too early.
    """
    if not is_url(root):
        yield from (Path(root, path) for path in paths)
        return
    from shardify.storage.object_store import ObjectStore

    store = ObjectStore(root)
    yield from prefetch((_download(store, path) for path in paths), num_items=1)


def size_of(source: Path | MemoryFile | VideoError) -> int:
    """Bytes of a video's file; 0 if it is gone."""
    if isinstance(source, MemoryFile):
        return source.num_bytes
    return _file_size(source) if isinstance(source, Path) else 0


def current_sizes(root: str, paths: Sequence[str]) -> dict[str, int] | None:
    """Bytes of each video's file, 0 if it is gone; None below a web address, which lists nothing."""
    if not is_url(root):
        with ThreadPoolExecutor(_STAT_THREADS) as threads:
            return dict(zip(paths, threads.map(lambda path: _file_size(Path(root, path)), paths), strict=True))
    from shardify.storage.object_store import ObjectStore

    if not can_list(root):
        return None
    there = ObjectStore(root).tree()
    return {path: there.get(path, 0) for path in paths}


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def open_archive(root: str, path: str, num_bytes: int) -> io.BufferedReader[Any]:
    """An archive's bytes, to read once. Raises WorkError, now or later, if it cannot be read or is gone."""
    if is_url(root):
        from shardify.storage.object_store import ObjectStore

        pieces = prefetch(_pieces(ObjectStore(root), path, num_bytes), num_items=1)
        return io.BufferedReader(PieceReader(pieces), BUFFER_BYTES)
    try:
        return io.BufferedReader(io.FileIO(Path(root, path)), BUFFER_BYTES)
    except OSError as error:
        raise WorkError(f"{join_location(root, path)} cannot be read: {error.strerror}") from None


def _download(store: ObjectStore, path: str) -> MemoryFile | VideoError:
    memory = MemoryFile(path)
    try:
        for piece in store.stream(path, store.size(path)):
            memory.write(piece)
    except FileNotFoundError:
        memory.close()
        return VideoError(status="transient", reason="cannot be read: No such file or directory")
    except ReplacedError:
        memory.close()
        return VideoError(status="transient", reason="it changed while it was read; wait until it is whole")
    except BaseException:
        memory.close()
        raise
    return memory


def _pieces(store: ObjectStore, path: str, num_bytes: int) -> Iterator[bytes]:
    try:
        yield from store.stream(path, num_bytes)
    except FileNotFoundError:
        raise WorkError(f"{store.url(path)} is gone; put it back and run the same command again") from None
