"""A folder for results: a local folder, or the local copy of a location in an object store.

In: a location. Out: a folder for code that writes files, and :meth:`WorkFolder.publish`, which uploads new files, each
as a whole or not at all. For a local folder, publishing does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from shardify.errors import UsageError
from shardify.progress import Countdown, counting
from shardify.storage import open_store
from shardify.storage.folder_store import FolderStore
from shardify.storage.full_disk import temporary_folder
from shardify.storage.locations import check_location, check_writable, is_url, join_location, split_location
from shardify.storage.object_store import ObjectStore

Wanted = Collection[str] | Callable[[str], bool]
"""Names, as paths below the location, or a function that chooses from all names."""

DOWNLOAD_THREADS = 8

_Stamp = tuple[int, int, int]
"""Size, time of the last change and inode; they differ when the contents differ."""


class WorkFolder:
    """A folder to write results in, for a local folder or a URL.

    `last` names the files that tell readers that all others exist; they are uploaded after the others.
    """

    def __init__(self, location: str | Path, *, last: Collection[str] = ()) -> None:
        self.location = check_location(location)
        self._last = last
        self._store = ObjectStore(self.location) if is_url(location) else None
        self._path = None if self._store else Path(self.location)
        self._published: dict[str, _Stamp] = {}

    @property
    def path(self) -> Path:
        """The folder on this machine; for a URL only while :meth:`opened`."""
        assert self._path is not None, f"{self.location} is not open"
        return self._path

    def location_of(self, name: str) -> str:
        """A file's location for the user."""
        return join_location(self.location, name)

    @contextmanager
    def opened(self, wanted: Wanted = (), *, create: bool = True) -> Iterator[WorkFolder]:
        """Make the folder; for a URL, download the wanted files into a temporary copy.

        With `create`, make a local folder that does not exist, and refuse a read-only URL. Raises UsageError if the
        folder cannot be made or the location's settings are wrong, WorkError if the store fails for long or the disk is
        full.
        """
        if self._store is None:
            if create:
                open_store(self.location, create=True)
            yield self
            return
        if create:
            check_writable(self.location)
        with temporary_folder() as path:
            self._path = path
            try:
                self._download(self._store, wanted)
                yield self
            finally:
                self._path = None
                self._published = {}

    def publish(self) -> None:
        """Upload new and changed files, oldest change first, but not hidden files; each uploaded file is whole.

        Raises UsageError if the location cannot be written, WorkError if the store fails for a long time.
        """
        if self._store is None:
            return
        stamps = {name: _stamp(path) for name, path in self._files()}
        new = [name for name, stamp in stamps.items() if self._published.get(name) != stamp]
        for name in sorted(new, key=lambda name: (name.rpartition("/")[2] in self._last, stamps[name][1], name)):
            self._store.write(name, (self.path / name).read_bytes())
            self._published[name] = stamps[name]

    def _files(self) -> Iterator[tuple[str, Path]]:
        for path in self.path.rglob("*"):
            name = path.relative_to(self.path).as_posix()
            if _is_visible(name) and path.is_file():
                yield name, path

    def _download(self, store: ObjectStore, wanted: Wanted) -> None:
        names = [name for name in store.tree() if wanted(name)] if callable(wanted) else wanted
        with ThreadPoolExecutor(DOWNLOAD_THREADS) as threads:
            visible = list(filter(_is_visible, names))
            done = threads.map(lambda name: self._download_one(store, name), visible)
            for _ in counting(done, unit="file", doing="downloading", total=len(visible)):
                pass
        self._published = {name: _stamp(path) for name, path in self._files()}

    def _download_one(self, store: ObjectStore, name: str) -> None:
        try:
            data = store.read(name)
        except FileNotFoundError:
            return
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@contextmanager
def work_folder(
    location: str | Path, wanted: Wanted = (), *, last: Collection[str] = (), create: bool = True
) -> Iterator[WorkFolder]:
    """A new, open :class:`WorkFolder`; arguments and errors as there."""
    with WorkFolder(location, last=last).opened(wanted, create=create) as folder:
        yield folder


@contextmanager
def downloaded(location: str | Path) -> Iterator[Path]:
    """A local path to read one file: the file itself, or a temporary copy of an object.

    Raises:
        FileNotFoundError: if there is no such object; a local path is not checked.
        UsageError: if the settings of the location are wrong.
        WorkError: if the store fails for a long time, or the disk is full.
    """
    location = check_location(location)
    if not is_url(location):
        yield Path(location)
        return
    parent, name = split_location(location)
    store = ObjectStore(parent)
    with temporary_folder() as folder:
        path = folder / name
        size = store.size(name)
        with path.open("wb") as file, Countdown(size, unit="byte", doing=f"downloading {name}") as counter:
            for piece in store.stream(name, size):
                file.write(piece)
                counter.advance(len(piece))
        yield path


@contextmanager
def uploaded(location: str | Path) -> Iterator[Path]:
    """A local path to write one file; at the end the file is at the location. Makes the parent folder.

    Raises UsageError if the location cannot be written, WorkError if the store fails for long, or the disk is full.
    """
    location = check_writable(location)
    parent, name = split_location(location)
    if not is_url(location):
        open_store(parent, create=True)
        yield Path(location)
        return
    with temporary_folder() as folder:
        yield folder / name
        ObjectStore(parent).write_file(name, folder / name)


def require_writable(location: str | Path) -> None:
    """Check, before long work, that a location can be written; makes no folder.

    Raises UsageError if it cannot, WorkError if the store fails for a long time.
    """
    checked = check_writable(location)
    if is_url(checked):
        store, name = ObjectStore(checked), f".{uuid4().hex}{FolderStore.TEMPORARY_SUFFIX}"
        store.write(name, b"")
        store.delete(name)
        return
    path = Path(checked).absolute()
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        reason = "is read-only" if existing.is_dir() else "is a file"
        raise UsageError(f"cannot write to {location}: {existing} {reason}; give a location that can be written")


def _is_visible(name: str) -> bool:
    """Whether no part of a name is hidden or empty."""
    return not any(part.startswith(".") or not part for part in name.split("/"))


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino
