"""Loading clips against bare JPEG decoding: the share of simplejpeg's speed that the loader keeps.

One process, one thread. The loader orders, reads, checks, decodes, crops and stacks the pretext task's clips. The other
side decodes the same JPEGs from memory into one buffer, each once per video, as the loader does. They alternate after
every batch. 1.00 would mean that everything but decoding costs nothing. The second ratio counts clips: a loader that
decodes the 16 frames of each clip separately could reach at most 1.00.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from bench_build import build_config, video_folder

from shardify.build.run import build
from shardify.process import usable_cores
from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.loader import ClipStream
from stream_train.data.reader import FrameReader, open_shard_set
from stream_train.transformations.config import SamplingConfig
from stream_train.transformations.sampling import draw_clips
from stream_train.transformations.sequences import CLIP_LENGTH


def distinct_jpegs(batch: Batch, reader: FrameReader) -> list[bytes]:
    """The JPEGs behind a batch: every frame that a video's clips use, once."""
    jpegs: list[bytes] = []
    for sample in np.unique(batch.sample.numpy()).tolist():
        frames = np.unique(batch.indices[batch.sample == sample].numpy()).tolist()
        jpegs += [bytes(jpeg) for jpeg in reader.read(sample, frames).values()]
    return jpegs


def time_decoding(jpegs: list[bytes], buffer: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    """Seconds to decode all JPEGs, one after another."""
    start = time.perf_counter()
    for jpeg in jpegs:
        simplejpeg.decode_jpeg(jpeg, colorspace="RGB", buffer=buffer)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", help="folder of videos, searched recursively; synthetic ones if left out")
    parser.add_argument("--batches", type=int, default=60, help="batches of 7 videos x 4 clips to time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="bench-loader-") as scratch:
        videos = video_folder(options.videos, Path(scratch)).resolve()
        shards = Path(scratch) / "shards"
        build(build_config(videos, shards, usable_cores()))
        shard_set = open_shard_set(shards, None)
        reader = FrameReader(shard_set)
        draw = partial(draw_clips, config=SamplingConfig())
        config = DataConfig(num_workers=0)
        stream = iter(ClipStream(shard_set, config, draw, seed=0, num_batches=options.batches + 1))
        distinct_jpegs(next(stream), reader)  # opens files and indexes
        buffer = np.empty((*shard_set.geometry, 3), dtype=np.uint8)
        loading_seconds = decoding_seconds = 0.0
        num_clips = num_jpegs = 0
        for _ in range(options.batches):
            start = time.perf_counter()
            batch = next(stream)
            loading_seconds += time.perf_counter() - start
            jpegs = distinct_jpegs(batch, reader)
            decoding_seconds += time_decoding(jpegs, buffer)
            num_clips += len(batch)
            num_jpegs += len(jpegs)
    print(f"{options.batches} batches, {num_clips:,} clips of 16 frames from {num_jpegs:,} JPEGs, 1 thread")
    print(f"bare simplejpeg  {num_jpegs / decoding_seconds:8,.0f} frames/s")
    print(f"the loader       {num_jpegs / loading_seconds:8,.0f} frames/s ({num_clips / loading_seconds:,.0f} clips/s)")
    print(f"loading / bare simplejpeg = {decoding_seconds / loading_seconds:.2f}")
    clips_a_second_alone = num_jpegs / CLIP_LENGTH / decoding_seconds
    print(f"loading / decoding each clip alone = {num_clips / loading_seconds / clips_a_second_alone:.2f}")


if __name__ == "__main__":
    main()
