"""A file in memory, for a video that was downloaded or read from an archive.

In: the bytes. Out: the path of a regular file for this process and its children. ffmpeg must seek in it: an MP4 may
have its index at the end.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from shardify.storage.full_disk import temporary_folder


class MemoryFile:
    """An anonymous file of the kernel; its memory is freed when it is closed or the process ends.

    It keeps the ending of the video's `name`, because ffmpeg uses the ending to guess the container.
    """

    _descriptor = -1

    def __init__(self, name: str) -> None:
        suffix = PurePosixPath(name).suffix
        self._suffix = suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,16}", suffix) else ""
        self.num_bytes = 0
        self._descriptor = os.memfd_create("video", os.MFD_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()  # a video that was prefetched and never used

    def write(self, data: bytes) -> None:
        """Append bytes, all of them."""
        self.num_bytes += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def fileno(self) -> int:
        """The descriptor; a child process must inherit it under the same number."""
        return self._descriptor

    def close(self) -> None:
        """Free the memory; closing again does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @contextmanager
    def path(self) -> Iterator[Path]:
        """A path of the file, for this process and for children that inherit :meth:`fileno`.

        It is a link in a temporary folder, because the kernel's name of the file has no ending. The disk holds no data.
        Raises WorkError if the temporary folder cannot be made or its disk is full.
        """
        with temporary_folder() as folder:
            link = folder / f"video{self._suffix}"
            link.symlink_to(f"/proc/self/fd/{self.fileno()}")
            yield link
