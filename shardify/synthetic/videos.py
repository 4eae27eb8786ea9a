"""The demo data set: moving shapes as real video files, in UCF101's layout.

    out/videos/<Class>/v_<Class>_gXX_cYY.avi            MPEG-4 in AVI, as in UCF101
    out/ucfTrainTestlist/{classInd,trainlist0N,testlist0N}.txt
    out/synthetic.json                                  the settings, and the version of the scenes

Clips of one group share only their look; the three splits divide the groups, as in UCF101. The files depend only on the
settings and the ffmpeg, so the same command continues a killed run.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import ffmpeg
import numpy as np
from pydantic import Field, model_validator

from shardify.arrays import ImageArray
from shardify.config import StrictModel
from shardify.errors import UsageError, WorkError
from shardify.frames.ffmpeg_command import ffmpeg_binary
from shardify.process import usable_cores
from shardify.progress import counting
from shardify.shards.record import dump_json
from shardify.storage.folder_store import FolderStore, whole_file
from shardify.storage.locations import HomeExpanded, LocalFolder
from shardify.synthetic.scenes import MOTIONS, SCENES_VERSION, draw_appearance, render

SETTINGS_NAME = "synthetic.json"
VIDEOS_NAME = "videos"
LISTS_NAME = "ucfTrainTestlist"
NUM_SPLITS = 3


class SyntheticConfig(StrictModel):
    """A data set of moving shapes."""

    recipes: ClassVar[str] = "shards"
    out: LocalFolder
    """Folder of this machine for the videos and lists; made if absent."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Each seed gives different videos."""
    num_groups: int = Field(default=12, ge=NUM_SPLITS, le=99)
    """Groups per class; each split tests on about 28 % of them, as in UCF101."""
    clips_per_group: int = Field(default=2, ge=1, le=99)
    """Clips per group: same background and shapes, different positions and directions."""
    min_frames: int = Field(default=64, ge=1)
    """Length of the shortest clip."""
    max_frames: int = Field(default=160, ge=1, le=1000)
    """Length of the longest clip; a clip of at least 121 frames can be played at all four speeds."""
    height: int = Field(default=96, ge=32, le=240, multiple_of=2)
    """Height of the videos in pixels."""
    width: int = Field(default=128, ge=32, le=320, multiple_of=2)
    """Width of the videos in pixels."""
    fps: int = Field(default=25, ge=1, le=120)
    """Frame rate written in the files; the motion per frame does not depend on it."""
    ffmpeg: HomeExpanded = "bundled"
    """`bundled`, `system` or a path."""
    workers: int = Field(default=0, ge=0, le=1024)
    """Threads, each with its own ffmpeg; 0 means one per usable core."""

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if self.min_frames > self.max_frames:
            raise ValueError(f"min_frames {self.min_frames} is more than max_frames {self.max_frames}")
        return self


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One video; its group, and its number in the group, count from 1. These numbers determine its content."""

    label: int
    group: int
    number: int

    @property
    def class_name(self) -> str:
        """The class, which is the motion."""
        return tuple(MOTIONS)[self.label]

    @property
    def path(self) -> str:
        """Relative to the folder of videos, as the lists name it."""
        return f"{self.class_name}/v_{self.class_name}_g{self.group:02d}_c{self.number:02d}.avi"


@dataclass(frozen=True, kw_only=True)
class SyntheticSummary:
    """Result of a run: videos and frames in the data set, and how many videos this run made."""

    out: Path
    num_videos: int
    num_made: int
    num_frames: int


def write_synthetic(config: SyntheticConfig) -> SyntheticSummary:
    """Write the videos and lists that do not exist yet.

    Raises UsageError if the folder holds other files or videos of other settings, WorkError if ffmpeg fails or the disk
    is full.
    """
    binary = ffmpeg_binary(config.ffmpeg, key="ffmpeg")
    _claim_folder(config)
    clips = list_clips(config)
    absent = [clip for clip in clips if not (config.out / VIDEOS_NAME / clip.path).is_file()]
    for class_name in MOTIONS:
        (config.out / VIDEOS_NAME / class_name).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(config.workers or usable_cores()) as pool:
        try:
            made = pool.map(lambda clip: _write_video(config, clip, binary), absent)
            for _ in counting(made, unit="video", total=len(absent)):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    (config.out / LISTS_NAME).mkdir(exist_ok=True)
    store = FolderStore(config.out / LISTS_NAME)
    for name, text in make_lists(clips).items():
        store.write(name, text.encode())
    return SyntheticSummary(
        out=config.out,
        num_videos=len(clips),
        num_made=len(absent),
        num_frames=sum(num_frames_of(config, clip) for clip in clips),
    )


def list_clips(config: SyntheticConfig) -> list[Clip]:
    """Every clip of the data set, in the order of the lists."""
    return [
        Clip(label=label, group=group, number=number)
        for label in range(len(MOTIONS))
        for group in range(1, config.num_groups + 1)
        for number in range(1, config.clips_per_group + 1)
    ]


def num_frames_of(config: SyntheticConfig, clip: Clip) -> int:
    """A clip's length, uniform in [min_frames, max_frames] for every class."""
    choices = config.max_frames - config.min_frames + 1
    return config.min_frames + int(_generator(config, clip, "length").random() * choices)


