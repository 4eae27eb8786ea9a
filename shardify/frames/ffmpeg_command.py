"""The ffmpeg to use, and its command line from a video to Motion-JPEG, built by ffmpeg-python."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess

import ffmpeg
import imageio_ffmpeg
from pydantic import Field

from shardify.config import StrictModel
from shardify.errors import UsageError
from shardify.frames.ffmpeg_log import LOG_LEVEL
from shardify.storage.locations import HomeExpanded

_OLDEST_FFMPEG = (5, 1)
"""First release with -fps_mode."""
_MAX_INT32 = 2**31 - 1
"""Largest -max_pixels of ffmpeg, and largest number of frames in a shard's index."""
_SOURCE = "SOURCE"
"""Stands for the source while the command line is built."""


class FramesConfig(StrictModel):
    """How videos become JPEG frames."""

    height: int = Field(default=128, ge=16, le=4096)
    """Height of the stored frames in pixels."""
    width: int = Field(default=171, ge=16, le=4096)
    """Width of the stored frames in pixels; the source's aspect ratio is not kept."""
    quality: int = Field(default=3, ge=1, le=31)
    """ffmpeg's -q:v, 1 best, 31 worst; 3 gives about 5 KB a frame for UCF101 at 128x171."""
    max_frames: int = Field(default=10_000, ge=1, le=_MAX_INT32)
    """Videos with more frames are rejected."""
    max_source_pixels: int = Field(default=8192 * 8192, ge=1, le=_MAX_INT32)
    """Larger pictures (with the decoder's padding) are rejected: a damaged header could demand too much memory."""
    time_limit_seconds: float = Field(default=600.0, gt=0, le=86_400)
    """How long decoding one video may take; at most a day."""
    ffmpeg: HomeExpanded = "bundled"
    """`bundled` (imageio-ffmpeg's binary), `system` (the one on PATH) or the path of a binary."""


@functools.cache
def ffmpeg_binary(choice: str = "bundled", *, key: str = "frames.ffmpeg") -> str:
    """Path of the ffmpeg for a choice as in :class:`FramesConfig`; UsageError, which names `key`, if there is none."""
    if choice == "bundled":
        try:
            return str(imageio_ffmpeg.get_ffmpeg_exe())
        except RuntimeError:
            raise UsageError(f"imageio-ffmpeg brings no ffmpeg here; set {key} to system or to a path") from None
    binary = shutil.which("ffmpeg" if choice == "system" else choice)
    if binary is None:
        where = "no ffmpeg on PATH" if choice == "system" else f"{choice} is not a program"
        raise UsageError(f"{key} = {choice!r}: {where}; install it, or use bundled")
    return binary


@functools.cache
def ffmpeg_version(binary: str) -> str:
    """Version of a binary, e.g. "7.0.2-static", "n9.0.2-17-g2a571b6068"; UsageError if not ffmpeg 5.1 or newer."""
    try:
        done = subprocess.run(
            [binary, "-version"], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        raise UsageError(f"{binary} does not run as ffmpeg; set frames.ffmpeg to bundled, system or a path") from None
    first_line = done.stdout.decode("utf-8", errors="replace").partition("\n")[0]
    match = re.match(r"ffmpeg version (\S+)", first_line)
    if match is None:
        raise UsageError(f"{binary} is not ffmpeg: -version says {first_line[:80]!r}; set frames.ffmpeg to bundled")
    release = re.match(r"n?(\d+)\.(\d+)", match[1])
    if release is not None and (int(release[1]), int(release[2])) < _OLDEST_FFMPEG:
        raise UsageError(f"{binary} is ffmpeg {match[1]}; 5.1 or newer is needed; set frames.ffmpeg to bundled")
    return match[1]


def filter_chain(config: FramesConfig) -> str:
    """The video filters between decoder and JPEG encoder, in ffmpeg's syntax; the manifest holds them.

    Colours are as in JFIF: BT.601, full range, chroma samples centred between their pixels. With accurate_rnd and
    bitexact the scaler gives the same bytes on every CPU.
    """
    flags = "bicubic+accurate_rnd+bitexact+full_chroma_int+full_chroma_inp"
    scale = f"scale=w={config.width}:h={config.height}:flags={flags}:out_range=full:out_color_matrix=bt601"
    scale += ":out_h_chr_pos=128:out_v_chr_pos=128"
    return f"{scale},format=pix_fmts=yuv420p,setsar=sar=1"


def ffmpeg_command(
    source: str, config: FramesConfig, *, cpu_flags: str | None = None, stream: int | None = None
) -> list[str]:
    """The whole command line: `source` (an absolute path) in, Motion-JPEG on stdout, the log on stderr.

    `stream` is the number of the video stream; None: the first that is not a cover picture.
    """
    global_options = ["-hide_banner", "-nostdin", "-nostats", "-loglevel", LOG_LEVEL, "-filter_threads", "1"]
    if cpu_flags is not None:
        global_options += ["-cpuflags", cpu_flags]
    video = ffmpeg.input(
        _SOURCE,
        protocol_whitelist="file",
        r=25,  # number the frames: the encoder refuses timestamps that do not increase
        flags="+bitexact",
        threads=1,
        max_pixels=config.max_source_pixels,
    )
    output = video.output(
        "pipe:1",
        map="0:V:0" if stream is None else f"0:{stream}",
        vf=filter_chain(config),
        format="mjpeg",
        vcodec="mjpeg",
        dct="int",  # the SIMD transforms round differently
        huffman="optimal",
        qmin=1,
        flags="+bitexact",
        fflags="+bitexact",
        fps_mode="passthrough",
        threads=1,
        **{"q:v": config.quality, "frames:v": config.max_frames + 1},
    )
    command: list[str] = output.global_args(*global_options).compile(cmd=ffmpeg_binary(config.ffmpeg))
    # Inserted here because ffmpeg-python refuses names that are not UTF-8. The prefix makes ffmpeg open a local file.
    return [f"file:{source}" if word == _SOURCE else word for word in command]
