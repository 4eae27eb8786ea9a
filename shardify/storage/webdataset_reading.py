"""Object stores for stock WebDataset, which by itself opens files, pipes and http(s) only.

In: `s3://`, `gs://` and `az://` URLs of tars. Out: what WebDataset reads them from, with this project's retries.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable
from typing import Any

import webdataset

from shardify.errors import UsageError
from shardify.storage.locations import WRITABLE_SCHEMES
from shardify.storage.object_store import ObjectStore
from shardify.storage.streams import PieceReader

BUFFER_BYTES = 1 << 20


def open_object(url: str, mode: str = "rb", bufsize: int = BUFFER_BYTES) -> io.BufferedReader[Any]:
    """An object as a file that is read from first to last.

    Raises:
        FileNotFoundError: if there is none.
        UsageError: if it is to be written, or access is denied.
    """
    if mode != "rb":
        raise UsageError(f"{url}: tars in object stores are written by `shardify build` only")
    folder, _, name = url.rpartition("/")
    store = ObjectStore(folder)
    return io.BufferedReader(PieceReader(_pieces(store, name)), max(bufsize, BUFFER_BYTES))


def teach_webdataset(schemes: Iterable[str] = WRITABLE_SCHEMES) -> None:
    """Let WebDataset open object stores' URLs, in this process.

    Args:
        schemes: with http and https among them, web servers too are read with ranges instead of curl.
    """
    for scheme in schemes:
        webdataset.gopen_schemes[scheme] = open_object


def _pieces(store: ObjectStore, name: str) -> Generator[bytes]:
    yield from store.stream(name, store.size(name))
