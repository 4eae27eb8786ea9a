"""Object stores as places for data sets and results: `s3://`, `gs://`, `az://`, and `https://` for reading.

In: a URL. Out: a :class:`ObjectStore`, which is a :class:`shardify.storage.store.Store`. obstore does the transport;
trying again, and counting, is :mod:`shardify.storage.retrying`'s. Credentials and endpoints come from each cloud's
usual environment variables. Clients are made in the process that uses them: obstore's threads do not survive a fork.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import HTTPStore, from_url

from shardify.errors import UsageError, WorkError
from shardify.storage.clouds import CLOUDS, allows_http, check_variables, profile_credentials
from shardify.storage.locations import can_list, check_location, check_writable
from shardify.storage.retrying import may_pass, persistently, reason_of
from shardify.storage.store import Store
from shardify.storage.traffic import Traffic, count

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as Client

Result = TypeVar("Result")

CHUNK_BYTES = 8 * 1024 * 1024
"""Large objects are fetched in pieces of this size, each tried again on its own."""
CONNECT_TIMEOUT = timedelta(seconds=5)
STALL_TIMEOUT = timedelta(seconds=30)
"""A transfer of which nothing arrives for so long is cut and tried again."""
UPLOAD_TIMEOUT = timedelta(minutes=5)
"""Of one uploaded part of 5 MiB: while it is on its way nothing arrives, so only its whole time can be limited. (The
library's `read_timeout` runs while a request is being sent.)"""
UPLOADS_AT_ONCE = 4
"""Parts of an object: on a slow line more would only make each other late."""


class ObjectStore(Store):
    """The objects directly below a URL's path.

    Args:
        url: `scheme://bucket/prefix`.

    Raises:
        UsageError: if the URL is not of a kind that is supported.
    """

    def __init__(self, url: str) -> None:
        self.location = check_location(url).rstrip("/")
        self.scheme = self.location.partition("://")[0]
        self._clients: dict[tuple[int, str], Client] = {}

    @property
    def client(self) -> Client:
        """obstore's client for all but uploads, made in this process."""
        return self._process_client("all", {"timeout": timedelta(hours=1), "read_timeout": STALL_TIMEOUT})

    @property
    def upload_client(self) -> Client:
        """The one for uploads, which have no stall to tell from a slow line: see UPLOAD_TIMEOUT."""
        return self._process_client("uploads", {"timeout": UPLOAD_TIMEOUT})

    def _process_client(self, purpose: str, limits: ClientConfig) -> Client:
        place = (os.getpid(), purpose)
        if place not in self._clients:
            self._clients[place] = _make_client(self.location, limits)
        return self._clients[place]

    def __reduce__(self) -> tuple[object, ...]:
        return ObjectStore, (self.location,)

    def read(self, name: str) -> bytes:
        def request() -> bytes:
            data = bytes(obstore.get(self.client, name).bytes())
            count(Traffic(bytes_read=len(data)))
            return data

        return persistently(request, what=self.url(name))

    def read_range(self, name: str, start: int, num_bytes: int) -> bytes:
        if not num_bytes:
            return b""

        def request() -> bytes:
            data = bytes(obstore.get_range(self.client, name, start=start, length=num_bytes))
            count(Traffic(bytes_read=len(data)))
            return data

        data = persistently(request, what=self.url(name))
        if len(data) != num_bytes:
            raise WorkError(f"{self.url(name)} ends at byte {start + len(data)}, but {start + num_bytes} were expected")
        return data

    def stream(self, name: str, num_bytes: int) -> Iterator[bytes]:
        """An object of a known size in pieces of at most CHUNK_BYTES; errors as :meth:`read_range`."""
        for start in range(0, num_bytes, CHUNK_BYTES):
            yield self.read_range(name, start, min(CHUNK_BYTES, num_bytes - start))

    def write(self, name: str, data: bytes) -> None:
        self._put(name, data, len(data))

    def create(self, name: str, data: bytes) -> bool:
        self._require_writable()

        def request() -> bool:
            try:
                obstore.put(self.upload_client, name, data, mode="create")
            except AlreadyExistsError as error:
                if may_pass(error):  # somebody else is just storing it, and may yet fail
                    raise
                return False
            return True

        created = self._at_place(request, self.url(name))
        count(Traffic(bytes_written=len(data) if created else 0))
        return created

    def write_file(self, name: str, path: Path) -> None:
        self._put(name, path, path.stat().st_size)
        path.unlink()

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        try:
            folder = Path(tempfile.mkdtemp(prefix="temporal-ssl-"))
        except OSError as error:
            raise WorkError(f"cannot make a temporary folder in {tempfile.gettempdir()}: {error.strerror}") from None
        try:
            yield folder / name
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise WorkError(
                    f"no space left in {tempfile.gettempdir()} while preparing {self.url(name)}; free some, or name "
                    "another folder in TMPDIR, and run the same command again, nothing finished is lost"
                ) from None
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sizes(self) -> dict[str, int]:
        self._require_listing()

        def request() -> dict[str, int]:
            objects = obstore.list_with_delimiter(self.client)["objects"]
            return {str(meta["path"]).rpartition("/")[2]: int(meta["size"]) for meta in objects}

        return _without_markers(persistently(request, what=self.location))

    def tree(self) -> dict[str, int]:
        """Sizes of all objects at any depth, by path below the location, sorted by path."""
        self._require_listing()

        def request() -> dict[str, int]:
            return {str(meta["path"]): int(meta["size"]) for batch in obstore.list(self.client) for meta in batch}

        return _without_markers(persistently(request, what=self.location))

    def size(self, name: str) -> int:
        return persistently(lambda: int(obstore.head(self.client, name)["size"]), what=self.url(name))

    def exists(self, name: str) -> bool:
        try:
            self.size(name)
        except FileNotFoundError:
            return False
        return True

    def delete(self, name: str) -> None:
        self._require_writable()

        with suppress(FileNotFoundError):
            persistently(lambda: obstore.delete(self.client, name), what=self.url(name))

    def url(self, name: str) -> str:
        return f"{self.location}/{name}" if name else self.location

    def _put(self, name: str, data: bytes | Path, num_bytes: int) -> None:
        self._require_writable()
        self._at_place(
            lambda: obstore.put(self.upload_client, name, data, max_concurrency=UPLOADS_AT_ONCE), self.url(name)
        )
        count(Traffic(bytes_written=num_bytes))

    def _at_place(self, request: Callable[[], Result], what: str) -> Result:
        """Send a request that needs no object to be there. Raises UsageError where the server knows no such place."""
        try:
            return persistently(request, what=what)
        except FileNotFoundError:
            raise UsageError(
                f"{what}: the server answered 404, so it knows no such place; check the URL and the endpoint variable"
            ) from None

    def _require_writable(self) -> None:
        check_writable(self.location)

    def _require_listing(self) -> None:
        if not can_list(self.location):
            raise UsageError(
                f"{self.location}: what lies at {self.scheme}:// cannot be listed; give s3://, gs://, az:// or a folder"
            )


def _without_markers(sizes: Mapping[str, int]) -> dict[str, int]:
    """Objects sorted by path, without the empty ones that some tools leave where they made a folder."""
    folders = {str(parent) for path in sizes for parent in PurePosixPath(path).parents} | {""}
    return {path: size for path, size in sorted(sizes.items()) if size or path not in folders}


def file_sha256(path: Path) -> str:
    """The sha256 of a local file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_client(url: str, limits: ClientConfig) -> Client:
    """Raises UsageError if the environment does not fit the URL."""
    scheme, _, place = url.partition("://")
    check_variables(url)
    try:
        options: ClientConfig = {"allow_http": allows_http(scheme), "connect_timeout": CONNECT_TIMEOUT, **limits}
        once: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(0)}
        if scheme not in CLOUDS:  # from_url would take clouds' own web addresses for their buckets
            return HTTPStore.from_url(url, client_options=options, retry_config=once)
        escaped = f"{scheme}://{quote(place)}"  # the library takes percent signs for escapes
        return from_url(escaped, client_options=options, retry_config=once, **profile_credentials(url))
    except (BaseError, ValueError, OSError) as error:
        advice = "; name the storage account in AZURE_STORAGE_ACCOUNT_NAME" if "Account must" in str(error) else ""
        raise UsageError(f"{url} cannot be opened: {reason_of(error)}{advice}") from None
