"""Listed videos that are not there, but a file of nearly the same name is.

In: the listed names, those that are not there, and the videos that no list names. Out: which files are the listed
videos after all, which may be, and which are further copies.

Harmless are differences in upper and lower case, Unicode form and ending, folders above, backslashes instead of slashes
(lists from Windows), and a trailing `(1)` of the file if the list has none for this name: the file is used if it is
the only one, and the only listed video that it fits. Others, such as padding with zeros (`1.mp4`, `001.mp4`), another
folder or another number in brackets, may lead to another video: these files are only named. So may the case of names
that hold a YouTube id: `aBc` and `abc` are two videos.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from shardify.catalogs.content import VIDEO_SUFFIXES

_ENDINGS = "|".join(re.escape(suffix) for suffix in sorted({*VIDEO_SUFFIXES, ".3g2", ".m1v", ".mpe", ".ogg", ".qt"}))
_DECORATION = re.compile(rf"(?:{_ENDINGS})?(?:\?[^/]*)?$", re.IGNORECASE)
_COPY_NUMBER = re.compile(r"\s*\(\d+\)$")
_PADDING = re.compile(r"(?<!\d)0+(?=\d)")


@dataclass(frozen=True, kw_only=True)
class NearMisses:
    """Files of nearly the same name as a listed video."""

    used: Mapping[str, str]
    """Listed name -> the file that is used for it."""
    hints: Mapping[str, str]
    """Listed name -> a file that it may be."""
    copies: frozenset[str]
    """Files of the same name, but for harmless differences, as a listed video that is there."""


def find_near_misses(
    listed: Collection[str], missing: Collection[str], free: Collection[str], *, case_matters: bool = False
) -> NearMisses:
    """Compare names; `missing` are the listed videos that are not there, `free` the videos that no list names.

    With `case_matters`, names that differ in upper and lower case are those of two videos.
    """
    if not free:
        return NearMisses(used={}, hints={}, copies=frozenset())
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name in listed:
        names[plain_form(name, case_matters=case_matters)].append(name)
    numbered = {_without_number(form) for form in names if form != _without_number(form)}
    files: defaultdict[str, list[str]] = defaultdict(list)
    for path in free:
        for form in _ends(plain_form(path, case_matters=case_matters)):
            bare = _without_number(form)
            if form in names or (bare in names and bare not in numbered):
                files[form if form in names else bare].append(path)
                break
    gone = set(missing)
    used = {
        names[form][0]: paths[0]
        for form, paths in files.items()
        if len(paths) == len(names[form]) == 1 and names[form][0] in gone
    }
    taken = {path for form, paths in files.items() if not gone.issuperset(names[form]) for path in paths}
    loose: dict[str, str] = {}
    for path in sorted(set(free).difference(used.values()), reverse=True):
        loose[loose_form(path)] = path
    hints = {name: loose[form] for name in missing if name not in used and (form := loose_form(name)) in loose}
    return NearMisses(used=used, hints=hints, copies=frozenset(taken))


def plain_form(path: str, *, case_matters: bool = False) -> str:
    """A path without the harmless differences, except folders above and numbers in brackets."""
    text = unicodedata.normalize("NFC", path).replace("\\", "/")
    return _DECORATION.sub("", text if case_matters else text.casefold(), count=1)


def loose_form(path: str) -> str:
    """A path's file name without any of the differences."""
    return _PADDING.sub("", _without_number(plain_form(path).rpartition("/")[2]))


def _without_number(form: str) -> str:
    return _COPY_NUMBER.sub("", form)


def _ends(path: str) -> Iterator[str]:
    """A path, and the path without its first folders, one after the other."""
    while path:
        yield path
        path = path.partition("/")[2]
