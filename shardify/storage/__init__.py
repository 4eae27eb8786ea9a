"""Storage of data sets and results. All code reads and writes them through a :class:`Store`.

A new kind of storage is one class and one line in :func:`open_store`.
"""

from __future__ import annotations

from pathlib import Path

from shardify.errors import UsageError
from shardify.storage.folder_store import FolderStore
from shardify.storage.locations import check_location, is_url
from shardify.storage.store import Store


def open_store(location: str | Path, *, create: bool = False) -> Store:
    """The store at a location: a local folder (made first with `create`), or an `s3://`, `gs://` or `az://` URL.

    An `https://` URL can only be read. Raises UsageError if there is no such folder, or for another kind of location.
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
        here = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise UsageError(
            f"{path} {reason}{here}; give the folder, or a URL such as s3://bucket/path, that holds the data set's "
            "manifest.json"
        )
    return FolderStore(path)
