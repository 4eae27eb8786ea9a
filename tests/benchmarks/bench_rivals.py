"""The loader against what people use instead, on one core: the same videos, frames and crops a video.

In turns after every batch of 7 videos with 4 clips of 16 frames:

- the loader: JPEG shards, with its order, draws and checks
- Pillow, OpenCV: the same shards and reader, another JPEG decoder
- stock WebDataset: a tar member for each frame, `.decode("rgb8")`, which decodes a video's every frame
- PyAV, torchcodec: the original files; PyAV decodes up to the last frame that is needed, torchcodec seeks
- torchcodec on small files: 172x128 MP4 (H.264, crf 23) with a key frame every 16 frames, made for this

Those that are not installed are left out, and named. Each decodes a frame that several clips of a video use once.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from bench_build import build_config, video_folder
from bench_figures import Ratio, Speed, installed, ratio, table
from bench_loader import clip_stream
from PIL import Image
from torch.nn.functional import interpolate

from shardify.arrays import ImageArray, IntArray
from shardify.build.run import build
from shardify.catalogs import read_catalog
from shardify.frames.ffmpeg_command import ffmpeg_binary
from shardify.process import usable_cores
from stream_train.data.reader import FrameReader, ShardSet, open_shard_set
from stream_train.draws import SampleDraws
from stream_train.transformations.config import SamplingConfig
from stream_train.transformations.sampling import draw_clips

CROP = 112
SMALL = (128, 172)
"""Height and width of the small files: even, as H.264 wants them."""

Frames = dict[int, ImageArray]
"""uint8 (H, W, 3) by frame number."""
Rival = Callable[[int, IntArray], object]
"""Makes a video's clips: the sample's position, and int64 (clips, T) frame numbers."""


def cropped(frames: Frames, indices: IntArray) -> ImageArray:
    """uint8 (clips, T, CROP, CROP, 3), the middle of each frame."""
    clips = np.empty((*indices.shape, CROP, CROP, 3), dtype=np.uint8)
    for place, number in np.ndenumerate(indices):
        frame = frames[int(number)]
        top, left = (frame.shape[0] - CROP) // 2, (frame.shape[1] - CROP) // 2
        clips[place] = frame[top : top + CROP, left : left + CROP]
    return clips


def from_shards(reader: FrameReader, decode: Callable[[bytes], ImageArray], sample: int, indices: IntArray) -> object:
    """The clips of a sample, with another JPEG decoder."""
    jpegs = reader.read(sample, np.unique(indices).tolist())
    return cropped({number: decode(bytes(jpeg)) for number, jpeg in jpegs.items()}, indices)


def pillow(jpeg: bytes) -> ImageArray:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def opencv(jpeg: bytes) -> ImageArray:
    import cv2

    decoded: ImageArray = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)  # type: ignore[assignment]
    return decoded


def pyav(files: Sequence[Path], size: tuple[int, int], sample: int, indices: IntArray) -> object:
    """Decode up to the last frame that is needed; scale those that are needed."""
    import av

    wanted, frames = {*indices.ravel().tolist()}, {}
    with av.open(str(files[sample])) as container:
        container.streams.video[0].thread_count = 1
        for number, frame in enumerate(itertools.islice(container.decode(video=0), max(wanted) + 1)):
            if number in wanted:
                frames[number] = np.asarray(frame.to_ndarray(format="rgb24", height=size[0], width=size[1]), np.uint8)
    last = max(frames)
    return cropped({number: frames.get(number, frames[last]) for number in wanted}, indices)


def torchcodec(files: Sequence[Path], size: tuple[int, int] | None, sample: int, indices: IntArray) -> object:
    """Decode the frames that are needed; scale them unless the file has their size."""
    from torchcodec.decoders import VideoDecoder

    decoder: Any = VideoDecoder(files[sample], num_ffmpeg_threads=1, seek_mode="approximate")
    wanted = np.unique(indices)
    frames = decoder.get_frames_at(np.minimum(wanted, len(decoder) - 1).tolist()).data
    if size is not None:
        frames = interpolate(frames, size=size, mode="bilinear", antialias=True)
    return cropped(dict(zip(wanted.tolist(), frames.permute(0, 2, 3, 1).numpy(), strict=True)), indices)


def stock_webdataset(tars: Sequence[str]) -> Rival:
    """The next sample, whichever it is; draws clips of its own."""

    def samples() -> Iterator[dict[str, Any]]:
        while True:
            yield from webdataset.WebDataset(list(tars), shardshuffle=False).decode("rgb8")

    endless = samples()

    def clips(position: int, _: IntArray) -> object:
        sample = next(endless)
        frames = [sample[name] for name in sorted(sample) if name.endswith("jpg")]
        plans = draw_clips(len(frames), SampleDraws(0, 0, position), SamplingConfig())
        return cropped(dict(enumerate(frames)), np.stack([plan.indices for plan in plans]))

    return clips


def small_file(video: Path, out: Path) -> Path:
    """The video at SMALL, a key frame every 16 frames."""
    size = f"scale={SMALL[1]}:{SMALL[0]}"
    command = [ffmpeg_binary(), "-v", "error", "-i", str(video), "-an", "-vf", size, "-fps_mode", "passthrough"]
    codec = ["-c:v", "libx264", "-crf", "23", "-g", "16", "-pix_fmt", "yuv420p", str(out)]
    subprocess.run([*command, *codec], stdin=subprocess.DEVNULL, check=True)
    return out


def rivals(shard_set: ShardSet, files: Sequence[Path], scratch: Path, single: Path) -> Iterator[tuple[str, Rival]]:
    """All that are installed, by name; `single` has the shards with a tar member for each frame."""
    reader, size = FrameReader(shard_set), shard_set.geometry
    yield "Pillow on these shards", partial(from_shards, reader, pillow)
    yield "OpenCV on these shards", partial(from_shards, reader, opencv)
    yield "stock WebDataset, frames as members", stock_webdataset(sorted(map(str, single.glob("*.tar"))))
    if installed("av"):
        yield "PyAV on the original files", partial(pyav, files, size)
    if installed("torchcodec"):
        yield "torchcodec on the original files", partial(torchcodec, files, size)
        small = [small_file(file, scratch / f"small-{number}.mp4") for number, file in enumerate(files)]
        yield "torchcodec on 172x128 files", partial(torchcodec, small, None)


def measure(videos: Path, shards: Path, scratch: Path, *, rounds: int, batches: int) -> tuple[list[Speed], list[Ratio]]:
    """All in turns, with the videos' shards; the first batch of each is not counted."""
    config = build_config(videos, scratch / "single", usable_cores())
    build(config.model_copy(update={"pack": "frames"}))
    shard_set = open_shard_set(shards, None)
    paths = {video.key: videos / video.path for video in read_catalog(config.source).videos}
    reader = FrameReader(shard_set)
    files = [paths[reader.entry(sample).key] for sample in range(shard_set.num_samples)]
    against = dict(rivals(shard_set, files, scratch, scratch / "single"))
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        return in_turns(shard_set, against, rounds=rounds, batches=batches)
    finally:
        os.sched_setaffinity(0, cores)


