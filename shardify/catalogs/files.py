"""The input of catalogs: the files of a folder or bucket, and the lines of a list. Errors name the file and line.

In: locations from a source config. Out: POSIX paths relative to the location, numbered lines, CSV rows, class names.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from shardify.errors import UsageError
from shardify.storage import open_store
from shardify.storage.locations import is_url, split_location

VIDEO_SUFFIXES = frozenset(
    {
        ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v",
        ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf",
        ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
    }
)  # fmt: skip
"""Lower-case endings of videos; decoding them may still fail."""

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")
"""Lower-case endings of the archives that can be read."""

OTHER_ARCHIVE_SUFFIXES = (".zip", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".tbz2", ".txz")
"""Lower-case endings of some archives that cannot be read."""

_WANTED = (
    "give a folder or URL of videos, or of .tar, .tar.gz or .tgz archives, or one archive, with --set source.videos="
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One non-blank line of a list."""

    number: int
    """From 1, blank lines included, as in an editor."""
    text: str
    """Without surrounding whitespace or line end."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a CSV list."""

    number: int
    """The line of the file where the row ends, from 1."""
    values: dict[str, str]
    """Cell by column name, without surrounding whitespace."""


def is_video(path: str) -> bool:
    """Whether a file's name ends like a video's."""
    return PurePosixPath(path).suffix.lower() in VIDEO_SUFFIXES


def is_archive(path: str) -> bool:
    """Whether a file's name ends like a tar archive's."""
    return path.lower().endswith(ARCHIVE_SUFFIXES)


def names_archive(location: str | Path) -> bool:
    """Whether a location is one archive, not a folder."""
    return is_archive(str(location)) and (is_url(location) or Path(location).is_file())


def scan_files(root: str | Path) -> list[str]:
    """The regular files below `source.videos` at any depth, as sorted relative POSIX paths; of one archive, its name.

    Links are followed, hidden names are left out. Raises UsageError if a folder cannot be listed, or there is no object
    below a URL; WorkError if an object store does not answer.
    """
    if names_archive(root):
        return [split_location(root)[1]]
    return _scan_bucket(str(root)) if is_url(root) else _scan_folder(Path(root))


def _why_not(location: str) -> str:
    """The reason why a location with this name cannot hold videos; blank if it can."""
    if location.lower().endswith(OTHER_ARCHIVE_SUFFIXES):
        return "archives of this kind are not read, unpack it or pack it anew"
    if is_video(location):
        return "this names one video"
    return ""


def _scan_bucket(url: str) -> list[str]:
    from shardify.storage.object_store import ObjectStore

    found = [path for path in ObjectStore(url).tree() if not any(part.startswith(".") for part in path.split("/"))]
    if not found:
        raise UsageError(f"source.videos = {url}: {_why_not(url) or 'no object lies there'}; {_WANTED}")
    return found


def _scan_folder(root: Path) -> list[str]:
    if not root.is_dir():
        reason = _why_not(str(root)) or "it is a file, not a folder" if root.exists() else "no such folder"
        raise UsageError(f"source.videos = {root}: {reason}; {_WANTED}")
    found: list[str] = []
    pending: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(root),))]
    while pending:
        prefix, chain = pending.pop()
        try:
            with os.scandir(root / prefix) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    # for a link to itself a DirEntry raises, but a Path is neither file nor folder
                    file = Path(entry.path) if entry.is_symlink() else entry
                    if file.is_file():
                        found.append(prefix + entry.name)
                    elif file.is_dir():
                        real = os.path.realpath(entry.path)
                        if real not in chain:  # a link to a folder above would make an endless loop
                            pending.append((f"{prefix}{entry.name}/", (*chain, real)))
        except OSError as error:
            raise UsageError(f"source.videos: cannot list {root / prefix}: {error.strerror}") from None
    return sorted(found)


def list_names(folder: str) -> list[str]:
    """Sorted names of the files directly in `source.lists`, a folder or URL; UsageError if there is no such folder."""
    if not is_url(folder) and not Path(folder).is_dir():
        reason = "it is a file, not a folder" if Path(folder).exists() else "no such folder"
        raise UsageError(f"source.lists = {folder}: {reason}; give the right one with --set source.lists=FOLDER")
    return open_store(folder).names()


def read_lines(path: str) -> list[Line]:
    """Read a text list; it may have any system's line ends, a byte-order mark and blank lines.

    Raises UsageError if the file cannot be read, is not UTF-8, or has only blank lines.
    """
    stream = io.StringIO(_read_text(path), newline=None)
    lines = [Line(number=number, text=line.strip()) for number, line in enumerate(stream, start=1)]
    lines = [line for line in lines if line.text]
    if not lines:
        raise UsageError(f"{path}: the list is empty")
    return lines


def read_csv(path: str, required: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a CSV list with a header line, local or at a URL.

    `required` columns need a value in every row; `optional` ones may be absent or blank, and are then "". Other columns
    are ignored. Raises UsageError if the file cannot be read, lacks a column or any row, or a row is malformed.
    """
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        lacking = [name for name in required if name not in header]
        if lacking:
            raise UsageError(
                f"{path}: no column {', '.join(lacking)} in its first line {','.join(header)!r}; "
                f"required: {', '.join(required)}" + (f"; optional: {', '.join(optional)}" if optional else "")
            )
        is_empty = True
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise UsageError(f"{path} line {reader.line_num}: {len(cells)} cells, but the header has {len(header)}")
            named = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            values = {name: named.get(name, "") for name in (*required, *optional)}
            blank = [name for name in required if not values[name]]
            if blank:
                raise UsageError(f"{path} line {reader.line_num}: column {', '.join(blank)} is blank")
            yield Row(number=reader.line_num, values=values)
            is_empty = False
    except csv.Error as error:
        raise UsageError(f"{path} line {reader.line_num}: not valid CSV: {error}") from None
    if is_empty:
        raise UsageError(f"{path}: the list is empty")


def read_label_map(path: str) -> tuple[str, ...]:
    """Class names, one per line, in label order; UsageError if the file is unreadable, empty, or repeats a class."""
    names: dict[str, int] = {}
    for line in read_lines(path):
        if line.text in names:
            raise UsageError(f"{path} line {line.number}: class {line.text!r} is already on line {names[line.text]}")
        names[line.text] = line.number
    return tuple(names)


def _read_text(path: str) -> str:
    try:
        if is_url(path):
            folder, name = split_location(path)
            data = open_store(folder).read(name)
        else:
            data = Path(path).read_bytes()
        return data.decode("utf-8-sig")  # read_text would change line ends
    except UnicodeDecodeError:
        raise UsageError(f"cannot read list {path}: it is not a UTF-8 text file") from None
    except OSError as error:
        raise UsageError(f"cannot read list {path}: {error.strerror}") from None
