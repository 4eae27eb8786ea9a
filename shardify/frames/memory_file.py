"""A file in memory, for a video that was downloaded or read from an archive.

In: the bytes. Out: a path at which this process and its children find a regular file. They must be able to seek in it:
an MP4 may have its index at the end.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from shardify.errors import WorkError


class MemoryFile:
    """An anonymous file of the kernel's; its memory is freed when it is closed, or with the process.

    Args:
        name: what the video is called. Its ending is kept, for ffmpeg's guess of a container heeds it.
    """

    _descriptor = -1

    def __init__(self, name: str) -> None:
        suffix = PurePosixPath(name).suffix
        self._suffix = suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,16}", suffix) else ""
        self.num_bytes = 0
        """Written so far."""
        self._descriptor = os.memfd_create("video", os.MFD_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()  # one that was fetched ahead and never taken

    def write(self, data: bytes) -> None:
        """Append bytes, all of them."""
        self.num_bytes += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def fileno(self) -> int:
        """The descriptor, which a child process must inherit under its number."""
        return self._descriptor

    def close(self) -> None:
        """Free the memory; closing again does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @contextmanager
    def path(self) -> Iterator[Path]:
        """A path of the file, for this process and for children that inherit :meth:`fileno`.

        It is a link in a temporary folder, for the kernel's own name of the file has no ending. No data is on the disk.

        Raises:
            WorkError: if there is no place for the link.
        """
        try:
            folder = tempfile.TemporaryDirectory(prefix="temporal-ssl-")
        except OSError as error:
            raise WorkError(f"cannot make a temporary folder in {tempfile.gettempdir()}: {error.strerror}") from None
        with folder:
            link = Path(folder.name, f"video{self._suffix}")
            link.symlink_to(f"/proc/self/fd/{self.fileno()}")
            yield link
