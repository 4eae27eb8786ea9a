"""A tar archive, plain or gzipped, read once from first to last: its files, the wanted ones into memory.

In: an archive, and a choice of files. Out: paths and files in memory, in the archive's order. For tarfile, a cut,
damaged or absent header is the archive's end; here an archive without its end mark is damaged.

An archive holds the files that tar would unpack: of several members with one name the last, and a link is the file it
leads to. What a name has in the end is known only when the whole archive was read (:class:`Contents`). So an archive
with such names is read twice.

A plain tar has checksums only of its headers, so the files before the damage are good. Many zeros behind its end mark
are damage too: its space was reserved and only partly written. (The last file may then end in zeros.) A gzipped tar has
its checksum at the end: until that is compared, any byte may be wrong. If such an archive was cut short, its beginning
is good; if bytes were changed, nothing is. (A gzipped archive that ends in zeros was not cut: its space was reserved
and only partly written. Zeros decompress too, so none of it is good.)
"""

from __future__ import annotations

import functools
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import IO, Any, Self, cast

from shardify.build.archives.contents import Contents
from shardify.build.sources import open_archive
from shardify.catalogs.archived import Archive
from shardify.catalogs.content import HEAD_BYTES
from shardify.errors import WorkError, one_line
from shardify.frames.memory_file import MemoryFile
from shardify.shards.index import MAX_TAR_PADDING_BYTES
from shardify.storage.locations import join_location
from shardify.storage.streams import PieceReader

_BLOCK_BYTES = 1 << 18
_PACKED_BLOCK_BYTES = 1 << 14
_TAIL_BYTES = 512
_MAGIC_BYTES = 10
_GZIP_MAGIC = b"\x1f\x8b"
_OTHER_MAGIC = {rb"BZh[1-9]1AY&SY": "bzip2", rb"\xfd7zXZ\0": "xz", rb"\x28\xb5\x2f\xfd": "zstd", rb"PK\x03\x04": "zip"}
"""First bytes of what may have a tar's name, but is not read."""

Wants = Callable[[str, Callable[[], bytes]], bool]
"""Path of a file, and a function that reads its first HEAD_BYTES -> whether all its bytes are needed."""


class ArchiveDamageError(Exception):
    """An archive is not whole. The text names the archive, the damage, and the last file before the damage."""

    def __init__(self, text: str, *, spoils_all: bool) -> None:
        super().__init__(text)
        self.spoils_all = spoils_all
        """Whether the files before the damage may be wrong too."""


def read_members(
    root: str, archive: Archive, wants: Wants, contents: Contents, earlier: Contents | None = None
) -> Iterator[tuple[str, MemoryFile | None]]:
    """Yield the files of an archive, without hidden ones; of several with one path, the first.

    With the `earlier` contents of a whole reading: exactly the files that tar would unpack. `contents` is filled.
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
            yield from _read(packed, archive.path, wants, contents, earlier)
        except OSError as error:
            raise WorkError(f"{where} cannot be read: {error.strerror or error}") from None


def _read(
    packed: io.BufferedReader[Any], name: str, wants: Wants, contents: Contents, earlier: Contents | None
) -> Iterator[tuple[str, MemoryFile | None]]:
    last = "its beginning"
    head = packed.peek(_MAGIC_BYTES)
    is_gzipped = head.startswith(_GZIP_MAGIC)
    for magic, kind in _OTHER_MAGIC.items():
        if re.match(magic, head):
            text = f"{name} cannot be read: it is {kind}, not a tar or tar.gz as its name says"
            raise ArchiveDamageError(text, spoils_all=True)
    unpacked = cast("IO[bytes]", PieceReader(_gunzip(packed)) if is_gzipped else packed)
    try:
        with _Tar.open(fileobj=unpacked, mode="r|", bufsize=_BLOCK_BYTES, tarinfo=_StrictInfo) as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # otherwise it keeps every header
                paths = contents.add(info)
                if earlier is not None:
                    paths = earlier.paths_of(contents.num_members - 1)
                if paths:
                    yield from _read_file(tar, info, paths, wants)
                    last = f"{paths[0]} (byte {info.offset_data} of the tar)"
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


def _read_file(
    tar: tarfile.TarFile, info: tarfile.TarInfo, paths: Sequence[str], wants: Wants
) -> Iterator[tuple[str, MemoryFile | None]]:
    """A member's bytes under each of its paths."""
    file = tar.extractfile(info)
    assert file is not None, "regular files have contents"
    head = functools.cache(lambda: file.read(HEAD_BYTES))
    memories = {path: MemoryFile(path) if wants(path, head) else None for path in paths}
    wanted = [memory for memory in memories.values() if memory is not None]
    try:
        block = head() if wanted else b""
        while block:
            for memory in wanted:
                memory.write(block)
            block = file.read(_BLOCK_BYTES)
    except BaseException:
        for memory in wanted:
            memory.close()
        raise
    yield from memories.items()


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
