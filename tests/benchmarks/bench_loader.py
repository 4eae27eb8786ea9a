"""Loading clips against bare JPEG decoding: the share of simplejpeg's speed that the loader keeps.

One process, one thread. The loader orders, reads, checks, decodes, crops and stacks the pretext task's clips. The other
side decodes the same JPEGs from memory into one buffer, each once per video, as the loader does. They alternate after
every batch. 1.00 would mean that everything but decoding costs nothing. The second ratio counts clips: a loader that
decodes the 16 frames of each clip separately could reach at most 1.00. The other ratios compare the loader with itself:
through n worker processes, it could at most be n times as fast as in this process, on n free cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from bench_build import build_config, video_folder
from bench_figures import Ratio, Speed, ratio, table

from eval.judging.config import EvalDataConfig
from eval.judging.subsequences import TestClips
from shardify.arrays import FloatArray
from shardify.build.run import build
from shardify.errors import counted
from shardify.process import usable_cores
from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.evaluation_pass import each_video_whole
from stream_train.data.loader import ClipStream
from stream_train.data.reader import FrameReader, ShardSet, open_shard_set
from stream_train.transformations.config import SamplingConfig
from stream_train.transformations.sampling import draw_clips
from stream_train.transformations.sequences import CLIP_LENGTH

WARM_BATCHES = 8
"""Not counted."""


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


@dataclass
class Turns:
    """Sums of each round, float64 (rounds,)."""

    loading: FloatArray
    """Seconds, also of decoding."""
    decoding: FloatArray
    """Seconds of bare decoding of the same frames."""
    clips: FloatArray
    jpegs: FloatArray
    """Distinct frames of the videos in a batch."""


def in_turns(stream: Iterable[Batch], shard_set: ShardSet, *, rounds: int, batches: int) -> Turns:
    """Load batches, and after each one decode its frames again, bare; the stream's first batch is not counted."""
    reader, numbered = FrameReader(shard_set), iter(stream)
    distinct_jpegs(next(numbered), reader)  # opens files and indexes
    buffer = np.empty((*shard_set.geometry, 3), dtype=np.uint8)
    turns = Turns(*np.zeros((4, rounds)))
    for number in range(rounds * batches):
        start = time.perf_counter()
        batch = next(numbered)
        turns.loading[number // batches] += time.perf_counter() - start
        jpegs = distinct_jpegs(batch, reader)
        turns.decoding[number // batches] += time_decoding(jpegs, buffer)
        turns.clips[number // batches] += len(batch)
        turns.jpegs[number // batches] += len(jpegs)
    return turns


def measure_decoding(shards: Path, *, rounds: int, batches: int) -> tuple[list[Speed], list[Ratio]]:
    """In this process, in turns with bare decoding: the pretext task's clips, then the test clips of an evaluation."""
    shard_set = open_shard_set(shards, None)
    stream = clip_stream(shard_set, workers=0, num_batches=rounds * batches + 1)
    training = in_turns(stream, shard_set, rounds=rounds, batches=batches)
    testing = in_turns(test_clips(shard_set), shard_set, rounds=rounds, batches=batches)
    seconds = training.loading.sum()
    speeds = [
        Speed(name="bare simplejpeg", value=training.jpegs.sum() / training.decoding.sum(), unit="frames/s"),
        Speed(name="the loader, frames", value=training.jpegs.sum() / seconds, unit="frames/s"),
        Speed(name="the loader, clips of 16 frames", value=training.clips.sum() / seconds, unit="clips/s"),
        Speed(name="test clips of 16 frames", value=testing.clips.sum() / testing.loading.sum(), unit="clips/s"),
    ]
    frames = training.decoding / training.loading
    shared = CLIP_LENGTH * training.clips / training.jpegs
    return speeds, [
        ratio("loading_over_bare_decoding", "loading / bare simplejpeg", frames.tolist()),
        ratio("loading_over_decoding_each_clip", "loading / decoding each clip alone", (frames * shared).tolist()),
        ratio(
            "test_clips_over_bare_decoding",
            "loading test clips / bare simplejpeg",
            (testing.decoding / testing.loading).tolist(),
        ),
    ]


def measure_workers(shards: Path, *, rounds: int, batches: int, most: int) -> tuple[list[Speed], list[Ratio]]:
    """The loader in this process, and through 1, 2, 4 ... worker processes, in turns."""
    counts = [0, *(count for count in (1, 2, 4, 8, 16) if count <= most)]
    speeds: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count in counts:
            speeds[count].append(clips_a_second(shards, workers=count, batches=batches))
    names = {count: f"through {counted(count, 'worker')}" for count in counts}
    return (
        [Speed(name=names[count], value=sum(speeds[count]) / rounds, unit="clips/s") for count in counts[1:]],
        [
            ratio(
                f"workers_{count}_over_{count}_times_alone",
                f"{names[count]} / {count} x in this process",
                [through / count / alone for through, alone in zip(speeds[count], speeds[0], strict=True)],
            )
            for count in counts[1:]
        ],
    )


def clips_a_second(shards: Path, *, workers: int, batches: int) -> float:
    """The speed of a stream, once its workers are busy."""
    config = DataConfig(num_workers=workers)
    warm = WARM_BATCHES + 2 * workers * config.prefetch_batches
    batches = max(batches, 10 * workers)
    stream = iter(clip_stream(open_shard_set(shards, None), workers=workers, num_batches=warm + batches))
    for _ in range(warm):
        next(stream)
    start = time.perf_counter()
    num_clips = sum(len(batch) for batch in stream)
    return num_clips / (time.perf_counter() - start)


def clip_stream(shard_set: ShardSet, *, workers: int, num_batches: int) -> ClipStream:
    """The pretext task's clips, as in training."""
    draw = partial(draw_clips, config=SamplingConfig())
    return ClipStream(shard_set, DataConfig(num_workers=workers), draw, seed=0, num_batches=num_batches)


def test_clips(shard_set: ShardSet) -> Iterator[Batch]:
    """The clips that test a fine-tuned network, about 32 of each video, over all videos again and again."""
    config = EvalDataConfig(num_workers=0)
    positions = np.arange(shard_set.num_samples)
    while True:
        yield from each_video_whole(
            shard_set, config, TestClips(), positions=positions, max_clips=config.max_test_clips
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", help="folder of videos, searched recursively; synthetic ones if left out")
    parser.add_argument("--batches", type=int, default=20, help="batches of 7 videos x 4 clips in a round")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="most worker processes to try")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="bench-loader-") as folder:
        shards = Path(folder) / "shards"
        build(build_config(video_folder(options.videos, Path(folder)).resolve(), shards, usable_cores()))
        speeds, ratios = measure_decoding(shards, rounds=options.rounds, batches=options.batches)
        more_speeds, more_ratios = measure_workers(
            shards, rounds=options.rounds, batches=options.batches, most=options.workers
        )
    print(table([*speeds, *more_speeds], [*ratios, *more_ratios]))


if __name__ == "__main__":
    main()
