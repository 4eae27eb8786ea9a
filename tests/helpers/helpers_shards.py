"""Small real videos in UCF101's layout, and builds of them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shardify.build.config import BuildConfig
from shardify.frames.ffmpeg_command import ffmpeg_binary

CLASSES = ("Fall", "Spin", "Zoom")
GROUPS = (1, 2, 3, 4)
CLIPS = (1, 2)
NUM_VIDEOS = len(CLASSES) * len(GROUPS) * len(CLIPS)
TEST_GROUPS = {1: (1,), 2: (2,)}
"""Groups that each of the two splits tests on; the others train."""


def make_video(path: Path, num_frames: int = 18, seed: int = 0) -> None:
    """Encode a test pattern of 64x48 pixels at 25 fps."""
    make_videos({path: (num_frames, seed)})


def make_videos(videos: Mapping[Path, tuple[int, int]]) -> None:
    """Encode several with one ffmpeg: path -> number of frames and seed."""
    inputs: list[str] = []
    outputs: list[str] = []
    for i, (path, (num_frames, seed)) in enumerate(videos.items()):
        path.parent.mkdir(parents=True, exist_ok=True)
        inputs += ["-f", "lavfi", "-i", f"testsrc2=size=64x48:rate=25,hue=h={seed * 37 % 360}"]
        encode = ["-frames:v", str(num_frames), "-c:v", "mpeg4", "-q:v", "5", "-bitexact"]
        outputs += ["-map", str(i), *encode, f"file:{path}"]
    command = [ffmpeg_binary(), "-v", "error", "-y", *inputs, *outputs]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def make_source(root: Path) -> Path:
    """24 videos of 16 to 39 frames with class and split lists, as UCF101 has them; returns `root`."""
    names = [f"{c}/v_{c}_g{group:02d}_c{clip:02d}.avi" for c in CLASSES for group in GROUPS for clip in CLIPS]
    make_videos({root / "videos" / name: (16 + i, i) for i, name in enumerate(names)})
    write_lists(root / "lists", names)
    return root


def write_lists(folder: Path, names: list[str]) -> None:
    """classInd.txt and two splits by group."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classInd.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(CLASSES, start=1)))
    for split, groups in TEST_GROUPS.items():
        held_out = [name for name in names if int(name.split("_g")[1][:2]) in groups]
        train = [f"{name} {CLASSES.index(name.split('/')[0]) + 1}" for name in names if name not in held_out]
        (folder / f"testlist{split:02d}.txt").write_text("\n".join(held_out) + "\n")
        (folder / f"trainlist{split:02d}.txt").write_text("\n".join(train) + "\n")


def build_values(source: Path, out: Path, /, **changes: Any) -> dict[str, Any]:
    """The config of a quick build, as YAML would hold it; `frames` is merged, the other changes replace."""
    frames = {"height": 32, "width": 48, **changes.pop("frames", {})}
    return {
        "source": {"kind": "ucf101", "videos": str(source / "videos"), "lists": str(source / "lists")},
        "out": str(out),
        "frames": frames,
        "videos_per_shard": 5,
        "workers": 1,
        **changes,
    }


def build_config(source: Path, out: Path, /, **changes: Any) -> BuildConfig:
    """The same as a config."""
    return BuildConfig.model_validate(build_values(source, out, **changes))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a data set, hidden ones left out."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")}
