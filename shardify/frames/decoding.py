"""One video file -> its frames as JPEGs: every source frame once, in order.

In: a path, or a file in memory, and a :class:`FramesConfig`. Out: :class:`Frames`, or a :class:`VideoError` with the
reason. One ffmpeg process decodes, rotates, scales and encodes, with one thread per step. The bytes depend only on the
file, the config and the ffmpeg version, not on the CPU or on timing.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from shardify.frames.ffmpeg_command import FramesConfig, ffmpeg_command
from shardify.frames.ffmpeg_log import FfmpegLog
from shardify.frames.jpeg import split_jpegs
from shardify.frames.memory_file import MemoryFile

_SHORT_SHARE = 0.8
"""A video with a smaller share of the announced frames is short; rounded durations and rates cost a few frames."""
_HEAD_BYTES = 256
_SAMPLE_ENTRY_BYTES = 4096
"""In an encrypted MP4, the box `sinf` follows `encv` within this distance."""
_STAND_INS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the video itself: fetch the videos with `git lfs pull`"),
    (b"<!doctype", "a web page, not a video: its download failed"),
    (b"<html", "a web page, not a video: its download failed"),
    (b"<?xml", "a server's message, not a video: its download failed"),
)
"""First bytes, in lower case, of files that stand where a video should be, and what they are."""
_REFUSED_OPTIONS = (
    *("Error setting option ", "Error applying option ", "Error applying decoder options", "which is not within "),
    *("Unrecognized option ", "Error splitting the argument list", "Unknown encoder ", "Error parsing a filter "),
)
"""ffmpeg's messages when it refuses its options; the video is not the reason."""
_NO_DECODER = ("no decoder found for", "not found for input stream")
"""ffmpeg's messages, in newer and older releases."""

_running: set[subprocess.Popen[bytes]] = set()
"""The running ffmpeg processes of this process."""


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The frames of one video."""

    jpegs: tuple[bytes, ...]
    """One baseline JPEG (4:2:0, full range, BT.601, as in JFIF) per source frame; never empty."""
    fps: float
    """Mean frame rate from the container; 0.0 if unknown."""
    source_width: int
    """Pixels, after rotation; of the first frames if the size changes later."""
    source_height: int
    codec: str
    """ffmpeg's name of the source's codec, e.g. "h264"."""
    duration_seconds: float | None
    """From the container; None if unknown."""
    warnings: tuple[str, ...]
    """ffmpeg's complaints: at most 5 distinct lines of at most 200 characters, without paths or addresses."""

    @property
    def num_announced(self) -> int:
        """Number of frames that the container announces by its duration and rate; 0 if unknown."""
        return round((self.duration_seconds or 0.0) * self.fps)

    @property
    def is_short(self) -> bool:
        """Whether the video gave far fewer frames than its container announces, like half a download."""
        return len(self.jpegs) < _SHORT_SHARE * self.num_announced - 1


class VideoError(Exception):
    """A video that gave no usable frames."""

    def __init__(self, *, status: Literal["rejected", "transient"], reason: str, ffmpeg: str = "") -> None:
        super().__init__(reason)
        self.status: Literal["rejected", "transient"] = status
        """`rejected`: the file is bad, so a retry fails too; `transient`: a retry may succeed."""
        self.reason = reason
        self.ffmpeg = ffmpeg
        """ffmpeg's complaints, limited as in Frames.warnings."""

    def __reduce__(self) -> tuple[object, ...]:
        return functools.partial(VideoError, status=self.status, reason=self.reason, ffmpeg=self.ffmpeg), ()


def decode_video(
    video: str | os.PathLike[str] | MemoryFile, config: FramesConfig, *, cpu_flags: str | None = None
) -> Frames:
    """Decode one video into JPEG frames.

    The result holds every frame that ffmpeg decodes from one video stream, rotated upright: the default one, else the
    first that is not a cover picture. Timestamps do not drop or repeat frames. A damaged video gives all frames that
    can be decoded and warnings. A local file's name may hold any characters. `cpu_flags` is ffmpeg's -cpuflags, for
    tests ("0" switches SIMD off).
    Raises VideoError if there are no frames, too many, the file changed meanwhile, or ffmpeg was stopped from outside;
    UsageError without ffmpeg.
    """
    if isinstance(video, MemoryFile):
        with video.path() as path:
            return _decode(str(path), (video.fileno(),), config, cpu_flags)
    return _decode(str(Path(video).absolute()), (), config, cpu_flags)


