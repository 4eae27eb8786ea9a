"""Windows along videos, any layer, and the numbers of the file, against slow ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from helpers_eval import LENGTHS, ucf_keys
from helpers_video_eval import invoke, slow_clips
from safetensors import safe_open

from eval.features.config import FeatureConfig, WindowsConfig
from eval.features.vectors import Vectors, write_vectors
from eval.features.windows import WindowClips
from shardify.errors import UsageError, WorkError
from stream_train.draws import SampleDraws
from stream_train.training.exports import load_backbone

CROP = 16
QUICK = ("--set", "num_workers=0", "--set", "threads=1", "--set", "device=cpu")
pytestmark = pytest.mark.usefixtures("blank_charts")


def features(world: tuple[Path, Path], out: Path, *changes: str) -> Result:
    words = [word for change in changes for word in ("--set", change)]
    return invoke("features", world[0], world[1], "--out", out, "--split", "test1", *QUICK, *words)


@pytest.mark.parametrize(
    ("num_frames", "hop", "wanted"),
    [
        (40, None, [(0, 20), (20, 40)]),
        (45, None, [(0, 20), (20, 40), (25, 45)]),
        (40, 1.0, [(0, 20), (10, 30), (20, 40)]),
        (12, None, [(0, 12)]),
        (100, 4.0, [(0, 20), (40, 60), (80, 100)]),
    ],
)
def test_windows_lie_in_the_video_and_the_last_ends_with_it(
    num_frames: int, hop: float | None, wanted: list[tuple[int, int]]
) -> None:
    clips = WindowClips(
        windows=WindowsConfig(seconds=2.0, hop_seconds=hop),
        features=FeatureConfig(stride=1),
        fps=(10.0,),
        lengths=(num_frames,),
    )
    assert clips.ranges(0) == wanted
    assert clips.counts().tolist() == [len(wanted)]
    assert clips.seconds().tolist() == [[start / 10, end / 10] for start, end in wanted]
    plans = clips(num_frames, SampleDraws(0, 0, 0))
    ends = clips.means(0, torch.tensor([[plan.indices.min(), plan.indices.max()] for plan in plans]).double())
    inside = [[plan.indices.min(), plan.indices.max()] for plan in plans]
    for (start, end), mean in zip(wanted, ends.tolist(), strict=True):
        mine = [[low, high] for low, high in inside if start <= low <= high < end]
        assert min(mine)[0] == start
        assert max(high for _, high in mine) == end - 1
        assert start <= mean[0] <= mean[1] < end


def test_a_window_s_vector_is_that_of_its_clips(world: tuple[Path, Path], tmp_path: Path) -> None:
    result = features(
        world, tmp_path / "x.npz", "windows.seconds=1", "windows.hop_seconds=0.5", "features.clips_per_video=2"
    )
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        arrays = dict(file)
    backbone, _ = load_backbone(world[1] / "backbone.safetensors")
    rows = [
        (name, span)
        for name, *span in zip(arrays["names"].tolist(), arrays["start_seconds"], arrays["end_seconds"], strict=True)
    ]
    assert set(arrays["names"].tolist()) == set(ucf_keys()[16:])
    assert f"{len(rows)} windows" in result.output
    checked = 0
    for video, (key, num_frames) in enumerate(zip(ucf_keys()[16:], LENGTHS[2], strict=True), start=16):
        mine = [(number, span) for number, (name, span) in enumerate(rows) if name == key]
        fps = num_frames / mine[-1][1][1]
        for number, (start, end) in mine:
            first, length = round(start * fps), round((end - start) * fps)
            stride = max(1, min(4, (length - 1) // 15))
            last = max(length, 16) - 15 * stride - 1
            starts = sorted({0, last})
            indices = [[first + (s + i * stride) % length for i in range(16)] for s in starts]
            clips = torch.stack([whole_clip(video, num_frames, each) for each in indices])
            with torch.inference_mode():
                wanted = backbone.conv_features(clips).mean(dim=(0, 2, 3, 4)).numpy()
            np.testing.assert_allclose(arrays["vectors"][number], wanted, rtol=1e-4, atol=1e-5)
            checked += 1
    assert checked == len(rows) > len(LENGTHS[2])


def test_loader_processes_give_the_same_windows(world: tuple[Path, Path], tmp_path: Path) -> None:
    for workers in (0, 1):
        result = features(world, tmp_path / f"{workers}.npz", "windows.seconds=1", f"num_workers={workers}")
        assert result.exit_code == 0, result.output
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "1.npz").read_bytes()


def whole_clip(video: int, num_frames: int, indices: list[int]) -> torch.Tensor:
    """A clip of any frames, float32 (3, 16, crop, crop): frame by frame from clips of one frame each."""
    frames = {i: slow_clips(video, num_frames, [i], 0, CROP)[0][:, 0] for i in set(indices)}
    return torch.stack([frames[i] for i in indices], dim=1)


def test_any_layer_and_float16(world: tuple[Path, Path], tmp_path: Path) -> None:
    assert features(world, tmp_path / "a.npz").exit_code == 0
    backbone, _ = load_backbone(world[1] / "backbone.safetensors")
    last = [name for name, module in backbone.named_children() if name != "fully_connected"][-1]
    assert features(world, tmp_path / "b.safetensors", f"layer={last}", "dtype=float16").exit_code == 0
    with safe_open(tmp_path / "b.safetensors", framework="np") as file:
        half = file.get_tensor("vectors")
    assert half.dtype == np.float16
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_allclose(half, arrays["vectors"], rtol=2e-3, atol=1e-3)
    wrong = features(world, tmp_path / "c.npz", f"layer={last}x")
    assert wrong.exit_code == 2
    assert f"did you mean {last}" in wrong.stderr


def vectors(**changes: Any) -> Vectors:
    values: dict[str, Any] = {
        "keys": ("a", "a", "b"),
        "labels": np.array([0, 0, -1]),
        "values": np.arange(6, dtype=np.float32).reshape(3, 2),
        "classes": ("run",),
        "metadata": {"layer": "pooled"},
        "seconds": np.array([[0.0, 1.0], [1.0, 2.0], [0.0, 0.5]]),
    }
    return Vectors(**values | changes)


def test_parquet_holds_a_row_for_each_window(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    write_vectors(tmp_path / "x.parquet", vectors())
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.column_names == ["names", "labels", "start_seconds", "end_seconds", "vectors"]
    assert table.to_pylist()[1] == {
        "names": "a",
        "labels": 0,
        "start_seconds": 1.0,
        "end_seconds": 2.0,
        "vectors": [2.0, 3.0],
    }
    assert table.schema.metadata[b"classes"] == b'["run"]'
    write_vectors(tmp_path / "y.parquet", vectors(), dtype="float16")
    assert (tmp_path / "y.parquet").stat().st_size < (tmp_path / "x.parquet").stat().st_size


def test_without_pyarrow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'temporal-ssl\[parquet\]'"):
        write_vectors(tmp_path / "x.parquet", vectors())


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="too large for float16"):
        write_vectors(tmp_path / "x.npz", vectors(values=np.full((3, 2), 7e4, dtype=np.float32)), dtype="float16")
    with pytest.raises(ValueError, match="unique"):
        vectors(seconds=np.zeros((3, 2)))