def render_clip(config: SyntheticConfig, clip: Clip) -> ImageArray:
    """The clip's frames before encoding, uint8 (F, H, W, 3)."""
    appearance = draw_appearance(config.height, config.width, _generator(config, clip, "looks"))
    times = np.arange(num_frames_of(config, clip))
    return render(appearance, clip.class_name, times, _generator(config, clip, "motion"))


def make_lists(clips: Sequence[Clip]) -> dict[str, str]:
    """UCF101's list files: name -> content. Split N tests on the N-th part of the groups."""
    num_groups = max(clip.group for clip in clips)
    num_tested = max(1, round(num_groups * 7 / 25))  # UCF101 tests on 7 of 25 groups
    lists = {"classInd.txt": "".join(f"{number} {name}\n" for number, name in enumerate(MOTIONS, start=1))}
    for split in range(1, NUM_SPLITS + 1):
        tested = range(1 + (split - 1) * num_tested, 1 + split * num_tested)
        train = [f"{clip.path} {clip.label + 1}\n" for clip in clips if clip.group not in tested]
        test = [f"{clip.path}\n" for clip in clips if clip.group in tested]
        lists[f"trainlist{split:02d}.txt"] = "".join(train)
        lists[f"testlist{split:02d}.txt"] = "".join(test)
    return lists


def encode_video(frames: ImageArray, path: Path, *, fps: int, binary: str, cpu_flags: str | None = None) -> None:
    """Encode frames, uint8 (F, H, W, 3) RGB with even height and width, as MPEG-4 in AVI.

    Equal frames give equal bytes on every CPU. `cpu_flags` is ffmpeg's -cpuflags; "0" switches its SIMD code off.
    Raises WorkError if ffmpeg fails.
    """
    _, height, width, _ = frames.shape
    source = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", video_size=(width, height), framerate=fps)
    output = source.output(
        f"file:{path}",
        format="avi",
        vcodec="mpeg4",
        vtag="xvid",
        pix_fmt="yuv420p",
        sws_flags="bicubic+accurate_rnd+bitexact+full_chroma_int",
        threads=1,
        dct="int",
        flags="+bitexact",
        fflags="+bitexact",
        **{"q:v": 3},
    )
    options = ["-y", "-hide_banner", "-loglevel", "error", *(["-cpuflags", cpu_flags] if cpu_flags else [])]
    command: list[str] = output.global_args(*options).compile(cmd=binary)
    done = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=False, start_new_session=True)
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", errors="replace").strip().splitlines()
        words = re.sub(r"^\[[^]]*\] *", "", lines[-1]) if lines else f"exit code {done.returncode}"
        raise WorkError(
            f"ffmpeg could not write a video to {path.parent}: {words}; fix that and run the same command again"
        )


def _write_video(config: SyntheticConfig, clip: Clip, binary: str) -> None:
    path = config.out / VIDEOS_NAME / clip.path
    with whole_file(path) as unfinished:
        encode_video(render_clip(config, clip), unfinished, fps=config.fps, binary=binary)


def _generator(config: SyntheticConfig, clip: Clip, purpose: str) -> np.random.Generator:
    """A separate generator for each purpose. Only uniform doubles are drawn: NumPy keeps these stable."""
    looks = purpose == "looks"
    number = 0 if looks else clip.number  # the clips of a group share their look
    purposes = ("looks", "length", "motion")
    return np.random.default_rng([config.seed, purposes.index(purpose), clip.label, clip.group, number])


def _claim_folder(config: SyntheticConfig) -> None:
    """Write the settings to an empty folder, or compare them with those in it."""
    settings: dict[str, Any] = config.model_dump(mode="json", exclude={"out", "workers", "ffmpeg"})
    settings["scenes"] = SCENES_VERSION
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        empty = all(path.name.startswith(".") for path in config.out.iterdir())
    except OSError as error:
        raise UsageError(f"out = {config.out}: {error.strerror}; give a folder that can be written") from None
    store = FolderStore(config.out)
    if empty:
        store.write(SETTINGS_NAME, dump_json(settings, indent=1))
        return
    try:
        noted: dict[str, Any] = dict(json.loads(store.read(SETTINGS_NAME)))
    except (FileNotFoundError, ValueError, TypeError):
        raise UsageError(
            f"out = {config.out}: it holds something else (no readable {SETTINGS_NAME}); give a new folder"
        ) from None
    changed = [
        f"{key} was {noted.get(key)} and is now {value}" for key, value in settings.items() if noted.get(key) != value
    ]
    if changed:
        raise UsageError(f"{config.out} holds videos made with other settings ({'; '.join(changed)}); give another out")
