"""Object stores for data sets and results: `s3://`, `gs://`, `az://`, and `https://` for reading.

In: a URL. Out: an :class:`ObjectStore`. obstore sends the requests; :mod:`shardify.storage.retrying` retries and counts
them. Credentials and endpoints come from each cloud's usual environment variables. Every process makes its own clients,
because obstore's threads do not survive a fork.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import quote

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import HTTPStore, from_url

import shardify.storage.retrying
from shardify.errors import ReplacedError, UsageError, WorkError
from shardify.process import is_command
from shardify.progress import Countdown
from shardify.storage.clouds import CLOUDS, allows_http, check_variables, profile_credentials
from shardify.storage.full_disk import temporary_folder
from shardify.storage.locations import can_list, check_location, check_writable
from shardify.storage.retrying import may_pass, ping, reason_of, with_retries
from shardify.storage.store import Store
from shardify.storage.traffic import Traffic, count

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as Client

Result = TypeVar("Result")

CHUNK_BYTES = 8 * 1024 * 1024
"""Large objects are downloaded in pieces of this size; each piece is retried on its own."""
CONNECT_TIMEOUT = timedelta(seconds=5)
STALL_TIMEOUT = timedelta(seconds=30)
"""A download that receives nothing for this long is stopped and retried."""
UPLOAD_TIMEOUT = timedelta(minutes=5)
"""Limit for one uploaded part of 5 MiB. Only the total time can have a limit: nothing arrives during an upload."""
UPLOADS_AT_ONCE = 4
"""Parts of one object that are uploaded at the same time; more would delay each other on a slow line."""


class _Version(NamedTuple):
    """What a server says of an object; another object of the same name differs in one of these."""

    size: int
    e_tag: str | None
    last_modified: datetime


class ObjectStore(Store):
    """The objects directly below a URL's path, `scheme://bucket/prefix`. Raises UsageError for an unsupported URL."""

    def __init__(self, url: str) -> None:
        self.location = check_location(url).rstrip("/")
        self.scheme = self.location.partition("://")[0]
        self._clients: dict[tuple[int, str], Client] = {}

    @property
    def client(self) -> Client:
        """This process's client for all requests but uploads."""
        return self._process_client("all", {"timeout": timedelta(hours=1), "read_timeout": STALL_TIMEOUT})

    @property
    def upload_client(self) -> Client:
        """This process's client for uploads."""
        return self._process_client("uploads", {"timeout": UPLOAD_TIMEOUT})

    def _process_client(self, purpose: str, limits: ClientConfig) -> Client:
        key = (os.getpid(), purpose)
        if key not in self._clients:
            self._clients[key] = _make_client(self.location, limits)
        return self._clients[key]

    def __reduce__(self) -> tuple[object, ...]:
        return ObjectStore, (self.location,)

    def read(self, name: str) -> bytes:
        return self._retried(name, lambda: _counted(obstore.get(self.client, name).bytes()))

    def read_range(self, name: str, start: int, num_bytes: int) -> bytes:
        data = self._range(name, start, num_bytes)[0] if num_bytes else b""
        if len(data) != num_bytes:
            raise WorkError(f"{self.url(name)} ends at byte {start + len(data)}, but {start + num_bytes} were expected")
        return data

    def stream(self, name: str, num_bytes: int) -> Generator[bytes]:
        """An object of known size in pieces of at most CHUNK_BYTES.

        Raises as :meth:`read_range`, and ReplacedError if another object takes its place meanwhile.
        """
        seen = set()
        for start in range(0, num_bytes, CHUNK_BYTES):
            piece, version = self._range(name, start, min(CHUNK_BYTES, num_bytes - start))
            seen.add(version)
            if len(seen) > 1 or version.size != num_bytes:
                raise ReplacedError(f"{self.url(name)} was replaced while it was read; run the same command again")
            yield piece

    def _range(self, name: str, start: int, num_bytes: int) -> tuple[bytes, _Version]:
        """At least one byte, fewer than asked for at the object's end, and the object that it is of."""

        def request() -> tuple[bytes, _Version]:
            answer = obstore.get(self.client, name, options={"range": (start, start + num_bytes)})
            meta = answer.meta
            return _counted(answer.bytes()), _Version(meta["size"], meta["e_tag"], meta["last_modified"])

        return self._retried(name, request)

    def write(self, name: str, data: bytes) -> None:
        self._put(name, data, len(data))

    def create(self, name: str, data: bytes) -> bool:
        def request() -> bool:
            try:
                obstore.put(self.upload_client, name, data, mode="create")
            except AlreadyExistsError as error:
                if may_pass(error):  # another writer is writing it now and may still fail
                    raise
                return False
            return True

        created = self._stored(name, request)
        count(Traffic(bytes_written=len(data) if created else 0))
        return created

    def write_file(self, name: str, path: Path) -> None:
        self._put(name, path, path.stat().st_size)
        path.unlink()

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        with temporary_folder() as folder:
            yield folder / name

    def sizes(self) -> dict[str, int]:
        def request() -> dict[str, int]:
            objects = obstore.list_with_delimiter(self.client)["objects"]
            return {str(meta["path"]).rpartition("/")[2]: int(meta["size"]) for meta in objects}

        return self._listed(request)

    def tree(self) -> dict[str, int]:
        """Sizes of all objects at any depth, by path below the location, sorted by path."""

        def request() -> dict[str, int]:
            sizes: dict[str, int] = {}
            with Countdown(None, unit="object", doing=f"listing {self.location}") as counter:
                for batch in obstore.list(self.client):
                    sizes |= {str(meta["path"]): int(meta["size"]) for meta in batch}
                    counter.advance(len(batch))
            return sizes

        return self._listed(request)

    def size(self, name: str) -> int:
        return self._retried(name, lambda: int(obstore.head(self.client, name)["size"]))

    def exists(self, name: str) -> bool:
        try:
            self.size(name)
        except FileNotFoundError:
            return False
        return True

    def delete(self, name: str) -> None:
        check_writable(self.location)
        with suppress(FileNotFoundError):
            self._retried(name, lambda: obstore.delete(self.client, name))

    def url(self, name: str) -> str:
        return f"{self.location}/{name}" if name else self.location

    def _retried(self, name: str, request: Callable[[], Result]) -> Result:
        if is_command():
            ping_once("/".join(self.location.split("/")[:3]))
        return with_retries(request, what=self.url(name))

    def _put(self, name: str, data: bytes | Path, num_bytes: int) -> None:
        self._stored(name, lambda: obstore.put(self.upload_client, name, data, max_concurrency=UPLOADS_AT_ONCE))
        count(Traffic(bytes_written=num_bytes))

    def _stored(self, name: str, request: Callable[[], Result]) -> Result:
        """Send a request that writes. Raises UsageError if the location cannot be written."""
        check_writable(self.location)
        try:
            return self._retried(name, request)
        except FileNotFoundError:
            raise UsageError(
                f"{self.url(name)}: the server answered 404, it does not know this bucket; check the URL and the "
                "endpoint variable"
            ) from None

    def _listed(self, request: Callable[[], dict[str, int]]) -> dict[str, int]:
        if not can_list(self.location):
            raise UsageError(
                f"{self.location}: web servers cannot list their files; give s3://, gs://, az:// or a folder"
            )
        return _without_markers(self._retried("", request))