def in_turns(
    shard_set: ShardSet, against: Mapping[str, Rival], *, rounds: int, batches: int
) -> tuple[list[Speed], list[Ratio]]:
    """The speeds of all, and how many times as fast the loader is as each."""
    stream = iter(clip_stream(shard_set, workers=0, num_batches=1 + rounds * batches))
    ours = "the loader"
    seconds = {name: [0.0] * rounds for name in (ours, *against)}
    num_clips = 0
    for turn in range(-1, rounds * batches):
        start = time.perf_counter()
        batch = next(stream)
        spent = {ours: time.perf_counter() - start}
        indices = batch.indices.numpy().astype(np.int64)
        for name, rival in against.items():
            start = time.perf_counter()
            for sample in dict.fromkeys(batch.sample.tolist()):
                rival(sample, indices[batch.sample.numpy() == sample])
            spent[name] = time.perf_counter() - start
        if turn >= 0:
            num_clips += len(batch)
            for name, value in spent.items():
                seconds[name][turn // batches] += value
    speeds = [Speed(name=f"{name}, one core", value=num_clips / sum(s), unit="clips/s") for name, s in seconds.items()]
    quotients = {name: [b / a for a, b in zip(seconds[ours], seconds[name], strict=True)] for name in against}
    keys = {name: name.lower().replace(",", "").replace(" ", "_") for name in against}
    return speeds, [ratio(f"loader_over_{keys[name]}", f"the loader / {name}", quotients[name]) for name in against]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", help="folder of videos, searched recursively; synthetic ones if left out")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--batches", type=int, default=5, help="batches of 7 videos x 4 clips in a round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-rivals-") as folder:
        videos = video_folder(options.videos, Path(folder)).resolve()
        shards = Path(folder) / "shards"
        build(build_config(videos, shards, usable_cores()))
        torch.set_num_threads(1)
        print(table(*measure(videos, shards, Path(folder), rounds=options.rounds, batches=options.batches)))


if __name__ == "__main__":
    main()