def stop_decoding() -> None:
    """End every running ffmpeg of this process at once; their videos give no frames."""
    for process in tuple(_running):
        process.kill()


def _decode(source: str, descriptors: tuple[int, ...], config: FramesConfig, cpu_flags: str | None) -> Frames:
    """Decode the file at an absolute path; ffmpeg inherits `descriptors` to open it."""
    version = _require_content(source)

    def run(number: int | None) -> tuple[FfmpegLog, threading.Event, int, bytes]:
        log = FfmpegLog(source=source)
        command = ffmpeg_command(source, config, cpu_flags=cpu_flags, stream=number)
        with _run(command, log, config.time_limit_seconds, descriptors) as (process, timed_out):
            assert process.stdout is not None
            stream = process.stdout.read()
        return log, timed_out, process.returncode, stream

    log, timed_out, returncode, stream = run(None)
    if log.mapped is not None and log.default_video != log.mapped and not timed_out.is_set():  # known only now
        log, timed_out, returncode, stream = run(log.default_video)
    if timed_out.is_set():
        reason = f"not decoded within {config.time_limit_seconds:g} s (frames.time_limit_seconds)"
        raise VideoError(status="transient", reason=reason)
    _require_own_end(returncode, log)
    _require_unchanged(source, version)
    if log.complaints:
        _require_readable(source, log)
    try:
        jpegs = split_jpegs(stream)
    except ValueError as error:
        raise VideoError(status="rejected", reason=f"ffmpeg wrote damaged frames: {error}") from None
    _require_all_frames(len(jpegs), log, config)
    video = log.video
    width, height = video.size if video is not None else (0, 0)
    return Frames(
        jpegs=jpegs,
        fps=video.fps if video is not None else 0.0,
        source_width=width,
        source_height=height,
        codec=video.codec if video is not None else "unknown",
        duration_seconds=log.duration_seconds,
        warnings=log.complaints,
    )


@contextlib.contextmanager
def _run(
    command: list[str], log: FfmpegLog, time_limit_seconds: float, descriptors: tuple[int, ...] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], threading.Event]]:
    """Run ffmpeg while the caller reads its stdout; on exit it has ended and the log is complete.

    It runs in its own session: a Ctrl-C would make it end normally with half a video.
    """
    environment = {name: value for name, value in os.environ.items() if name != "FFREPORT"}
    environment["AV_LOG_FORCE_NOCOLOR"] = "1"
    timed_out = threading.Event()
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            pass_fds=descriptors,
        )
    except OSError as error:
        raise VideoError(status="transient", reason=f"ffmpeg could not be started: {error.strerror}") from None

    def give_up() -> None:
        timed_out.set()
        process.kill()

    timer = threading.Timer(time_limit_seconds, give_up)
    with process:
        assert process.stderr is not None
        reader = threading.Thread(target=_read_log, args=(log, process.stderr), daemon=True)
        _running.add(process)
        try:
            timer.start()
            reader.start()
            yield process, timed_out
            process.wait()
        finally:
            _running.discard(process)
            timer.cancel()
            process.kill()
            with contextlib.suppress(RuntimeError):  # a signal came before the thread started
                reader.join()


def _read_log(log: FfmpegLog, stream: IO[bytes]) -> None:
    with contextlib.suppress(ValueError):  # a signal closed the stream before this thread started
        log.read(_lines(stream))


def _lines(stream: IO[bytes], max_bytes: int = 4096) -> Iterator[bytes]:
    """Lines of a pipe; a long line comes in pieces, to limit memory."""
    return iter(functools.partial(stream.readline, max_bytes), b"")


def _require_content(source: str) -> tuple[int, int]:
    """Check the file first: the system explains a failure better than ffmpeg. Returns its :func:`_version`."""
    try:
        facts = Path(source).stat()
        if not stat.S_ISREG(facts.st_mode):
            raise VideoError(status="rejected", reason="not a regular file")
        with Path(source).open("rb", buffering=0) as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise VideoError(status="transient", reason=f"cannot be read: {error.strerror}") from None
    if facts.st_size == 0:
        raise VideoError(status="rejected", reason="the file is empty")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if reason := next((reason for first, reason in _STAND_INS if start.startswith(first)), ""):
        raise VideoError(status="rejected", reason=reason)
    return _version(facts)