@cache
def ping_once(root: str) -> None:
    """Check once in each command that a store answers. Raises as :func:`ping`."""
    client = _make_client(root, {"timeout": timedelta(seconds=shardify.storage.retrying.PING_SECONDS)})
    ping(lambda: obstore.head(client, ".ping"), what=root)


def _counted(data: obstore.Bytes) -> bytes:
    count(Traffic(bytes_read=len(data)))
    return bytes(data)


def _without_markers(sizes: Mapping[str, int]) -> dict[str, int]:
    """Objects sorted by path, without the empty objects that some tools use to mark folders."""
    folders = {str(parent) for path in sizes for parent in PurePosixPath(path).parents} | {""}
    return {path: size for path, size in sorted(sizes.items()) if size or path not in folders}


def _make_client(url: str, limits: ClientConfig) -> Client:
    """Raises UsageError if the environment does not fit the URL."""
    scheme, _, path = url.partition("://")
    check_variables(url)
    try:
        options: ClientConfig = {"allow_http": allows_http(scheme), "connect_timeout": CONNECT_TIMEOUT, **limits}
        once: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(0)}
        if scheme not in CLOUDS:  # from_url would read a cloud's web address as a bucket
            return HTTPStore.from_url(url, client_options=options, retry_config=once)
        escaped = f"{scheme}://{quote(path)}"  # the library decodes percent signs
        return from_url(escaped, client_options=options, retry_config=once, **profile_credentials(url))
    except (BaseError, ValueError, OSError) as error:
        advice = "; name the storage account in AZURE_STORAGE_ACCOUNT_NAME" if "Account must" in str(error) else ""
        raise UsageError(f"{url} cannot be opened: {reason_of(error)}{advice}") from None
