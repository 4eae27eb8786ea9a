"""The demo data set: its files and lists, reruns, and settings that are refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardify.catalogs.ucf101 import UCF101Config, read_ucf101
from shardify.config import dump_config, load_config, validate_config
from shardify.errors import UsageError, WorkError
from shardify.frames.decoding import decode_video
from shardify.frames.ffmpeg_command import FramesConfig, ffmpeg_binary
from shardify.synthetic.scenes import MOTIONS
from shardify.synthetic.videos import (
    SyntheticConfig,
    encode_video,
    list_clips,
    make_lists,
    num_frames_of,
    render_clip,
    write_synthetic,
)

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "shards"


def small(out: Path, **changes: Any) -> SyntheticConfig:
    values = {"num_groups": 3, "clips_per_group": 1, "min_frames": 16, "max_frames": 20, "height": 32, "width": 48}
    return SyntheticConfig(out=out, **values | changes)


def test_clips_of_a_group_share_only_their_looks(tmp_path: Path) -> None:
    config = small(tmp_path, clips_per_group=2, min_frames=40, max_frames=40)
    clips = [clip for clip in list_clips(config) if clip.class_name == "Slide"][:4]
    backgrounds = [np.median(render_clip(config, clip), axis=0) for clip in clips]
    differences = [backgrounds[0] - background for background in backgrounds[1:3]]
    lights = [np.median(difference, axis=1, keepdims=True) for difference in differences]  # each row's
    same, other = (np.median(np.abs(difference - light)) for difference, light in zip(differences, lights, strict=True))
    assert same <= 1  # rounding
    assert other > 5
    assert (render_clip(config, clips[0]) != render_clip(config, clips[1])).any()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SyntheticConfig:
    """The config of a finished data set; read-only."""
    config = small(tmp_path_factory.mktemp("written") / "out", workers=1)
    summary = write_synthetic(config)
    assert (summary.num_videos, summary.num_made) == (24, 24)
    assert summary.num_frames == sum(num_frames_of(config, clip) for clip in list_clips(config))
    return config


@pytest.fixture
def copied(written: SyntheticConfig, tmp_path: Path) -> SyntheticConfig:
    shutil.copytree(written.out, tmp_path / "out")
    return written.model_copy(update={"out": tmp_path / "out"})


def test_files_hold_every_frame_in_ucf101s_layout(written: SyntheticConfig) -> None:
    config, clips = written, list_clips(written)
    catalog = read_ucf101(
        UCF101Config(kind="ucf101", videos=config.out / "videos", lists=config.out / "ucfTrainTestlist")
    )
    assert catalog.classes == tuple(MOTIONS)
    assert catalog.splits == ("train1", "test1", "train2", "test2", "train3", "test3")
    assert (len(catalog.videos), catalog.missing, catalog.num_unlisted) == (24, (), 0)
    assert catalog.videos[0].path == "Accelerate/v_Accelerate_g01_c01.avi"
    frames_config = FramesConfig(height=32, width=48)
    for clip in clips[::8]:
        frames = decode_video(config.out / "videos" / clip.path, frames_config)
        assert (frames.source_height, frames.source_width, frames.fps, frames.warnings) == (32, 48, 25, ())
        assert len(frames.jpegs) == num_frames_of(config, clip)
    assert {num_frames_of(config, clip) for clip in clips} == {16, 17, 18, 19, 20}


def test_files_show_what_was_rendered(tmp_path: Path) -> None:
    config = small(tmp_path, height=96, width=128)
    clip = list_clips(config)[0]
    frames = render_clip(config, clip)
    path = tmp_path / "a b%d:c.avi"
    encode_video(frames, path, fps=25, binary=ffmpeg_binary())
    raw = subprocess.run(
        [ffmpeg_binary(), "-v", "error", "-i", f"file:{path}", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:"],
        capture_output=True,
        check=True,
    ).stdout
    decoded = np.frombuffer(raw, dtype=np.uint8).reshape(frames.shape)
    assert np.abs(decoded.astype(int) - frames).mean() < 6


def test_files_do_not_depend_on_the_cpu(tmp_path: Path) -> None:
    frames = render_clip(small(tmp_path), list_clips(small(tmp_path))[0])
    for name, cpu_flags in (("simd", None), ("plain", "0")):
        encode_video(frames, tmp_path / name, fps=25, binary=ffmpeg_binary(), cpu_flags=cpu_flags)
    assert (tmp_path / "simd").read_bytes() == (tmp_path / "plain").read_bytes()


def test_files_depend_only_on_the_settings(written: SyntheticConfig, tmp_path: Path) -> None:
    write_synthetic(small(tmp_path, workers=3))
    files = contents(tmp_path)
    assert files == contents(written.out)
    videos = [data for path, data in files.items() if path.endswith(".avi")]
    assert len(set(videos)) == len(videos)
    clip = list_clips(written)[0]
    assert (render_clip(written, clip)[:16] != render_clip(small(tmp_path, seed=1), clip)[:16]).any()


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_rerun_makes_what_is_missing(copied: SyntheticConfig) -> None:
    config, before = copied, contents(copied.out)
    lost = config.out / "videos" / "Spin" / "v_Spin_g02_c01.avi"
    lost.unlink()
    (config.out / "ucfTrainTestlist" / "testlist01.txt").unlink()
    assert write_synthetic(config).num_made == 1
    assert contents(config.out) == before
    assert write_synthetic(config).num_made == 0


def test_a_folder_with_something_else_is_refused_untouched(tmp_path: Path) -> None:
    config = small(tmp_path / "out")
    config.out.mkdir()
    (config.out / "precious.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"out = .*out: it holds something else \(no readable synthetic.json\)"):
        write_synthetic(config)
    assert list(contents(config.out)) == ["precious.txt"]
    with pytest.raises(UsageError, match=r"out = .*precious.txt: .*; give a folder that can be written"):
        write_synthetic(small(config.out / "precious.txt"))


def test_changed_settings_are_refused_by_name(copied: SyntheticConfig) -> None:
    before = contents(copied.out)
    with pytest.raises(
        UsageError, match=r"\(seed was 0 and is now 2; num_groups was 3 and is now 4\); give another out"
    ):
        write_synthetic(small(copied.out, num_groups=4, seed=2))
    assert contents(copied.out) == before


def test_videos_of_older_scenes_are_refused(copied: SyntheticConfig) -> None:
    settings = copied.out / "synthetic.json"
    noted = json.loads(settings.read_text())
    del noted["scenes"]
    settings.write_text(json.dumps(noted))
    with pytest.raises(UsageError, match="scenes was None and is now"):
        write_synthetic(copied)


def test_ffmpegs_failure_is_reported(tmp_path: Path) -> None:
    frames = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    with pytest.raises(WorkError, match=r"ffmpeg could not write a video to .*absent: [^\[]*No such file or dir"):
        encode_video(frames, tmp_path / "absent" / "a.avi", fps=25, binary=ffmpeg_binary())
    with pytest.raises(UsageError, match=r"^ffmpeg = 'no-such-program': no-such-program is not a program"):
        write_synthetic(small(tmp_path / "out", ffmpeg="no-such-program"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_run_is_continued(tmp_path: Path) -> None:
    whole = small(tmp_path / "whole", num_groups=12, max_frames=60)
    write_synthetic(whole)
    killed = tmp_path / "killed"
    config = whole.model_copy(update={"out": killed})
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    process = subprocess.Popen([sys.executable, "-m", "shardify", "synthetic", tmp_path / "config.yaml"])
    while len(list(killed.rglob("*.avi"))) < 5:
        assert process.poll() is None
    os.kill(process.pid, 9)
    process.wait()
    assert 0 < write_synthetic(config).num_made <= 91
    assert {p: b for p, b in contents(killed).items() if not p.endswith(".tmp")} == contents(tmp_path / "whole")


@pytest.mark.parametrize(("num_groups", "num_tested"), [(3, 1), (5, 1), (9, 3), (12, 3), (25, 7), (99, 28)])
def test_splits_test_on_distinct_groups_as_ucf101(tmp_path: Path, num_groups: int, num_tested: int) -> None:
    lists = make_lists(list_clips(small(tmp_path, num_groups=num_groups)))
    tested = []
    for split in ("01", "02", "03"):
        train, test = (
            {line.split(" ")[0] for line in lists[f"{part}list{split}.txt"].splitlines()} for part in ("train", "test")
        )
        assert not train & test
        assert len(train | test) == 8 * num_groups
        tested.append({path.split("_")[2] for path in test})
        assert len(tested[-1]) == num_tested
    assert len(set.union(*tested)) == 3 * num_tested


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_frames": 21}, "min_frames 21"),
        ({"height": 33}, "height = 33"),
        ({"workers": 10**6}, "workers = 1000000"),
        ({"seed": 2**63}, "seed = 9223372036854775808"),
        ({"num_groups": 2}, "num_groups = 2"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    values = {"out": tmp_path, "max_frames": 20, "min_frames": 16} | changes
    with pytest.raises(UsageError, match=message):
        validate_config(SyntheticConfig, values, "file")


def test_the_demo_holds_all_speeds_and_what_its_config_promises() -> None:
    config = load_config(SyntheticConfig, CONFIGS / "synthetic_demo.yaml")
    lengths = np.array([num_frames_of(config, clip) for clip in list_clips(config)])
    fastest = np.clip(np.floor(np.log2((lengths - 1) / 15)), 0, 3)
    assert len(lengths) == 192
    assert {int(kappa) for kappa in fastest} == {2, 3}
    assert 0.3 < np.mean(fastest == 3) < 0.7
    assert f"{lengths.sum():,} in all" in (CONFIGS / "synthetic_demo.yaml").read_text(encoding="utf-8")
