"""Tars of other programs, without a manifest: where they are, how large they are, and what lies beside them.

In: a folder or its URL, or names with braces (`s3://bucket/clips-{000..007}.tar`, `pipe:...`). Out: :class:`PlainTars`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import braceexpand

from shardify.catalogs.content import why_hidden
from shardify.errors import UsageError, counted, first_names
from shardify.shards.format import MANIFEST_NAME
from shardify.shards.record import RECORD_THREADS
from shardify.storage import open_store
from shardify.storage.locations import can_list, is_url, join_location, split_location

_is_built = re.compile(r"shard-\d{6}\.(json|idx\.npz)").fullmatch
_is_packed = re.compile(r"\.(tar|tgz|tbz|txz|tzst)", re.IGNORECASE).search


@dataclass(frozen=True, kw_only=True)
class PlainTars:
    """Tars to read front to back."""

    urls: tuple[str, ...]
    """Paths, URLs or `pipe:` commands; never empty."""
    num_bytes: tuple[int, ...]
    """Size of each; 0 for the output of a command."""
    remarks: tuple[str, ...] = ()
    """What the user should know about the folder: what is not read, which number is missing."""

    @property
    def are_local(self) -> bool:
        """Whether all are files of this machine."""
        return not any(is_url(url) or _is_command(url) for url in self.urls)

    @property
    def named_sizes(self) -> list[str]:
        """Name and size of each, which tell one collection of tars from another."""
        return [f"{Path(url).name} {size}" for url, size in zip(self.urls, self.num_bytes, strict=True)]


def has_manifest(location: str | Path) -> bool:
    """Whether a location is a data set of ours, not tars of other programs."""
    if _is_command(str(location)):
        return False
    if _is_folder_url(str(location)):
        return open_store(location).exists(MANIFEST_NAME)
    return Path(location, MANIFEST_NAME).is_file()


def find_tars(location: str | Path) -> PlainTars:
    """The tars of a folder, sorted by name, or those that a text with braces names.

    Raises:
        UsageError: if there are none, one of those named is not there, the folder holds an unfinished data set of ours,
            or a web server is asked for a folder.
    """
    if _is_folder_url(str(location)) or (not _is_command(str(location)) and Path(location).is_dir()):
        return _tars_of_folder(str(location))
    urls = tuple(url for url in braceexpand.braceexpand(str(location)) if url)
    with ThreadPoolExecutor(RECORD_THREADS) as pool:
        return PlainTars(urls=urls, num_bytes=tuple(pool.map(_size, urls)))


def around_number(name: str) -> tuple[str, str, str]:
    """A name as the text before its last number, that number, and the text behind it; a blank number if it has none."""
    parts = re.fullmatch(r"(.*?)([0-9]*)([^0-9]*)", name, re.DOTALL)
    assert parts is not None, "every text has this form"
    return parts[1], parts[2], parts[3]


def _is_command(url: str) -> bool:
    return url.startswith("pipe:")


def _is_folder_url(location: str) -> bool:
    return is_url(location) and not _is_command(location) and not location.endswith((".tar", "}"))


def _size(url: str) -> int:
    if _is_command(url):
        return 0
    folder, name = split_location(url)
    try:
        return open_store(folder).size(name) if is_url(url) else Path(url).stat().st_size
    except OSError as error:
        raise UsageError(f"there is no tar {url} ({error.strerror}); check its name in shards") from None


def _tars_of_folder(location: str) -> PlainTars:
    if not can_list(location):
        raise UsageError(
            f"{location} holds no {MANIFEST_NAME}, and web servers cannot list their files; name tars of another "
            f"program with braces, such as {join_location(location, 'clips-{000..007}.tar')}"
        )
    sizes = _sizes_below(location)
    if built := [name for name in sizes if _is_built(name)]:
        raise UsageError(
            f"{location} holds {built[0]} but no {MANIFEST_NAME}: its build, or its download, has not finished; run "
            "`shardify build` again, or download it again"
        )
    names = [name for name in sizes if name.endswith(".tar") and "/" not in name and not why_hidden(name)]
    if not names:
        raise UsageError(
            f"{location} holds no {MANIFEST_NAME} and no .tar files; give a data set, a folder of tars, or a path like "
            "clips-{000..007}.tar"
        )
    others = sorted(filter(_is_packed, sizes.keys() - set(names)))
    return PlainTars(
        urls=tuple(join_location(location, name) for name in names),
        num_bytes=tuple(sizes[name] for name in names),
        remarks=(*_remark("more below it that are not read", others), *_remark("missing in the numbers", _gaps(names))),
    )


def _sizes_below(location: str) -> Mapping[str, int]:
    """Sizes of all files below a folder or URL, by their paths, sorted."""
    if is_url(location):
        from shardify.storage.object_store import ObjectStore

        return ObjectStore(location).tree()
    paths = sorted(Path(location).rglob("*"))
    files = [path for path in paths if path.is_file() or (path.suffix == ".tar" and not path.exists())]
    return {path.relative_to(location).as_posix(): _size(str(path)) for path in files}


def _gaps(names: Iterable[str]) -> list[str]:
    """Names that are missing between others that differ in their last number only, if most of the numbers are there."""
    series: defaultdict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for name in names:
        before, digits, behind = around_number(name)
        if digits:
            series[before, behind][int(digits)] = len(digits)
    gaps: list[str] = []
    for (before, behind), numbers in series.items():
        span = range(min(numbers), max(numbers) + 1)
        width = min(numbers.values()) if len(set(numbers.values())) == 1 else 0
        if span.stop - span.start < 2 * len(numbers):  # `len` refuses huge numbers
            gaps += [f"{before}{number:0{width}d}{behind}" for number in span if number not in numbers]
    return gaps


def _remark(words: str, names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    return (f"{counted(len(names), 'tar')} {words}: {first_names(names, 3)}",)
