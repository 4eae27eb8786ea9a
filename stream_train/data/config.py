"""The `data` section of training and evaluation configs: what clips look like, how they are batched and read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from shardify.config import StrictModel
from shardify.errors import UsageError
from shardify.process import usable_cores
from shardify.storage.locations import LocalFolder, check_local

CACHE_VARIABLE = "TEMPORAL_SSL_CACHE"

Scale = Annotated[float, Field(gt=0, le=1)]
Side = Annotated[int, Field(ge=1, le=4096)]
"""Pixels of a height or width."""
FrameSize = tuple[int, int]
"""Height and width in pixels."""


class ClipConfig(StrictModel):
    """Geometry and augmentation of clips (section 3.2, "Implementation"), with switches for the released code."""

    crop: Side = 112
    """Height and width of the square crop, in pixels."""
    resize: tuple[Side, Side] | None = None
    """Bilinear resize to (height, width) before the crop, for shards that store larger frames."""
    scale: tuple[Scale, Scale] | None = None
    """Range of a second, random resize in training, one per crop (released code: 0.5 to 1 to fine-tune its ResNet)."""
    test_resize: tuple[Side, Side] | None = None
    """Resize outside training; null uses `resize`."""
    crop_scope: Literal["clip", "video", "batch"] = "clip"
    """All clips in this unit share one random crop."""
    flip_scope: Literal["video", "clip", "none"] = "video"
    """All clips in this unit share one random left-right flip."""
    colour: Literal["none", "frame", "clip"] = "none"
    """Random brightness (+-32/255), saturation (0.5-1.5) and grey (p = 0.2): never, or drawn per frame or per clip."""

    @property
    def resizes(self) -> bool:
        """Whether clips of the training are resized."""
        return self.resize is not None or self.scale is not None

    @model_validator(mode="after")
    def _scale_increases(self) -> Self:
        if self.scale is not None and self.scale[0] > self.scale[1]:
            raise ValueError(f"scale is a range from low to high, not {list(self.scale)}")
        return self

    def training_size(self, stored: FrameSize, factor: float = 1.0) -> FrameSize:
        """Frame size before the crop in training; `factor` is the drawn scale."""
        height, width = self.resize or stored
        return round(height * factor), round(width * factor)

    def test_size(self, stored: FrameSize) -> FrameSize:
        """Frame size before the centre crop outside training."""
        return self.test_resize or self.resize or stored

    def check_crop(self, stored: FrameSize) -> None:
        """Raises UsageError if the crop does not fit into the smallest frames."""
        for size in (self.training_size(stored, self.scale[0] if self.scale else 1.0), self.test_size(stored)):
            if self.crop > min(size):
                raise UsageError(
                    f"crop = {self.crop} does not fit into frames of {size[0]}x{size[1]}; "
                    f"set data.crop to at most {min(size)}"
                )


class CacheConfig(StrictModel):
    """The node's cache of whole shards. Processes of a node with the same folder share it."""

    folder: LocalFolder | None = None
    """Local folder, made if absent; null: $TEMPORAL_SSL_CACHE, else temporal-ssl in the user's cache folder."""
    max_gigabytes: float = Field(default=100, gt=0)
    """Size limit in 10^9 bytes; the least recently used shards are removed first."""

    @property
    def resolved_folder(self) -> Path:
        """The config's folder, else the environment's. Raises UsageError if it is a URL."""
        if self.folder is not None:
            return self.folder.expanduser()
        if named := os.environ.get(CACHE_VARIABLE):
            try:
                return Path(check_local(named)).expanduser()
            except UsageError as error:
                raise UsageError(f"{CACHE_VARIABLE}: {error}") from None
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "temporal-ssl"

    @property
    def max_bytes(self) -> int:
        return int(self.max_gigabytes * 1e9)


class IndexedReaderConfig(StrictModel):
    """Reads only the frames that clips need, by the shards' indexes. The order is exact, and a run can resume."""

    kind: Literal["indexed"] = "indexed"
    window_shards: int = Field(default=4, ge=1, le=10_000)
    """Shards of a lane that are shuffled together. More shards mix better, but more stay open."""
    access: Literal["auto", "ranged", "cached"] = "auto"
    """`ranged` reads the bytes of the chosen frames; `cached` first downloads whole shards to the node's cache. `auto`
    is cached for an object store if all shards of the split fit into the cache and on its disk, else ranged."""
    cache: CacheConfig = CacheConfig()
    ahead_batches: PositiveInt = 128
    """A shard is downloaded into the cache this many batches before its first use."""
    on_damage: Literal["stop", "substitute"] = "stop"
    """If a training sample fails its checksums twice: stop, or use (and count) the split's next intact sample."""


class SequentialReaderConfig(StrictModel):
    """Reads whole shards front to back with stock WebDataset; needs no index."""

    kind: Literal["sequential"] = "sequential"
    shuffle_samples: NonNegativeInt = 200
    """Samples in each worker's WebDataset shuffle buffer; 0 keeps the order of the shards."""
    samples_per_epoch: PositiveInt | None = None
    """Videos in an epoch; needed only if there is no manifest and the tars cannot be counted."""


class DataConfig(ClipConfig):
    """How clips are read and batched."""

    videos_per_batch: int = Field(default=7, ge=1, le=8192)
    """Videos in the global batch, over all ranks; each gives all its clips (7 x 4 = 28, section 3.2)."""
    num_workers: int | None = Field(default=None, ge=0, le=256)
    """Loader processes of each rank; null: usable cores / ranks on the node - 1, at most 8."""
    prefetch_batches: int = Field(default=2, ge=1, le=256)
    """Batches that each worker prefetches."""
    reader: Annotated[IndexedReaderConfig | SequentialReaderConfig, Field(discriminator="kind")] = IndexedReaderConfig()

    @property
    def workers_of_rank(self) -> int:
        """Loader processes of this rank: `num_workers`, with null replaced by this machine's number."""
        if self.num_workers is not None:
            return self.num_workers
        ranks_on_node = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return max(0, min(8, usable_cores() // ranks_on_node - 1))

    @property
    def indexed_reader(self) -> IndexedReaderConfig:
        """The reader for passes that need an index, such as validation; the default if training reads sequentially."""
        return self.reader if isinstance(self.reader, IndexedReaderConfig) else IndexedReaderConfig()
