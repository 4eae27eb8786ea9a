"""Videos whose frames carry their number, made with ffmpeg, and the way to read the number back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import simplejpeg

from shardify.arrays import ImageArray
from shardify.frames.ffmpeg_command import ffmpeg_binary

WIDTH, HEIGHT = 160, 128
"""Size of the numbered frames in pixels."""
_ROWS, _COLUMNS = 4, 4
_BITS = _ROWS * _COLUMNS


def run_ffmpeg(*arguments: str | Path, stdin: bytes | None = None) -> None:
    """Run ffmpeg to make a fixture; its complaints fail the test."""
    command = [ffmpeg_binary(), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, input=stdin or b"", capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def numbered_frame(number: int, width: int = WIDTH, height: int = HEIGHT) -> ImageArray:
    """A frame that shows its number as 16 black or white blocks, the lowest bit at the top left."""
    bits = (number >> np.arange(_BITS)) & 1
    blocks = (40 + 175 * bits).astype(np.uint8).reshape(_ROWS, _COLUMNS)
    grey = blocks.repeat(height // _ROWS, axis=0).repeat(width // _COLUMNS, axis=1)
    return np.repeat(grey[:, :, None], 3, axis=2)


def read_number(image: ImageArray) -> int:
    """The number that a frame shows, whatever its size."""
    height, width, _ = image.shape
    rows = (np.arange(_ROWS) * 2 + 1) * height // (2 * _ROWS)
    columns = (np.arange(_COLUMNS) * 2 + 1) * width // (2 * _COLUMNS)
    bits = image[np.ix_(rows, columns)].mean(axis=2).ravel() > 127
    return int(bits @ (1 << np.arange(_BITS)))


def read_numbers(jpegs: Iterable[bytes]) -> list[int]:
    """The numbers that JPEG frames show."""
    return [read_number(simplejpeg.decode_jpeg(jpeg)) for jpeg in jpegs]


def write_video(
    path: Path, images: Sequence[ImageArray], *options: str | Path, fps: float = 25, filters: str = "null"
) -> Path:
    """Encode RGB images into a video file; the options come before the output."""
    height, width, _ = images[0].shape
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "pipe:0")
    run_ffmpeg(*raw, "-vf", filters, *options, path, stdin=b"".join(image.tobytes() for image in images))
    return path


def write_numbered_video(
    path: Path, num_frames: int, *options: str | Path, fps: float = 25, filters: str = "null", start: int = 0
) -> Path:
    """A video of frames numbered from `start`; by default mpeg4."""
    images = [numbered_frame(number) for number in range(start, start + num_frames)]
    return write_video(path, images, *(options or ("-c:v", "mpeg4", "-q:v", "3")), fps=fps, filters=filters)


def first_clips_of_groups(data_dir: Path, folder: Path) -> dict[str, str]:
    """A source of 176 real clips, for a config: the first clip of each group of `ucf101-8`, its lists in `folder`."""
    folder.mkdir()
    for path in (data_dir / "ucf101-8" / "ucfTrainTestlist").iterdir():
        lines = path.read_text().splitlines(keepends=True)
        kept = lines if path.name == "classInd.txt" else [line for line in lines if "_c01.avi" in line]
        (folder / path.name).write_text("".join(kept))
    return {"kind": "ucf101", "videos": str(data_dir / "ucf101-8" / "videos"), "lists": str(folder)}
