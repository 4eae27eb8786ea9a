"""Everything that lies below `source.videos`: videos, archives, other files, and what cannot be one of them.

In: a folder, a URL or one archive. Out: a :class:`Found`, with POSIX paths relative to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from shardify.catalogs.content import (
    HEAD_BYTES,
    OTHER_ARCHIVE_SUFFIXES,
    is_archive,
    is_video,
    looks_like_video,
    why_hidden,
    why_no_video,
)
from shardify.catalogs.reasons import LOOP, NOWHERE, OTHER_CONTENT, SPECIAL, UNREADABLE
from shardify.errors import UsageError
from shardify.progress import counting
from shardify.shards.record import RECORD_THREADS
from shardify.shards.seen import LeftOut, tally
from shardify.storage.locations import is_url, split_location

_WANTED = (
    "give a folder or URL of videos, or of .tar, .tar.gz or .tgz archives, or one archive, with --set source.videos="
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What lies below a location, at any depth; sorted relative POSIX paths."""

    videos: tuple[str, ...] = ()
    """Files that are videos by their names, or by their content where the name does not tell."""
    archives: Mapping[str, int] = field(default_factory=dict)
    """Path of an archive -> bytes of its file."""
    others: Mapping[str, str] = field(default_factory=dict)
    """The other files, each with the reason why it is not a video; a list may name it nevertheless."""
    left_out: tuple[LeftOut, ...] = ()
    """What is no readable file: hidden, links that lead nowhere, unreadable folders ..."""
    again: Mapping[str, str] = field(default_factory=dict)
    """Path of a file that links lead to -> another path of the same file."""
    folders: tuple[str, ...] = ()
    """All folders that were looked into, also empty ones; of a bucket, those with files. Blank: the location itself."""


def names_archive(location: str | Path) -> bool:
    """Whether a location is one archive, not a folder."""
    return is_archive(str(location)) and (is_url(location) or Path(location).is_file())


def scan_files(root: str | Path) -> Found:
    """Everything below `source.videos`; of one archive, its name. Links are followed.

    Raises UsageError if the folder cannot be listed, or there is no object at or below a URL; WorkError if an object
    store does not answer.
    """
    if names_archive(root):
        return Found(archives={split_location(root)[1]: _archive_size(root)})
    return _scan_bucket(str(root)) if is_url(root) else _scan_folder(Path(root))


def _archive_size(location: str | Path) -> int:
    """Raises UsageError if a URL names no object."""
    if not is_url(location):
        return Path(location).stat().st_size
    from shardify.storage.object_store import ObjectStore

    folder, name = split_location(location)
    try:
        return ObjectStore(folder).size(name)
    except FileNotFoundError:
        raise UsageError(
            f"source.videos: there is no archive {location}; check the URL, and if it is a folder's, end it with /"
        ) from None


def _sort(
    files: Iterable[str],
    heads: Mapping[str, bytes],
    left_out: Iterable[tuple[str, str]],
    size_of: Callable[[str], int],
) -> Found:
    """Tell videos and archives from other files; `heads` are the first bytes of those whose name does not tell."""
    videos, archives, others = [], {}, {}
    for path in sorted(files):
        if is_archive(path):
            archives[path] = size_of(path)
        elif is_video(path) or looks_like_video(heads.get(path, b"")):
            videos.append(path)
        else:
            others[path] = why_no_video(path) or OTHER_CONTENT
    return Found(videos=tuple(videos), archives=archives, others=others, left_out=tally(left_out))


def _is_told_by_name(path: str) -> bool:
    return is_video(path) or is_archive(path) or bool(why_no_video(path))


def _scan_bucket(url: str) -> Found:
    from shardify.storage.object_store import ObjectStore

    store = ObjectStore(url)
    sizes = store.tree()
    hidden = {path: reason for path in sizes if (reason := why_hidden(path))}
    if len(hidden) == len(sizes):
        raise UsageError(f"source.videos = {url}: {_why_not(url) or 'no object lies there'}; {_WANTED}")
    files = [path for path in sizes if path not in hidden]
    unclear = [path for path in files if not _is_told_by_name(path)]
    with ThreadPoolExecutor(RECORD_THREADS) as pool:
        read = pool.map(lambda path: store.read_range(path, 0, min(sizes[path], HEAD_BYTES)), unclear)
        heads = counting(read, unit="file", doing="looking into", total=len(unclear))
        told = dict(zip(unclear, heads, strict=True))
    found = _sort(files, told, [(reason, path) for path, reason in hidden.items()], sizes.__getitem__)
    return replace(found, folders=tuple(sorted({path.rpartition("/")[0] for path in files})))