def _require_unchanged(source: str, version: tuple[int, int]) -> None:
    try:
        facts = Path(source).stat()
    except OSError as error:
        raise VideoError(status="transient", reason=f"cannot be read to its end: {error.strerror}") from None
    if _version(facts) != version:
        raise VideoError(status="transient", reason="it changed while it was read; wait until it is whole")


def _version(facts: os.stat_result) -> tuple[int, int]:
    """Differs when a file was written to: by a download that goes on, for example."""
    return facts.st_size, facts.st_mtime_ns


def _require_own_end(returncode: int, log: FfmpegLog) -> None:
    """Raise if ffmpeg was stopped from outside; a status other than 0 is allowed."""
    words = "; ".join(log.complaints)
    if returncode < 0:
        raise VideoError(status="transient", reason=f"ffmpeg was ended by signal {-returncode}", ffmpeg=words)
    if log.was_asked_to_stop:
        raise VideoError(status="transient", reason="ffmpeg was asked to stop by a signal", ffmpeg=words)
    if log.says("Cannot allocate memory"):
        raise VideoError(status="transient", reason="ffmpeg ran out of memory", ffmpeg=words)


def _require_readable(source: str, log: FfmpegLog) -> None:
    """Raise if ffmpeg complains because the disk cannot be read, or because the video is encrypted.

    ffmpeg's log does not tell: it reports bad data as I/O errors too, and decodes encrypted video to garbage.
    """
    words = "; ".join(log.complaints)
    try:
        is_encrypted = _read_to_end(source)
    except OSError as error:
        reason = f"cannot be read to its end: {error.strerror}"
        raise VideoError(status="transient", reason=reason, ffmpeg=words) from None
    if is_encrypted and "mp4" in log.container:
        raise VideoError(status="rejected", reason="its video is encrypted", ffmpeg=words)


def _read_to_end(source: str, block_bytes: int = 1 << 20) -> bool:
    """Read every byte; returns whether the file has an encrypted sample entry (`encv` with `sinf`, ISO/IEC 23001-7)."""
    is_encrypted = False
    window = b""
    with Path(source).open("rb", buffering=0) as file:
        while block := file.read(block_bytes):
            window = window[-_SAMPLE_ENTRY_BYTES:] + block
            entry = window.find(b"encv")
            is_encrypted |= entry >= 0 and window.find(b"sinf", entry, entry + _SAMPLE_ENTRY_BYTES) >= 0
    return is_encrypted


def _require_all_frames(num_jpegs: int, log: FfmpegLog, config: FramesConfig) -> None:
    """Raise unless there are frames, not too many, and as many as were decoded."""
    words = "; ".join(log.complaints)
    if num_jpegs > config.max_frames:  # without ffmpeg's words, which vary by chance: it decodes beyond the limit
        reason = f"more than {config.max_frames} frames (frames.max_frames)"
        raise VideoError(status="rejected", reason=reason)
    if num_jpegs == 0 and any(map(log.says, _REFUSED_OPTIONS)):
        raise VideoError(status="transient", reason="ffmpeg refused an option it was given", ffmpeg=words)
    if num_jpegs == 0:
        raise VideoError(status="rejected", reason=_why_no_frames(log), ffmpeg=words)
    if log.frames_decoded is not None and log.frames_decoded != num_jpegs:
        reason = f"{log.frames_decoded} frames were decoded but {num_jpegs} came out"
        raise VideoError(status="rejected", reason=reason, ffmpeg=words)


def _why_no_frames(log: FfmpegLog) -> str:
    """The first reason that explains an empty result, from the container to the packets."""
    videos = [stream for stream in log.streams.values() if stream.medium == "Video"]
    media = " and ".join(sorted({stream.medium.lower() for stream in log.streams.values()}))
    reasons = (
        (log.says("moov atom not found"), "no index (moov atom) in it: cut short, never finished, or not a video"),
        (not log.streams, "not a video, or its header is damaged"),
        (not videos, f"no video stream, only {media}"),
        (all(stream.is_attached_picture for stream in videos), "no video stream, only a cover picture"),
        (log.says("max pixel count"), "its pictures are larger than allowed (frames.max_source_pixels)"),
        (any(map(log.says, _NO_DECODER)), "ffmpeg has no decoder for its codec"),
        (log.video is None, "ffmpeg did not begin to decode it"),
        (log.packets_read == 0, "it announces video but holds no video data"),
        (True, f"none of its {log.packets_read} video packets could be decoded"),
    )
    return next(reason for applies, reason in reasons if applies)
