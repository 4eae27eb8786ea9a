"""What an archive holds once tar has unpacked it: which name has the bytes of which member.

In: the headers of an archive, in order. Out: for each member its names, and what is no file of the archive.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections import defaultdict
from functools import cached_property
from pathlib import PurePosixPath

from shardify.catalogs.content import why_hidden
from shardify.catalogs.reasons import NOWHERE, OVERWRITTEN, SPECIAL


class Contents:
    """The names in an archive; complete when all its headers were added."""

    def __init__(self) -> None:
        self.num_members = 0
        self.changed: set[str] = set()
        """Paths that are links, or come several times: their bytes are not those of their first member."""
        self._members: dict[str, int] = {}
        """Path -> number of the member with its bytes."""
        self._links: dict[str, str] = {}
        """Path of a symbolic link -> path it leads to."""
        self._left_out: list[tuple[str, str]] = []

    def add(self, info: tarfile.TarInfo) -> tuple[str, ...]:
        """Add a header; returns the path of a file that is not hidden and comes for the first time."""
        number, self.num_members = self.num_members, self.num_members + 1
        path = _clean(info.name)
        if info.isdir() or not path:
            return ()
        is_new = path not in self._members
        if info.isreg():
            self._put(path, number)
            return (path,) if is_new and not why_hidden(path) else ()
        if info.islnk() and (target := self._members.get(_clean(info.linkname))) is not None:
            self._put(path, target)
            self.changed.add(path)
        elif info.issym():
            self._links[path] = _clean(posixpath.normpath(posixpath.join(posixpath.dirname(path), info.linkname)))
            self.changed.add(path)
        else:
            self._left_out.append((NOWHERE if info.islnk() else SPECIAL, path))
        return ()

    def _put(self, path: str, number: int) -> None:
        if path in self._members:
            self.changed.add(path)
            self._left_out.append((OVERWRITTEN, path))
        self._links.pop(path, None)
        self._members[path] = number

    def paths_of(self, number: int) -> tuple[str, ...]:
        """The paths, without hidden ones, that have the bytes of a member in the end."""
        return self._paths.get(number, ())

    def left_out(self) -> list[tuple[str, str]]:
        """Reason and path of everything that is no file, or hidden."""
        nowhere = [(NOWHERE, path) for path, target in self._links.items() if self._follow(target) is None]
        hidden = [(reason, path) for path in self._members if (reason := why_hidden(path))]
        return [*self._left_out, *nowhere, *hidden]

    @cached_property
    def _paths(self) -> dict[int, tuple[str, ...]]:
        paths: defaultdict[int, list[str]] = defaultdict(list)
        for path, number in self._members.items():
            paths[number].append(path)
        for path, target in self._links.items():
            if (member := self._follow(target)) is not None:
                paths[member].append(path)
        return {
            number: tuple(sorted(path for path in names if not why_hidden(path))) for number, names in paths.items()
        }

    def _follow(self, path: str) -> int | None:
        """The member that a symbolic link leads to, over other links too."""
        for _ in range(len(self._links) + 1):
            if path not in self._links:
                return self._members.get(path)
            path = self._links[path]
        return None


def _clean(path: str) -> str:
    return "/".join(part for part in PurePosixPath(path).parts if part not in ("/", ".."))
