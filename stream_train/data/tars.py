"""Tars of samples, ours and those of other programs: which members are one video, and in which order its frames come.

In: paths or URLs of tars. Out: a survey of a local tar by its headers, or the samples of tars from front to back.
"""

from __future__ import annotations

import json
import re
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import IO, Any

import webdataset as wds

from shardify.catalogs.content import why_hidden
from shardify.errors import UsageError, WorkError
from shardify.frames.jpeg import split_jpegs
from shardify.shards.index import MAX_TAR_PADDING_BYTES, TAR_BLOCK_BYTES
from shardify.storage.locations import SCHEMES
from shardify.storage.webdataset_reading import teach_webdataset
from stream_train.data.plain_tars import around_number

PICTURES = ("jpg", "jpeg")
_AGAIN = "comes again; all members of a sample must follow one another, and each video needs its own name"
_is_meta = re.compile(r"__[^/]*__($|/)").match
"""Members with such names are WebDataset's own; it leaves them out."""
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
"""First bytes of gzip, bzip2 and xz, all of which `tarfile` reads."""
_timed = re.compile(r"((?:.*/)?[^./]*?)([0-9]{1,9})\.([0-9]{1,9})\.jpe?g", re.IGNORECASE | re.DOTALL).fullmatch
"""A picture's name that may end with a time, as the text before it, whole seconds, and their fraction."""
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")
"""Lower-case names of files that Windows adds to folders."""


@dataclass(frozen=True, kw_only=True)
class TarSurvey:
    """The content of a local tar."""

    lengths: Mapping[str, int]
    """Number of frames of each sample, by its key."""
    others: tuple[str, ...]
    """Files that belong to no sample: those of the system, hidden ones, and names without an ending."""


def survey_tars(paths: Iterable[str]) -> list[TarSurvey]:
    """:func:`survey_tar` of each; also raises WorkError if two tars hold samples of one key."""
    surveys: list[TarSurvey] = []
    tar_of: dict[str, str] = {}
    for path in paths:
        surveys.append(survey_tar(path))
        for key in surveys[-1].lengths:
            if tar_of.setdefault(key, path) != path:
                raise WorkError(
                    f"{path} and {tar_of[key]} both hold a sample {key}; pack all frames of a video into one tar, and "
                    "give each video its own name"
                )
    return surveys


def survey_tar(path: str) -> TarSurvey:
    """Find the samples of a local tar by its headers, and check them as reading would.

    `tarfile` ends silently at a damaged header or a cut. Only zeros may follow the true end, and not many:
    a tar whose space was reserved and only partly written ends in many.

    Raises:
        UsageError: if there is no such file.
        WorkError: if it is no tar, is damaged, or is cut short, or if a sample cannot be used.
    """
    try:
        with Path(path).open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            samples, others = _members(path, tar)
            _check_times(path, (member.name for members in samples.values() for member in members.values()))
            end = tar.offset
            file.seek(end)
            complete = len(last := file.read(TAR_BLOCK_BYTES)) == TAR_BLOCK_BYTES and not any(last)
            complete = complete and Path(path).stat().st_size - end <= MAX_TAR_PADDING_BYTES
            while complete and (piece := file.read(1 << 20)):
                complete = not any(piece)
            if not complete:
                raise WorkError(f"{path} is cut short or damaged: no whole tar ends at byte {end}; download it again")
            lengths = {key: _length(tar, members, f"{path}, sample {key}") for key, members in samples.items()}
    except FileNotFoundError:
        raise UsageError(f"there is no tar {path}") from None
    except (OSError, tarfile.TarError) as error:
        raise WorkError(f"{path} cannot be read as a tar ({error})") from None
    return TarSurvey(lengths=lengths, others=tuple(others))


