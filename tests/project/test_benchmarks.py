"""The benchmarks run and print their one ratio; what it is depends on the machine."""

from __future__ import annotations

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
@pytest.mark.parametrize(
    ("script", "quick"), [("bench_build.py", ("--rounds", "1")), ("bench_loader.py", ("--batches", "3"))]
)
def test_a_benchmark_ends_with_its_ratio(script: str, quick: tuple[str, ...], videos: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), "--videos", str(videos), *quick],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    assert result.returncode == 0, result.stderr
    match = re.fullmatch(r"[a-z /]+ = (\d+\.\d\d)", result.stdout.splitlines()[-1])
    assert match
    assert 0 < float(match[1]) < 2
