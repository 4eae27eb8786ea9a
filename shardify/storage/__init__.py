"""Where data sets and results live. Everything that reads or writes them goes through a :class:`Store`.

A new kind of storage is one class and one line in :func:`open_store`.
"""

from __future__ import annotations

from pathlib import Path

from shardify.errors import UsageError
from shardify.storage.folder_store import FolderStore
from shardify.storage.locations import check_location, is_url
from shardify.storage.store import Store


def open_store(location: str | Path, *, create: bool = False) -> Store:
    """The store at a location.

    Args:
        location: a local folder, or a URL: `s3://`, `gs://`, `az://`, or `https://` for reading.
        create: make the folder if it does not exist.

    Raises:
        UsageError: if there is no such folder, or the location is of a kind that is not supported.
    """
    checked = check_location(location)
    if is_url(checked):
        from shardify.storage.object_store import ObjectStore

        return ObjectStore(checked)
    path = Path(checked)
    if create:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {path}: {error.strerror}") from None
    if not path.is_dir():
        reason = "is a file, not a folder" if path.exists() else "does not exist"
        raise UsageError(
            f"{path} {reason}; give the folder, or a URL such as s3://bucket/path, that holds the data set's "
            "manifest.json"
        )
    return FolderStore(path)
