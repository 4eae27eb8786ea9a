"""One clear error for a full disk, for all writers; temporary folders have it too."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shardify.errors import WorkError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def full_disk_reported(while_doing: str) -> Iterator[None]:
    """Turn the system's error for a full disk or quota into a WorkError: "no space left " + `while_doing`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise WorkError(
                f"no space left {while_doing}; free some space and run the same command again, finished work is kept"
            ) from None
        raise


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty local folder, removed at the end. Raises WorkError if it cannot be made or its disk is full."""
    place = tempfile.gettempdir()
    with full_disk_reported(f"in {place} (TMPDIR names another folder)"):
        try:
            folder = tempfile.TemporaryDirectory(prefix="temporal-ssl-", ignore_cleanup_errors=True)
        except OSError as error:
            if error.errno in FULL_DISK:
                raise
            raise WorkError(f"cannot make a temporary folder in {place}: {error.strerror}") from None
        with folder:
            yield Path(folder.name)
