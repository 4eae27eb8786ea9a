"""Building shards against bare ffmpeg: the share of ffmpeg's speed that `shardify build` keeps.

Both sides decode, scale and encode the same videos with the same flags and number of processes, in turn; bare ffmpeg
discards its output. 1.00 would mean that packing, checksums and writing cost nothing. What people build with instead
does the same work in as many processes, which are started before it is timed, and writes tars: PyAV with Pillow, and
torchcodec with simplejpeg. Those that are not installed are left out, and named.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from bench_figures import Ratio, Speed, installed, ratio, table

from shardify.build.config import BuildConfig
from shardify.build.run import build
from shardify.build.summary import BuildSummary
from shardify.catalogs import read_catalog
from shardify.catalogs.folder import FlatConfig
from shardify.frames.ffmpeg_command import FramesConfig, ffmpeg_command
from shardify.process import usable_cores
from shardify.synthetic.videos import SyntheticConfig, write_synthetic

SHARDS_PER_WORKER = 4
QUALITY = 78
"""Of the other programs' JPEGs, which are then about as large as ours."""


def video_folder(given: str | None, scratch: Path) -> Path:
    """The given folder, or synthetic videos of UCF101's size and length, made in `scratch`."""
    if given:
        return Path(given)
    size = {"height": 240, "width": 320, "min_frames": 180, "max_frames": 180}
    config = SyntheticConfig(out=scratch / "synthetic", num_groups=6, clips_per_group=1, **size)
    write_synthetic(config)
    return config.out / "videos"


def build_config(videos: Path, out: Path, workers: int) -> BuildConfig:
    """All videos below a folder, in enough shards to keep every worker busy to the end."""
    source = FlatConfig(kind="flat", videos=videos)
    num_videos = len(read_catalog(source).videos)
    per_shard = max(1, num_videos // (SHARDS_PER_WORKER * workers))
    return BuildConfig(
        source=source,
        out=out,
        workers=workers,
        videos_per_shard=per_shard,
        max_rejected_share=1.0,
        max_missing_share=1.0,
    )


def time_bare_ffmpeg(videos: list[Path], frames: FramesConfig, workers: int) -> float:
    """Seconds that ffmpeg needs for all videos, with `workers` processes at a time."""

    def decode(path: Path) -> None:
        command = ffmpeg_command(str(path), frames)
        subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )

    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(decode, videos))
    return time.perf_counter() - start


def time_build(config: BuildConfig) -> tuple[float, BuildSummary]:
    """Seconds of a whole build, catalog and manifest included, and its summary."""
    start = time.perf_counter()
    summary = build(config)
    return time.perf_counter() - start, summary


def pyav_and_pillow(video: Path, height: int, width: int) -> Iterator[bytes]:
    """All frames of a video as JPEG."""
    import av
    from PIL import Image

    with av.open(str(video)) as container:
        container.streams.video[0].thread_count = 1
        for frame in container.decode(video=0):
            pixels = frame.to_ndarray(format="rgb24", height=height, width=width, interpolation="BICUBIC")
            jpeg = io.BytesIO()
            Image.fromarray(pixels).save(jpeg, "JPEG", quality=QUALITY)
            yield jpeg.getvalue()


def torchcodec_and_simplejpeg(video: Path, height: int, width: int) -> Iterator[bytes]:
    """All frames of a video as JPEG."""
    import simplejpeg
    import torch
    from torch.nn.functional import interpolate
    from torchcodec.decoders import VideoDecoder

    torch.set_num_threads(1)
    decoder: Any = VideoDecoder(video, num_ffmpeg_threads=1)
    for number in range(len(decoder)):
        try:
            frame = decoder[number]
        except RuntimeError:
            break  # some AVI files announce more frames than they hold
        small = interpolate(frame[None], size=(height, width), mode="bicubic", antialias=True)[0]
        pixels = small.permute(1, 2, 0).contiguous().numpy()
        yield simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorspace="RGB", colorsubsampling="420")


RIVALS: dict[str, tuple[str, Callable[[Path, int, int], Iterator[bytes]]]] = {
    "PyAV and Pillow": ("av", pyav_and_pillow),
    "torchcodec and simplejpeg": ("torchcodec", torchcodec_and_simplejpeg),
}
"""Name -> the module that must be there, and what makes a video's JPEGs."""


def write_tar(make: Callable[[Path], Iterator[bytes]], out: Path, number: int, videos: list[Path]) -> int:
    """Write the frames of some videos as members of a tar; returns their number."""
    num_frames = 0
    with tarfile.open(out / f"{number}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for video in videos:
            for jpeg in make(video):
                member = tarfile.TarInfo(f"{number:06d}.{num_frames:06d}.jpg")
                member.size = len(jpeg)
                tar.addfile(member, io.BytesIO(jpeg))
                num_frames += 1
    return num_frames


def time_rival(
    pool: ProcessPoolExecutor,
    make: Callable[[Path], Iterator[bytes]],
    videos: list[Path],
    per_shard: int,
    num_frames: int = 0,
) -> float:
    """Seconds of a pool whose processes run already; about `num_frames` frames must come."""
    with tempfile.TemporaryDirectory(prefix="bench-rival-") as out:
        start = time.perf_counter()
        parts = [videos[first : first + per_shard] for first in range(0, len(videos), per_shard)]
        counts = list(pool.map(partial(write_tar, make, Path(out)), range(len(parts)), parts))
        assert sum(counts) > 0.95 * num_frames, f"only {sum(counts)} of {num_frames} frames were written"
        return time.perf_counter() - start


def measure(videos: Path, scratch: Path, *, workers: int, rounds: int) -> tuple[list[Speed], list[Ratio]]:
    """All in turns; the first build is not counted, and reads every file once for all."""
    config = build_config(videos, scratch / "warm-up", workers)
    paths = [videos / video.path for video in read_catalog(config.source).videos]
    size = {"height": config.frames.height, "width": config.frames.width}
    rivals = {name: partial(make, **size) for name, (module, make) in RIVALS.items() if installed(module)}
    _, summary = time_build(config)
    bare, built, others = [], [], {name: list[float]() for name in rivals}
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for make in rivals.values():
            time_rival(pool, make, paths[: 2 * workers], 1)  # starts the processes, and loads the libraries
        for number in range(rounds):
            bare.append(time_bare_ffmpeg(paths, config.frames, workers))
            built.append(time_build(config.model_copy(update={"out": scratch / f"round-{number}"}))[0])
            for name, make in rivals.items():
                others[name].append(time_rival(pool, make, paths, config.videos_per_shard, summary.num_frames))
    num_frames = rounds * summary.num_frames
    seconds = {"bare ffmpeg": bare, "shardify build": built, **others}
    speeds = [Speed(name=name, value=num_frames / sum(spent), unit="frames/s") for name, spent in seconds.items()]

    def times(spent: list[float]) -> list[float]:
        return [one / other for one, other in zip(spent, built, strict=True)]

    keys = {name: f"building_over_{name.lower().replace(' ', '_')}" for name in rivals}
    return speeds, [
        ratio("building_over_bare_ffmpeg", "building / bare ffmpeg", times(bare)),
        *(ratio(keys[name], f"building / {name}", times(spent)) for name, spent in others.items()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", help="folder of videos, searched recursively; synthetic ones if left out")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes on either side")
    parser.add_argument("--rounds", type=int, default=3, help="turns of either side")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-build-") as folder:
        videos = video_folder(options.videos, Path(folder)).resolve()
        print(table(*measure(videos, Path(folder), workers=options.workers, rounds=options.rounds)))


if __name__ == "__main__":
    main()
