"""How places are written: folders and URLs, checked, joined and taken apart; nothing here opens one.

In: what a user wrote in a config, a variable or on the command line. Out: the same place as it is used, or what was
probably meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from shardify.errors import UsageError

WRITABLE_SCHEMES = ("s3", "gs", "az")
SCHEMES = (*WRITABLE_SCHEMES, "https", "http")
PLACES = "s3://bucket/path, gs://bucket/path, az://container/path, https://host/path or a folder"

_OTHER_NAMES = {
    **dict.fromkeys(("s3a", "s3n", "minio"), "s3://bucket/path"),
    **dict.fromkeys(("gcs", "google"), "gs://bucket/path"),
    **dict.fromkeys(("azure", "abfs", "abfss", "wasb", "wasbs", "adl"), "az://container/path"),
    "file": "the folder's path alone",
}
"""How other programs call such places."""


def is_url(location: str | Path) -> bool:
    """Whether a location lies in an object store, not in a folder."""
    return "://" in str(location)


def check_url(url: str) -> str:
    """The scheme of a URL that can be opened, in lower case.

    Raises:
        UsageError: if it has another scheme, no bucket, or a part that paths do not have.
    """
    match = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(/.*)?", url, re.DOTALL)
    scheme = match[1].lower() if match else ""
    if match is None or scheme not in SCHEMES:
        hint = _OTHER_NAMES.get(scheme, "")
        raise UsageError(f"{url}: use {PLACES}{f'; for {scheme}:// write {hint}' if hint else ''}")
    if not match[2]:
        raise UsageError(f"{url} names no bucket; write it as {scheme}://bucket/path")
    path = (match[3] or "").rstrip("/")
    if re.search(r"[?#\s]", match[2]) or re.search(r"[?#]|[^\S ]|//|(^|/)\.\.?(/|$)", path) or url != url.strip():
        raise UsageError(
            f"{url!r}: there may be no spaces around it or in the bucket's name, and in its path no ?, #, tabs, line "
            "ends, empty parts, . or .."
        )
    return scheme


def check_location(location: str | Path) -> str:
    """A location as it is used: a folder as given, a URL with its scheme in lower case.

    Raises:
        UsageError: if it is a URL that cannot be opened, or meant to be one: no folder is called `s3:`.
    """
    text = str(location)
    if is_url(text):
        scheme = check_url(text)
        return scheme + text[len(scheme) :]
    match = re.fullmatch(r"([A-Za-z0-9]+)(:/|:|//)(.*)", text, re.DOTALL)
    scheme = match[1].lower() if match else ""
    if match is not None and (match[2] == ":/" or scheme in (*SCHEMES, *_OTHER_NAMES)):
        known = f"{scheme}://{match[3].lstrip('/')}" if scheme in SCHEMES else _OTHER_NAMES.get(scheme)
        meant = f"if a URL is meant, write {known}" if known else f"use {PLACES}"
        raise UsageError(f"{text}: {meant}; a folder that is really called so is ./{text}")
    return text


def check_writable(location: str | Path) -> str:
    """A location as :func:`check_location` has it; raises UsageError if nothing can be written there."""
    place = check_location(location)
    scheme = place.partition("://")[0]
    if is_url(place) and scheme not in WRITABLE_SCHEMES:
        raise UsageError(f"{place} can only be read; write to s3://, gs://, az:// or a folder")
    return place


def can_list(location: str | Path) -> bool:
    """Whether it can be asked what lies at a location: not at `https://`."""
    return not is_url(location) or check_url(str(location)) in WRITABLE_SCHEMES


def check_local(location: str | Path) -> str:
    """The path of a folder of this machine; raises UsageError if it is a URL, or meant to be one."""
    place = check_location(location)
    if is_url(place):
        raise UsageError(f"{place} lies in an object store; give a folder of this machine")
    return place


def join_location(location: str | Path, *parts: str) -> str:
    """A place below a location of either kind."""
    if is_url(location):
        return "/".join([str(location).rstrip("/"), *parts])
    return str(Path(location, *parts))


def absolute_location(location: str) -> str:
    """The same place for processes that have other working folders."""
    return location if is_url(location) else str(Path(location).absolute())


def split_location(location: str | Path) -> tuple[str, str]:
    """The place that holds what a location names, and the name: `s3://bucket/a/b.csv` -> (`s3://bucket/a`, `b.csv`)."""
    if is_url(location):
        folder, _, name = str(location).rstrip("/").rpartition("/")
        return folder, name
    path = Path(location)
    return str(path.parent), path.name


def _checked(check: Callable[[str], str]) -> Callable[[object], str]:
    """A check of locations as pydantic wants it."""

    def checked(location: object) -> str:
        if not isinstance(location, (str, Path)) or not str(location).strip():
            raise ValueError("give a folder, or a URL such as s3://bucket/path")
        try:
            return check(str(location))
        except UsageError as error:
            words = str(error).removeprefix(str(location)).removeprefix(repr(location))
            raise ValueError(words.lstrip(": ")) from None  # the key's value stands before them anyway

    return checked


Location = Annotated[str, BeforeValidator(_checked(check_location))]
"""A config's key that names a local folder, or a place in an object store."""

WritableLocation = Annotated[str, BeforeValidator(_checked(check_writable))]
"""The same for what is written."""

LocalFolder = Annotated[Path, BeforeValidator(_checked(check_local))]
"""A config's key that names a folder of this machine, and no URL."""
