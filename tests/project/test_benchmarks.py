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
    command = [sys.executable, str(BENCHMARKS / "bench.py"), "--videos", str(videos), "--out", str(tmp_path / "b.json")]
    result = subprocess.run(
        [*command, "--rounds", "1", "--batches", "2"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    assert result.returncode == 0, result.stderr
    printed = dict(re.findall(r"(?m)^([a-z0-9 /]+?) += (\d+\.\d\d) \(", result.stdout))
    written = json.loads((tmp_path / "b.json").read_text())
    for key, name in (
        ("building_over_bare_ffmpeg", "building / bare ffmpeg"),
        ("loading_over_bare_decoding", "loading / bare simplejpeg"),
        ("workers_1_over_1_times_alone", "through 1 worker / 1 x in this process"),
    ):
        assert 0 < written[key] < 3
        assert printed[name] == f"{written[key]:.2f}"
        low, high = written["spreads"][key]
        assert low <= written[key] <= high
