"""A tar archive, plain or gzipped, read once from first to last: its regular files, the wanted ones into memory.

In: an archive, and a choice of files. Out: paths and files in memory, in the archive's order. For tarfile, a cut,
damaged or absent header is the archive's end; here an archive without its end mark is damaged.

A plain tar has checksums only of its headers, so the files before the damage are good. Many zeros behind its end mark
are damage too: its space was reserved and only partly written. (The last file may then end in zeros.) A gzipped tar has
its checksum at the end: until that is compared, any byte may be wrong. If such an archive was cut short, its beginning
is good; if bytes were changed, nothing is. (A gzipped archive that ends in zeros was not cut: its space was reserved
and only partly written. Zeros decompress too, so none of it is good.)
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import PurePosixPath
from typing import IO, Any, Self, cast

from shardify.build.sources import open_archive
from shardify.catalogs.archived import Archive
from shardify.errors import WorkError, one_line
from shardify.frames.memory_file import MemoryFile
from shardify.shards.index import MAX_TAR_PADDING_BYTES
from shardify.storage.locations import join_location
from shardify.storage.streams import PieceReader

_BLOCK_BYTES = 1 << 18
_PACKED_BLOCK_BYTES = 1 << 14
_TAIL_BYTES = 512
_GZIP_MAGIC = b"\x1f\x8b"


class ArchiveDamageError(Exception):
    """An archive is not whole. The text names the archive, the damage, and the last file before the damage."""

    def __init__(self, text: str, *, spoils_all: bool) -> None:
        super().__init__(text)
        self.spoils_all = spoils_all
        """Whether the files before the damage may be wrong too."""


def read_members(root: str, archive: Archive, wants: Callable[[str], bool]) -> Iterator[tuple[str, MemoryFile | None]]:
    """Yield the regular files of an archive, without hidden ones; of several files with one path, the first.

    `wants` is called once for each path: whether the file's bytes are needed.

    Yields:
        The file's path inside the archive, without `.` and `..`, and its bytes if wanted; the caller closes them.

    Raises:
        ArchiveDamageError: if the archive is damaged, after the files before the damage; it says whether those are
            good. An archive that is read to its end without this error is whole.
        UsageError: if access is denied.
        WorkError: if the archive is gone or cannot be read.
    """
    where = join_location(root, archive.path)
    with open_archive(root, archive.path, archive.num_bytes) as packed:
        try:
            yield from _read(packed, archive.path, wants)
        except OSError as error:
            raise WorkError(f"{where} cannot be read: {error.strerror or error}") from None


def _read(
    packed: io.BufferedReader[Any], name: str, wants: Callable[[str], bool]
) -> Iterator[tuple[str, MemoryFile | None]]:
    last = "its beginning"
    seen: set[str] = set()
    is_gzipped = packed.peek(2)[:2] == _GZIP_MAGIC
    unpacked = cast("IO[bytes]", PieceReader(_gunzip(packed)) if is_gzipped else packed)
    try:
        with _Tar.open(fileobj=unpacked, mode="r|", bufsize=_BLOCK_BYTES, tarinfo=_StrictInfo) as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # otherwise it keeps every header
                path = _visible_path(info)
                if path is None or path in seen:
                    continue
                seen.add(path)
                memory = _read_file(tar, info, path) if wants(path) else None
                yield path, memory
                last = f"{path} (byte {info.offset_data} of the tar)"
            _require_end(cast("IO[bytes]", tar.fileobj), MAX_TAR_PADDING_BYTES if not is_gzipped else None)
    except (tarfile.TarError, _NotWholeError, _SpoiltError) as error:
        if isinstance(error, _SpoiltError) or (is_gzipped and not _has_sound_rest(unpacked)):
            text = f"{name} is damaged and none of it can be trusted: {_words(error)} (noticed after {last})"
            raise ArchiveDamageError(text, spoils_all=True) from None
        raise ArchiveDamageError(f"{name} is damaged after {last}: {_words(error)}", spoils_all=False) from None


class _NotWholeError(Exception):
    """An archive is cut short or not a tar."""


class _SpoiltError(Exception):
    """A gzip stream holds wrong bytes."""


class _Tar(tarfile.TarFile):
    members: list[tarfile.TarInfo]


class _StrictInfo(tarfile.TarInfo):
    """A damaged header is always an error, not the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except tarfile.HeaderError as error:
            words = _HEADER_ERRORS.get(type(error).__name__)
            if words is None:  # the end mark
                raise
            raise _NotWholeError(words) from None
        except ValueError:  # bad numbers or text in extended headers
            raise _NotWholeError(_HEADER_ERRORS["InvalidHeaderError"]) from None


