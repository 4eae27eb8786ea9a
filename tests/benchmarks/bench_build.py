"""Building shards against bare ffmpeg: the share of ffmpeg's speed that `shardify build` keeps.

Both sides decode, scale and encode the same videos with the same flags and number of processes, in turn; bare ffmpeg
discards its output. 1.00 would mean that packing, checksums and writing cost nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench_figures import Ratio, Speed, ratio, table

from shardify.build.config import BuildConfig
from shardify.build.run import build
from shardify.build.summary import BuildSummary
from shardify.catalogs import read_catalog
from shardify.catalogs.folder import FlatConfig
from shardify.frames.ffmpeg_command import FramesConfig, ffmpeg_command
from shardify.process import usable_cores
from shardify.synthetic.videos import SyntheticConfig, write_synthetic

SHARDS_PER_WORKER = 4


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


def measure(videos: Path, scratch: Path, *, workers: int, rounds: int) -> tuple[list[Speed], list[Ratio]]:
    """Both sides in turns; the first build is not counted, and reads every file once for both."""
    config = build_config(videos, scratch / "warm-up", workers)
    paths = [videos / video.path for video in read_catalog(config.source).videos]
    _, summary = time_build(config)
    bare, built = [], []
    for number in range(rounds):
        bare.append(time_bare_ffmpeg(paths, config.frames, workers))
        built.append(time_build(config.model_copy(update={"out": scratch / f"round-{number}"}))[0])
    num_frames = rounds * summary.num_frames
    speeds = [
        Speed(name="bare ffmpeg", value=num_frames / sum(bare), unit="frames/s"),
        Speed(name="shardify build", value=num_frames / sum(built), unit="frames/s"),
    ]
    quotients = [one / other for one, other in zip(bare, built, strict=True)]
    return speeds, [ratio("building_over_bare_ffmpeg", "building / bare ffmpeg", quotients)]


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