def samples_of(urls: Iterable[str], expected: Mapping[str, int] | None = None) -> Iterator[dict[str, Any]]:
    """WebDataset's samples of some tars. It does not notice a tar that is cut short, so its end is looked at.

    Raises WorkError if a tar cannot be read, does not end as a whole one, holds fewer samples than expected, or a
    sample's key comes again.
    """
    teach_webdataset(SCHEMES)
    for url in urls:
        keys: set[str] = set()
        try:
            stream = WatchedTar(wds.gopen(url))
            files = wds.tariterators.tar_file_expander([{"url": url, "stream": stream}])
            for sample in wds.tariterators.group_by_keys(files, keys=key_and_ending):
                if sample["__key__"] in keys:
                    raise WorkError(f"{sample_name(sample)} {_AGAIN}")
                keys.add(sample["__key__"])
                yield sample
            is_whole = stream.ends_whole()
        except (OSError, tarfile.TarError, ValueError) as error:
            raise WorkError(f"{url} cannot be read ({error}); download or build it again") from None
        if expected is not None and len(keys) < expected[url]:
            raise WorkError(f"{url} gave {len(keys)} of its {expected[url]} samples; download or build it again")
        if not is_whole:
            raise WorkError(f"{url} is cut short or damaged, for no whole tar ends there; download or build it again")


class WatchedTar:
    """A tar's bytes on their way to `tarfile`, which takes a damaged header, and any cut, for the end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._first = b""
        self._last = b""

    def read(self, num_bytes: int) -> bytes:
        data = self._stream.read(num_bytes)
        self._first = self._first or data[:TAR_BLOCK_BYTES]
        self._last = (self._last + data)[-TAR_BLOCK_BYTES:]
        return data

    def ends_whole(self) -> bool:
        """Whether the last block that was read, and all behind it, are zeros; reads to the end, and closes the stream.

        Compressed tars notice a cut by themselves.
        """
        with closing(self._stream):
            if self._first.startswith(_COMPRESSED):
                return True
            is_end = len(self._last) == TAR_BLOCK_BYTES and not self._last.strip(b"\0")
            while is_end and (piece := self._stream.read(1 << 20)):
                is_end = not piece.strip(b"\0")
            return is_end


def key_and_ending(path: str) -> tuple[str | None, str]:
    """The key of a member's sample, and its name in that sample; the key is None if it belongs to no sample.

    WebDataset cuts a name at its first dot. Here, numbered pictures in a folder (`video1/frame0001.jpg`) are the frames
    of one video, whose key is the folder; hidden files, and files that systems add, belong to no sample.
    """
    key, ending = wds.tariterators.base_plus_ext(path)
    name = path.rpartition("/")[2].lower()
    if key is None or name in _SYSTEM_FILES or why_hidden(path.removeprefix("./")):
        return None, ""
    folder, _, stem = key.rpartition("/")
    if folder.strip("./") and ending.lower() in PICTURES and "0" <= stem[-1:] <= "9":
        return folder, f"{stem}.{ending.lower()}"
    return key, ending.lower()


def frames_of(sample: Mapping[str, Any]) -> list[bytes]:
    """A sample's JPEG frames, in order, for both packings.

    Raises WorkError if the sample holds no frames or several series, or its frames do not match its checksums.
    """
    name = sample_name(sample)
    if (found := frame_names(sample, name)) == ["mjpg"]:
        frames = _split(sample["mjpg"], name)
    else:
        frames = [sample[key] for key in found]
    checksums = _checksums(sample.get("json", b"{}"), name)
    if checksums is not None and checksums != [zlib.crc32(frame) for frame in frames]:
        raise WorkError(f"{name}: its frames do not match their checksums; download or build the shard again")
    return frames


def frame_names(members: Iterable[str], name: str) -> list[str]:
    """Which members of a sample are its frames, in the order of their numbers; `["mjpg"]` if that holds all.

    Raises WorkError, starting with `name`, if there are none, or pictures of more than one series.
    """
    members = sorted(member for member in members if not _is_meta(member))
    pictures = [member for member in members if member.rpartition(".")[2] in PICTURES]
    if "mjpg" in members:
        if pictures:
            raise WorkError(f"{name} holds frames as .mjpg and as pictures ({pictures[0]}); pack one of them only")
        return ["mjpg"]
    series: dict[str, dict[tuple[int, str], str]] = {}
    for member in pictures:
        before, number, behind = around_number(member.rpartition(".")[0])
        digits = number.lstrip("0")
        other = series.setdefault(f"{before}#{behind}", {}).setdefault((len(digits), digits), member)
        if other != member:
            raise WorkError(f"{name} holds a frame twice, as {other} and {member}; pack one of them only")
    if len(series) > 1:
        kinds = " and ".join(sorted(series)[:2])
        raise WorkError(f"{name} holds {len(series)} series of pictures ({kinds}); a video is one, pack it alone")
    if not series:
        raise WorkError(f"{name} has neither an .mjpg member with frames nor .jpg frames; it holds {members}")
    (numbered,) = series.values()
    return [numbered[number] for number in sorted(numbered)]


def _members(path: str, tar: tarfile.TarFile) -> tuple[dict[str, dict[str, tarfile.TarInfo]], list[str]]:
    """The members of each sample, and the files of none."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    others: list[str] = []
    current = None
    for member in tar:
        if member.isdir() or _is_meta(member.name):
            continue
        key, ending = key_and_ending(member.name)
        if key is None:
            others.append(member.name)
            continue
        if not member.isreg():
            raise WorkError(
                f"{path}: {member.name} is a link or a device, which WebDataset leaves out; pack the file itself "
                "(tar --dereference --hard-dereference)"
            )
        if ending in samples.get(key, {}) or (key in samples and key != current):
            raise WorkError(f"{path}, sample {key} {_AGAIN}")
        samples.setdefault(key, {})[ending] = member
        current = key
    return samples, others


