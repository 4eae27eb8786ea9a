"""Building and loading against the bare tools and what people use instead, in one table: `make bench`.

Each ratio is the median of rounds in which both sides took turns, with the least and the greatest round in brackets.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import bench_build
from bench_figures import table, write_json

from shardify.process import usable_cores

RIVALS_SLOWER = 4
"""The other loaders together need so many times longer for a batch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", help="folder of videos, searched recursively; synthetic ones if left out")
    parser.add_argument("--out", help="JSON file for the same figures")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--batches", type=int, default=20, help="batches of 7 videos x 4 clips in a round of loading")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        scratch = Path(folder)
        videos = bench_build.video_folder(options.videos, scratch).resolve()
        parts = [bench_build.measure(videos, scratch, workers=usable_cores(), rounds=options.rounds)]
        import bench_loader  # not above: the build's processes import this module, and would load torch
        import bench_rivals
        import torch

        torch.set_num_threads(1)
        shards = scratch / "round-0"
        loading = {"rounds": options.rounds, "batches": options.batches}
        parts.append(bench_loader.measure_decoding(shards, **loading))
        parts.append(bench_loader.measure_workers(shards, **loading, most=usable_cores()))
        loading["batches"] = max(1, options.batches // RIVALS_SLOWER)
        parts.append(bench_rivals.measure(videos, shards, scratch, **loading))
    speeds = [line for part in parts for line in part[0]]
    ratios = [line for part in parts for line in part[1]]
    print(table(speeds, ratios))
    if options.out:
        write_json(options.out, speeds, ratios)


if __name__ == "__main__":
    main()
