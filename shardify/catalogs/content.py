"""Whether a file is a video: by its name, or by its first bytes where the name does not tell."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from shardify.catalogs.reasons import HALF, HIDDEN, OTHER_ARCHIVE, OTHER_CONTENT, OTHER_NAME, SYSTEM

VIDEO_SUFFIXES = frozenset(
    {
        ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v",
        ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf",
        ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
    }
)  # fmt: skip
"""Lower-case endings of videos; decoding them may still fail."""

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")
"""Lower-case endings of the archives that can be read."""

OTHER_ARCHIVE_SUFFIXES = (".zip", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".tbz2", ".txz")
"""Lower-case endings of some archives that cannot be read."""

_PICTURE_SUFFIXES = frozenset({".bmp", ".heic", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Lower-case endings of pictures, such as the frames of a video."""

_OTHER_SUFFIXES = _PICTURE_SUFFIXES | frozenset(
    {
        ".aac", ".ass", ".cfg", ".csv", ".db", ".doc", ".docx", ".flac", ".h5", ".hdf5",
        ".htm", ".html", ".ini", ".ipynb", ".json", ".jsonl", ".lmdb", ".log", ".m3u8",
        ".m4a", ".mat", ".md", ".md5", ".mp3", ".nfo", ".npy", ".npz", ".oga", ".opus", ".parquet", ".pdf", ".pickle",
        ".pkl", ".pt", ".pth", ".py", ".rst", ".sh", ".sha256", ".srt", ".sub", ".svg",
        ".torrent", ".tsv", ".txt", ".url", ".vtt", ".wav", ".wma", ".xls", ".xlsx", ".xml", ".yaml", ".yml",
    }
)  # fmt: skip
"""Lower-case endings of files that are no videos; their content is not looked at."""

_SYSTEM_FOLDERS = frozenset(
    {"$recycle.bin", "#recycle", "@recycle", "system volume information", "lost+found", "@eadir", "__macosx"}
)
"""Lower-case names of folders that Windows, Linux, macOS and file servers make: deleted files, previews ..."""

_HALF = re.compile(
    r"\.(part|partial|filepart|crdownload|download|opdownload|ytdl|aria2|tmp|temp|!qb|!ut|bc!)(-frag\d+(\.part)?)?$",
    re.IGNORECASE,
)
"""Endings that browsers and download tools give to what they have not finished."""

HEAD_BYTES = 1024
"""Number of first bytes that :func:`looks_like_video` needs."""

_SIGNATURES = re.compile(
    rb"""
    \x1aE\xdf\xa3                                  # Matroska, WebM
    | RIFF....AVI[ \x19] | RF64....AVI[ ]
    | FLV\x01 | nut/multimedia\ container | \.RMF | YUV4MPEG2[ ] | DKIF | GIF8[79]a
    | 0&\xb2u\x8ef\xcf\x11\xa6\xd9\x00\xaa\x00b\xcel     # ASF, WMV
    | \x00\x00\x01[\xb3\xba]                       # MPEG-1 and MPEG-2
    | \x00\x00\x01\xb0                             # MPEG-4, not in a container
    | \x00?\x00\x00\x01\x67                        # H.264, not in a container
    | \x06\x0e\+4\x02\x05\x01\x01\x0d\x01\x02      # MXF
    | ....(ftyp(?!M4A|M4B|M4P|avif|heic|heix|mif1|crx) | moov | mdat | free | skip | wide | pnot)    # MP4, MOV, 3GP
    | OggS.{24,282}(\x80theora|OVP80|BBCD\x00|\x01video)
    | G.{187}G.{187}G | .{4}G.{191}G.{191}G        # MPEG transport streams
    """,
    re.DOTALL | re.VERBOSE,
)


def is_video(path: str) -> bool:
    """Whether a file's name ends like a video's."""
    return PurePosixPath(path).suffix.lower() in VIDEO_SUFFIXES


def is_picture(path: str) -> bool:
    """Whether a file's name ends like a picture's."""
    return PurePosixPath(path).suffix.lower() in _PICTURE_SUFFIXES


def is_archive(path: str) -> bool:
    """Whether a file's name ends like a tar archive's."""
    return path.lower().endswith(ARCHIVE_SUFFIXES)


def why_hidden(path: str) -> str:
    """The reason why a file or folder is not looked at, by the names in its path; blank if it is.

    One dot before a name hides it; two do not, because titles may begin with an ellipsis.
    """
    names = path.split("/")
    if any(name.startswith(".") and not name.startswith("..") for name in names):
        return HIDDEN
    return SYSTEM if any(name.lower() in _SYSTEM_FOLDERS for name in names) else ""


def why_no_video(path: str) -> str:
    """The reason why a file with this name is not a video; blank if only its content tells."""
    name = path.lower()
    if _HALF.search(name):
        return HALF
    if name.endswith(OTHER_ARCHIVE_SUFFIXES):
        return OTHER_ARCHIVE
    return OTHER_NAME if PurePosixPath(name).suffix in _OTHER_SUFFIXES else ""


def looks_like_video(head: bytes) -> bool:
    """Whether a file that begins with these bytes is of a video format; HEAD_BYTES of them are enough."""
    return _SIGNATURES.match(head) is not None


def why_not_a_video(path: str, head: Callable[[], bytes]) -> str:
    """The reason why a file of an archive is not a video, blank if it is one; `head` reads its first bytes."""
    if is_video(path):
        return ""
    if is_archive(path):
        return OTHER_ARCHIVE
    return why_no_video(path) or ("" if looks_like_video(head()) else OTHER_CONTENT)