def _check_times(path: str, names: Iterable[str]) -> None:
    """Raises WorkError if pictures are named by their times (`v/0.40.jpg`), which makes each second a sample.

    Times go on in even steps from one second to the next. Frame numbers do not, or they leave out none.
    """
    series: defaultdict[tuple[str, int], dict[int, str]] = defaultdict(dict)
    for name in names:
        if parts := _timed(name):
            series[parts[1], len(parts[3])][int(parts[2] + parts[3])] = name
    for (_, digits), name_of in series.items():
        times = sorted(name_of)
        steps = [later - time for time, later in pairwise(times)]
        seconds = {time // 10**digits for time in times}
        if 1 < len(seconds) < len(times) and 1 < median(steps) >= max(steps) / 2:
            raise WorkError(
                f"{path}: pictures seem to be named by their times ({name_of[times[0]]} to {name_of[times[-1]]}), but "
                f"a sample's name ends at the first dot, so that they would be {len(seconds)} videos; name the frames "
                "of a video by whole numbers, as in KEY/000.jpg, KEY/001.jpg ..."
            )


def _length(tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], name: str) -> int:
    """A sample's number of frames; reads its frames only if neither headers nor record tell."""

    def content(ending: str) -> bytes:
        file = tar.extractfile(members[ending])
        assert file is not None
        return file.read()

    frames = frame_names(members, name)
    checksums = _checksums(content("json"), name) if "json" in members else None
    if frames != ["mjpg"]:
        return len(frames)
    return len(_split(content("mjpg"), name)) if checksums is None else len(checksums)


def _split(stream: bytes, name: str) -> list[bytes]:
    try:
        frames = list(split_jpegs(stream))
    except ValueError as error:
        raise WorkError(f"{name}: {error}; download or build the shard again") from None
    if not frames:
        raise WorkError(f"{name} has an empty .mjpg member; download or build the shard again")
    return frames


def _checksums(record: bytes, name: str) -> list[Any] | None:
    """The checksums in a sample's .json; None if it has none."""
    try:
        values = json.loads(record)
    except (ValueError, RecursionError):
        raise WorkError(f"{name}: its .json is not JSON; download or build the shard again") from None
    checksums = values.get("frame_crc32") if isinstance(values, dict) else None
    return checksums if isinstance(checksums, list) else None


def sample_name(sample: Mapping[str, Any]) -> str:
    """A sample's name for the user."""
    return f"{sample.get('__url__', 'tar')}, sample {sample.get('__key__')}"
