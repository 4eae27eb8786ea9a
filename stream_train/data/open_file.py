"""A file that any thread may read at any place, for as long as something refers to it.

In: an open descriptor. Out: ranges of bytes.
"""

from __future__ import annotations

import os
from pathlib import Path

from shardify.errors import DamageError, WorkError


class OpenFile:
    """A local file, open for reading; closed with the last reference to it.

    Args:
        path: names it in error messages.
        descriptor: of the file, from now on this object's.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def status(self) -> os.stat_result:
        """What the file system says of this very file, whatever lies under its path now."""
        return os.fstat(self.descriptor)

    def read(self, start: int, num_bytes: int) -> bytes:
        """Bytes [start, start + num_bytes).

        Raises:
            DamageError: if the disk cannot read them any more.
            WorkError: if the file ends before that.
        """
        try:
            data = os.pread(self.descriptor, num_bytes, start)
        except OSError as error:
            raise DamageError(f"cannot read {self.path} at byte {start}: {error.strerror}; check its disk") from None
        if len(data) != num_bytes:
            raise WorkError(f"{self.path} ends at byte {start + len(data)}, but a frame reaches to {start + num_bytes}")
        return data

    def __del__(self) -> None:
        os.close(self.descriptor)
