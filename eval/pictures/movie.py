"""Pictures -> an MP4 with H.264 for every player, written by ffmpeg.

The same pictures and ffmpeg give the same bytes.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import ffmpeg
import numpy as np

from shardify.arrays import ImageArray
from shardify.errors import WorkError, one_line
from shardify.frames.ffmpeg_command import ffmpeg_binary
from shardify.storage.folder_store import whole_file

_QUALITY = 16
"""x264's -crf: 0 is lossless, 51 the worst; at 16, letters are sharp."""
_FILTERS = (
    "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int+bitexact,"
    "format=pix_fmts=yuv420p,setparams=color_primaries=bt709:color_trc=bt709"
)
"""Write the colour space BT.709 into the file; otherwise players guess it from the picture's size."""


def write_movie(
    pictures: Sequence[ImageArray], path: Path, *, frames_per_second: float, ffmpeg_choice: str = "bundled"
) -> None:
    """Encode pictures, uint8 (H, W, 3), as an MP4 in an existing folder; the file is written atomically.

    H.264 needs even sizes, so the last line of an odd size is repeated. `ffmpeg_choice`: `bundled`, `system` or a path.

    Raises:
        ValueError: if there is no picture, or they differ in size.
        UsageError: if there is no ffmpeg.
        WorkError: if ffmpeg fails, or the disk is full.
    """
    shapes = {picture.shape for picture in pictures}
    if len(shapes) != 1:
        raise ValueError(f"a movie needs pictures of one size, not of {sorted(shapes)}")
    height, width, _ = shapes.pop()
    margins = ((0, height % 2), (0, width % 2), (0, 0))
    data = b"".join(np.pad(picture, margins, mode="edge").tobytes() for picture in pictures)
    with whole_file(path) as temporary:
        size = (width + width % 2, height + height % 2)
        command = _command(size, temporary.name, frames_per_second, ffmpeg_binary(ffmpeg_choice))
        done = subprocess.run(command, input=data, capture_output=True, cwd=path.parent, check=False)
        if done.returncode != 0:
            words = one_line(done.stderr.decode("utf-8", errors="replace"))[:300]
            raise WorkError(f"{path}: ffmpeg could not encode it ({words or f'status {done.returncode}'})")


def _command(size: tuple[int, int], name: str, frames_per_second: float, binary: str) -> list[str]:
    """ffmpeg's command: raw RGB on stdin -> a file in the current folder."""
    video = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt="rgb24", video_size=size, framerate=frames_per_second)
    output = video.output(
        f"file:{name}",
        format="mp4",
        vcodec="libx264",
        crf=_QUALITY,
        vf=_FILTERS,
        movflags="+faststart",
        flags="+bitexact",
        fflags="+bitexact",
        threads=1,
    )
    words: list[str] = output.global_args("-hide_banner", "-loglevel", "error", "-y").compile(cmd=binary)
    return words