_HEADER_ERRORS = {
    "EmptyHeaderError": "it ends without an end mark, so it was cut short",
    "TruncatedHeaderError": "it ends within a header, so it was cut short",
    "InvalidHeaderError": "what follows is no header of a file",
    "SubsequentHeaderError": "what follows is no header of a file",
}


def _gunzip(packed: io.BufferedReader[Any]) -> Generator[bytes]:
    """Decompress; unlike `gzip`, this gives all data before the damage, up to the last small block.

    Raises _NotWholeError if the stream is cut short, _SpoiltError if its data or checksum is wrong.
    """
    inflater = zlib.decompressobj(wbits=31)
    tail = b""
    while block := packed.read(_PACKED_BLOCK_BYTES):
        tail = (tail + block[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        while block:
            if inflater.eof:  # gzip files may be joined, and padded
                block = block.lstrip(b"\0")
                if not block:
                    break
                inflater = zlib.decompressobj(wbits=31)
            try:
                piece = inflater.decompress(block)
            except zlib.error as error:
                raise _SpoiltError(one_line(error)) from None
            if piece:
                yield piece
            block = inflater.unused_data
    if not inflater.eof:
        if tail == bytes(_TAIL_BYTES):
            raise _SpoiltError("its gzip stream ends in zeros, so it was never written to its end")
        raise _NotWholeError("its gzip stream ends too early, so it was cut short")


def _has_sound_rest(unpacked: IO[bytes]) -> bool:
    """Read a gzip stream with a damaged tar to its end; returns whether its checksum matches."""
    try:
        while unpacked.read(_BLOCK_BYTES):
            pass
    except (_NotWholeError, _SpoiltError):
        return False
    return True


def _visible_path(info: tarfile.TarInfo) -> str | None:
    """The cleaned path of a regular file; None for hidden files (macOS adds a `._name` to every file) and others."""
    parts = [part for part in PurePosixPath(info.name).parts if part not in ("/", "..")]
    if not info.isreg() or not parts or any(part.startswith(".") for part in parts):
        return None
    return "/".join(parts)


def _read_file(tar: tarfile.TarFile, info: tarfile.TarInfo, path: str) -> MemoryFile:
    memory = MemoryFile(path)
    try:
        file = tar.extractfile(info)
        assert file is not None, "regular files have contents"
        while block := file.read(_BLOCK_BYTES):
            memory.write(block)
    except BaseException:
        memory.close()
        raise
    return memory


def _require_end(rest: IO[bytes], max_zeros: int | None) -> None:
    """Read the rest after the end mark; this also compares a gzipped archive's checksum.

    Raises _NotWholeError if it is anything but zeros, or more than `max_zeros` of them (None: any number).
    """
    num_zeros = 0
    while block := rest.read(_BLOCK_BYTES):
        if block.strip(b"\0"):
            raise _NotWholeError("it continues behind its end mark; archives that were joined must be given one by one")
        num_zeros += len(block)
    if max_zeros is not None and num_zeros > max_zeros:
        raise _NotWholeError(f"{num_zeros:,} zeros follow, so it was never written to its end")


def _words(error: Exception) -> str:
    if isinstance(error, tarfile.ReadError) and "unexpected end of data" in str(error):
        return "it ends within the next file, so it was cut short"
    return one_line(error)
