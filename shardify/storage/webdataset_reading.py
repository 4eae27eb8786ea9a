"""Lets stock WebDataset read object stores; without this it opens only files, pipes and http(s)."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import webdataset

from shardify.errors import UsageError
from shardify.storage.locations import WRITABLE_SCHEMES, split_location
from shardify.storage.object_store import ObjectStore
from shardify.storage.streams import BUFFER_BYTES, PieceReader


def open_object(url: str, mode: str = "rb", bufsize: int = BUFFER_BYTES) -> io.BufferedReader[Any]:
    """An object as a file to read from start to end, with this project's retries.

    Raises FileNotFoundError if there is none, UsageError if the mode is not "rb" or access is denied.
    """
    if mode != "rb":
        raise UsageError(f"{url}: only `shardify build` writes tars to object stores")
    folder, name = split_location(url)
    store = ObjectStore(folder)
    return io.BufferedReader(PieceReader(store.stream(name, store.size(name))), max(bufsize, BUFFER_BYTES))


def teach_webdataset(schemes: Iterable[str] = WRITABLE_SCHEMES) -> None:
    """Let WebDataset open URLs of these schemes with :func:`open_object` in this process; for http(s), without curl."""
    for scheme in schemes:
        webdataset.gopen_schemes[scheme] = open_object
