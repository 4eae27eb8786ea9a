"""The benchmark runs, prints its ratios and writes them; what they are depends on the machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shardify.synthetic.videos import SyntheticConfig, write_synthetic

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    write_synthetic(SyntheticConfig(out=folder, num_groups=3, clips_per_group=1, min_frames=64, max_frames=64))
    return folder / "videos"


@pytest.mark.slow
def test_the_benchmark_prints_its_ratios_and_writes_them(videos: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(BENCHMARKS / "bench_all.py"),
        "--videos",
        str(videos),
        "--out",
        str(tmp_path / "b.json"),
    ]
    result = subprocess.run(
        [*command, "--rounds", "1", "--batches", "2"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    assert result.returncode == 0, result.stderr
    printed = dict(re.findall(r"(?m)^([A-Za-z0-9 /,]+?) += (\d+\.\d\d) \(", result.stdout))
    written = json.loads((tmp_path / "b.json").read_text())
    for key, name in (
        ("building_over_bare_ffmpeg", "building / bare ffmpeg"),
        ("building_over_pyav_and_pillow", "building / PyAV and Pillow"),
        ("loading_over_bare_decoding", "loading / bare simplejpeg"),
        ("test_clips_over_bare_decoding", "loading test clips / bare simplejpeg"),
        ("workers_1_over_1_times_alone", "through 1 worker / 1 x in this process"),
        ("loader_over_pillow_on_these_shards", "the loader / Pillow on these shards"),
        ("loader_over_stock_webdataset_frames_as_members", "the loader / stock WebDataset, frames as members"),
        ("loader_over_pyav_on_the_original_files", "the loader / PyAV on the original files"),
    ):
        assert written[key] > 0
        assert printed[name] == f"{written[key]:.2f}"
        low, high = written["spreads"][key]
        assert low <= written[key] <= high


@pytest.mark.slow
def test_training_steps_are_measured_on_a_cpu_too(videos: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "bench_train.py"), "--videos", str(videos), "--networks", "c3d"]
    command += ["--batches", "1", "2", "--seconds", "0.1", "--width", "0.05", "--crop", "32"]
    result = subprocess.run(
        [*command, "--out", str(tmp_path / "b.json")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert result.returncode == 0, result.stderr
    written = json.loads((tmp_path / "b.json").read_text())
    lines = [(line["clips"], line["levers"]) for line in written["steps"]]
    assert lines == [(4, "as trained"), (4, "float32"), (4, "contiguous"), (4, "unfused"), (8, "as trained")]
    assert all(line["clips_per_second"] > 0 and line["share_of_matrix_rate"] > 0 for line in written["steps"])
    assert [feed["clips"] for feed in written["fed"]] == [4, 8]
    assert all(feed["fed_over_one_batch"] > 0 and feed["workers_needed"] > 0 for feed in written["fed"])
