"""The config of `shardify build`, configs/shards/*.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from shardify.catalogs import SourceConfig
from shardify.catalogs.base import Catalog
from shardify.config import StrictModel
from shardify.frames.ffmpeg_command import FramesConfig
from shardify.shards.index import Packing
from shardify.storage.locations import WritableLocation, absolute_location


class BuildConfig(StrictModel):
    """One data set, from the location of its videos to the location of its shards."""

    recipes: ClassVar[str] = "shards"
    source: SourceConfig
    """The videos and their lists."""
    out: WritableLocation
    """Folder or URL (s3://, gs://, az://) for the shards, made if absent. A rerun continues the build in it."""
    name: str | None = None
    """The data set's name in the manifest; null: the source's kind."""
    frames: FramesConfig = FramesConfig()
    """How videos become JPEG frames."""
    pack: Packing = "mjpg"
    """`mjpg`: one Motion-JPEG member per video; `frames`: one member per frame (larger, slower with stock readers)."""
    min_frames: int = Field(default=16, ge=1, le=1_000_000)
    """Shorter videos go to rejected.jsonl; a clip has 16 frames. With 1, they stay, and clips loop their frames."""
    videos_per_shard: int = Field(default=128, ge=1, le=1_000_000)
    """Largest number of videos in a shard."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the random order in which a split's videos fill its shards."""
    max_rejected_share: float = Field(default=0.05, ge=0, le=1)
    """If a larger share of the videos is rejected, the command ends with exit code 1; the shards stay."""
    max_missing_share: float = Field(default=0.2, ge=0, le=1)
    """If a larger share of the listed videos is missing, the command ends with exit code 1; the shards stay."""
    workers: int = Field(default=0, ge=0, le=1024)
    """Processes, each with one shard at a time; 0: one per usable core. The engine ray uses the cluster's cores."""

    def with_absolute_paths(self) -> BuildConfig:
        """The same build for processes with other working folders."""
        source = {
            name: absolute_location(place)
            for name in ("videos", "lists")
            if (place := getattr(self.source, name, None)) is not None
        }
        program = self.frames.ffmpeg
        frames = {"ffmpeg": str(Path(program).absolute())} if "/" in program else {}
        changes = {
            "out": absolute_location(self.out),
            "source": self.source.model_copy(update=source),
            "frames": self.frames.model_copy(update=frames),
        }
        return self.model_copy(update=changes)

    def recipe(self, catalog: Catalog) -> dict[str, Any]:
        """The fields of :class:`shardify.build.shard_writer.Recipe`."""
        return {
            "root": catalog.root,
            "classes": catalog.classes,
            "location": str(self.out),
            "frames": self.frames,
            "packing": self.pack,
            "min_frames": self.min_frames,
        }