def _scan_folder(root: Path) -> Found:
    if not root.is_dir():
        reason = _why_not(str(root)) or "it is a file, not a folder" if root.exists() else "no such folder"
        raise UsageError(f"source.videos = {root}: {reason}; {_WANTED}")
    files: list[str] = []
    folders: list[str] = []
    left_out: list[tuple[str, str]] = []
    top = os.path.realpath(root)
    linked: dict[str, str] = {}  # path of a file that a link leads to -> where it really is
    pending: list[tuple[str, tuple[str, ...]]] = [("", (top,))]
    for prefix, chain in counting(_taken(pending), unit="folder", doing="listing"):
        try:
            with os.scandir(root / prefix) as entries:
                folders.append(prefix.rstrip("/"))
                for entry in entries:
                    path = prefix + entry.name
                    if reason := why_hidden(entry.name):
                        left_out.append((reason, path))
                    elif (kind := _kind(entry)) == "file":
                        files.append(path)
                        linked |= _linked(path, entry, chain[-1], top)
                    elif kind == "folder":
                        real = os.path.realpath(entry.path)
                        if real in chain:  # an endless loop
                            left_out.append((LOOP, path))
                        else:
                            pending.append((f"{path}/", (*chain, real)))
                    else:
                        left_out.append((NOWHERE if entry.is_symlink() else SPECIAL, path))
        except PermissionError as error:
            if not prefix:
                raise UsageError(f"source.videos: cannot list {root}: {error.strerror}") from None
            left_out.append((UNREADABLE, prefix))
        except OSError as error:  # it may pass, so what lies there must not be lost
            raise UsageError(f"source.videos: cannot list {root / prefix}: {error.strerror}") from None
    unclear = [path for path in files if not _is_told_by_name(path)]
    heads = {path: _read_head(root / path) for path in counting(unclear, unit="file", doing="looking into")}
    found = _sort(files, heads, left_out, lambda path: (root / path).stat().st_size)
    return replace(found, again=_files_again(files, linked, top), folders=tuple(sorted(folders)))


def _taken(pending: list[tuple[str, tuple[str, ...]]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The folders of a list that grows meanwhile."""
    while pending:
        yield pending.pop()


def _linked(path: str, entry: os.DirEntry[str], folder: str, top: str) -> dict[str, str]:
    """The path and the real place of a file that a link leads to; nothing for other files."""
    real = os.path.realpath(entry.path) if entry.is_symlink() else f"{folder}/{entry.name}"
    return {path: real} if real != f"{top}/{path}" else {}


def _files_again(files: Iterable[str], linked: Mapping[str, str], top: str) -> dict[str, str]:
    """Each path through a link whose file has another path too; the other is one without links, else the first."""
    paths = {f"{top}/{path}": path for path in files if path not in linked} if linked else {}
    others = {path: paths.setdefault(linked[path], path) for path in sorted(linked)}
    return {path: other for path, other in others.items() if other != path}


def _kind(entry: os.DirEntry[str]) -> str:
    """`file`, `folder` or blank; links are followed."""
    try:
        return "file" if entry.is_file() else "folder" if entry.is_dir() else ""
    except OSError:
        if entry.is_symlink():  # such as a link to itself
            return ""
        raise


def _read_head(path: Path) -> bytes:
    """The first bytes of a file; none if it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _why_not(location: str) -> str:
    """The reason why a location with this name cannot hold videos; blank if it can."""
    if location.lower().endswith(OTHER_ARCHIVE_SUFFIXES):
        return "archives of this kind are not read, unpack it or pack it anew"
    if is_video(location):
        return "this names one video"
    return ""
