"""Checks, joins and splits locations (folders and URLs) as text, without opening them.

In: a user's text from a config, a variable or the command line. Out: the location in its usual form, or an error that
suggests a correction.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from shardify.errors import UsageError

WRITABLE_SCHEMES = ("s3", "gs", "az")
SCHEMES = (*WRITABLE_SCHEMES, "https", "http")
FORMS = "s3://bucket/path, gs://bucket/path, az://container/path, https://host/path or a folder"

_OTHER_NAMES = {
    **dict.fromkeys(("s3a", "s3n", "minio"), "s3://bucket/path"),
    **dict.fromkeys(("gcs", "google"), "gs://bucket/path"),
    **dict.fromkeys(("azure", "abfs", "abfss", "wasb", "wasbs", "adl"), "az://container/path"),
    "file": "the folder's path alone",
}
"""Schemes of other programs -> the form to write here."""


def is_url(location: str | Path) -> bool:
    """Whether a location is a URL, not a folder."""
    return "://" in str(location)


def check_url(url: str) -> str:
    """A URL's scheme in lower case; UsageError for an unsupported scheme, no bucket, or a path that is not allowed."""
    match = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(/.*)?", url, re.DOTALL)
    scheme = match[1].lower() if match else ""
    if match is None or scheme not in SCHEMES:
        hint = _OTHER_NAMES.get(scheme, "")
        raise UsageError(f"{url}: use {FORMS}{f'; for {scheme}:// write {hint}' if hint else ''}")
    if not match[2]:
        raise UsageError(f"{url} names no bucket; write it as {scheme}://bucket/path")
    path = (match[3] or "").rstrip("/")
    if re.search(r"[?#\s]", match[2]) or re.search(r"[?#]|[^\S ]|//|(^|/)\.\.?(/|$)", path) or url != url.strip():
        raise UsageError(
            f"{url!r}: no spaces are allowed around it or in the bucket's name, and in its path no ?, #, tabs, line "
            "ends, empty parts, . or .."
        )
    return scheme


def expand_home(location: str | Path) -> str:
    """A leading `~` or `~name` as the home folder; UsageError if there is no such home."""
    text = os.path.expanduser(str(location))  # noqa: PTH111 - a Path would change URLs
    if text.startswith("~"):
        home = text.partition("/")[0]
        raise UsageError(f"{text}: there is no home folder {home}; for a folder of this name, write ./{text}")
    return text


def check_location(location: str | Path) -> str:
    """A folder without `~`, a URL with its scheme in lower case; UsageError for an unsupported or misspelt URL."""
    text = expand_home(location)
    if is_url(text):
        scheme = check_url(text)
        return scheme + text[len(scheme) :]
    match = re.fullmatch(r"([A-Za-z0-9]+)(:/|:|//)(.*)", text, re.DOTALL)
    scheme = match[1].lower() if match else ""
    if match is not None and (match[2] == ":/" or scheme in (*SCHEMES, *_OTHER_NAMES)):
        known = f"{scheme}://{match[3].lstrip('/')}" if scheme in SCHEMES else _OTHER_NAMES.get(scheme)
        meant = f"for a URL, write {known}" if known else f"use {FORMS}"
        raise UsageError(f"{text}: {meant}; for a folder of this name, write ./{text}")
    return text


def check_writable(location: str | Path) -> str:
    """As :func:`check_location`; also raises UsageError if the location cannot be written."""
    checked = check_location(location)
    if is_url(checked) and checked.partition("://")[0] not in WRITABLE_SCHEMES:
        raise UsageError(f"{checked} can only be read; write to s3://, gs://, az:// or a folder")
    return checked


def can_list(location: str | Path) -> bool:
    """Whether a location can list its files; web servers cannot."""
    return not is_url(location) or check_url(str(location)) in WRITABLE_SCHEMES


def check_local(location: str | Path) -> str:
    """The path of a folder of this machine; raises UsageError for a URL, also a misspelt one."""
    checked = check_location(location)
    if is_url(checked):
        raise UsageError(f"{checked} lies in an object store; give a folder of this machine")
    return checked


def join_location(location: str | Path, *parts: str) -> str:
    """A location below a folder or URL."""
    if is_url(location):
        return "/".join([str(location).rstrip("/"), *parts])
    return str(Path(location, *parts))


def absolute_location(location: str) -> str:
    """The same location for processes with other working folders."""
    return location if is_url(location) else str(Path(location).absolute())


def split_location(location: str | Path) -> tuple[str, str]:
    """The parent and the last name: `s3://bucket/a/b.csv` -> (`s3://bucket/a`, `b.csv`)."""
    if is_url(location):
        folder, _, name = str(location).rstrip("/").rpartition("/")
        return folder, name
    path = Path(location)
    return str(path.parent), path.name


def _checked(check: Callable[[str], str]) -> Callable[[object], str]:
    """A check of locations as a pydantic validator."""

    def checked(location: object) -> str:
        if not isinstance(location, (str, Path)) or not str(location).strip():
            raise ValueError("give a folder, or a URL such as s3://bucket/path")
        try:
            return check(str(location))
        except UsageError as error:
            words = str(error).removeprefix(str(location)).removeprefix(repr(location))
            raise ValueError(words.lstrip(": ")) from None  # pydantic's message already starts with the value

    return checked


HomeExpanded = Annotated[str, BeforeValidator(_checked(expand_home))]
"""A config key that may name other things than locations too, such as a program or a pattern of tars."""
Location = Annotated[str, BeforeValidator(_checked(check_location))]
"""A config key that names a local folder, or a location in an object store."""
WritableLocation = Annotated[str, BeforeValidator(_checked(check_writable))]
"""The same, for a location that can be written."""
LocalFolder = Annotated[Path, BeforeValidator(_checked(check_local))]
"""A config key that names a folder of this machine, not a URL."""
