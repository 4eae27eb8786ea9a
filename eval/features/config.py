"""The settings of features and of the classifiers on them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, PositiveFloat, PositiveInt
from pydantic_core import CoreSchema, core_schema

from shardify.config import StrictModel, override_values, validate_config
from shardify.storage.locations import Location, WritableLocation
from stream_train.training.config import DeviceChoice, Precision

if TYPE_CHECKING:
    from shardify.arrays import IntArray

Layer = Literal["pooled", "features"]


class FeatureConfig(StrictModel):
    """One vector per video: the mean over some of its clips."""

    layer: Layer = "pooled"
    """`pooled`: the last convolution's output, averaged over time and space. `features`: the network's last feature."""
    stride: PositiveInt = 4
    clips_per_video: PositiveInt = 10
    """Clips at even distances over a video."""


def features_clips(config: FeatureConfig, *lengths: IntArray) -> int:
    """The number of clips that the vectors of some videos need; each int64 (V,) holds the videos' lengths."""
    from stream_train.transformations.subsequences import even_starts

    return sum(
        len(even_starts(frames, config.stride, config.clips_per_video))
        for videos in lengths
        for frames in videos.tolist()
    )


class LinearConfig(StrictModel):
    """Multinomial logistic regression on standardised features."""

    inverse_penalty: PositiveFloat = 1.0
    """scikit-learn's C: the weights minimise inverse_penalty * (sum of cross-entropies) + |weights|^2 / 2.

    A penalty is needed: with more dimensions than videos the classes are separable, and the weights would grow without
    limit. The default is scikit-learn's, and it is weak. Features are standardised, so one value suits all networks:
    use the same for all networks that you compare. Choose another by cross-validation on training videos, never by
    test accuracy. Example: on the training groups of ucf101-8 the frame-difference map reaches 39 % at 100, 41 % at 1,
    53 % at 0.01 and 40 % at 0.0001."""
    max_iterations: PositiveInt = 2000
    """Of L-BFGS. It usually needs far fewer; a warning says if they were not enough."""


class NeighboursConfig(StrictModel):
    """The k-nearest-neighbour classifier that is usual for self-supervised features (Wu et al., CVPR 2018)."""

    num_neighbours: PositiveInt = 20
    """k; if there are fewer training videos, all of them vote."""
    temperature: PositiveFloat = 0.07
    """A neighbour votes with weight exp(similarity / temperature)."""


class WindowsConfig(StrictModel):
    """Windows along a video, for a vector each, instead of one vector for the whole video."""

    seconds: PositiveFloat
    """Length of a window. A shorter video is one window; the last window ends with the video."""
    hop_seconds: PositiveFloat | None = None
    """From the start of one window to the next; null is their length, so that they do not overlap."""


class VideoFeaturesConfig(StrictModel):
    """The settings of `video-eval features`; only the first three keys are required."""

    source: Location
    """Folder or URL of videos, at any depth, or of shards."""
    checkpoint: Location
    """File or URL of a backbone.safetensors, or the folder of the run that holds it."""
    out: Location
    """File or URL of the vectors: .npz, .safetensors or .parquet."""
    split: str | None = None
    """Split of the shards; null is every sample."""
    labels: Literal["auto", "folder", "none"] = "auto"
    """Labels of videos. `folder`: the first folder of a video's path is its class. `auto`: `folder` if every video lies
    in a folder, else `none`."""
    features: FeatureConfig = FeatureConfig()
    """Of each video, or of each window."""
    windows: WindowsConfig | None = None
    layer: str | None = None
    """Any module of the network, such as `convolutions.conv3`, instead of `features.layer`; its maps are averaged over
    time and space. A wrong name lists all."""
    picture: Location | None = None
    """PNG file or URL for a picture of the vectors, with frames of some videos."""
    projector: WritableLocation | None = None
    """Folder or URL for the files of TensorBoard's projector: vectors, names, classes and thumbnails."""
    dtype: Literal["float32", "float16"] = "float32"
    """Numbers in the file; float16 takes half the space."""
    crop: int | None = Field(default=None, ge=1, le=4096)
    """Size of the centre crop, in pixels; null is as in training."""
    resize: tuple[PositiveInt, PositiveInt] | None = None
    """Height and width of the frames before the crop; null is as in training."""
    shards: Location | None = None
    """Folder or URL that keeps the shards made from the videos; null deletes them at the end."""
    build_workers: int = Field(default=0, ge=0, le=1024)
    """Processes that decode videos; 0 is one per core."""
    num_workers: int | None = Field(default=None, ge=0, le=256)
    max_clips: PositiveInt = 64
    """Maximum number of clips in the network at a time."""
    device: DeviceChoice = "auto"
    precision: Precision = "auto"
    threads: int = Field(default=0, ge=0, le=1024)


def features_config(values: Mapping[str, Any], overrides: Sequence[str]) -> VideoFeaturesConfig:
    """The config from the command line."""
    given = {name: value for name, value in values.items() if value is not None}
    return validate_config(VideoFeaturesConfig, override_values(given, overrides), origin="video-eval features")


_PERCENTAGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")


@dataclass(frozen=True, kw_only=True)
class LabelBudget:
    """How many videos of each class have a label: a number >= 1 or a percentage in (0, 100]; else raises ValueError."""

    videos_per_class: int | None = None
    percent: Decimal | None = None

    def __post_init__(self) -> None:
        if (self.videos_per_class is None) == (self.percent is None):
            raise ValueError("a label budget is either a number of videos per class or a percentage")
        if self.videos_per_class is not None and self.videos_per_class < 1:
            raise ValueError(f"{self.videos_per_class} videos per class are too few, the least is 1")
        if self.percent is not None and not 0 < self.percent <= 100:
            raise ValueError(f"{self.percent}% is out of range, a percentage is above 0% and at most 100%")

    @classmethod
    def parse(cls, value: Any) -> LabelBudget:
        """Read a config value: 5 videos per class, or "12.5%" of each class. Raises ValueError if it is neither."""
        if isinstance(value, LabelBudget):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return cls(videos_per_class=value)
        match = _PERCENTAGE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(
                "write a number of videos per class, such as 5, or a percentage of each class, such as 10%"
            )
        return cls(percent=Decimal(match[1]).normalize())

    @property
    def value(self) -> int | str:
        """As configs write it; :meth:`parse` reads it back."""
        return f"{self.percent:f}%" if self.percent is not None else int(self.videos_per_class or 0)

    @property
    def slug(self) -> str:
        """For folder names: "all" for 100 %, "10pct", "5"."""
        return "all" if self.percent == 100 else str(self.value).replace("%", "pct")

    def count_of(self, num_videos: int) -> int:
        """How many of a class's videos get a label, from 1 to all; a percentage is rounded, halves up."""
        if self.percent is None:
            return min(self.videos_per_class or 0, num_videos)
        rounded = int(num_videos * Fraction(self.percent) / 100 + Fraction(1, 2))
        return min(max(rounded, 1), num_videos)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(lambda budget: budget.value)
        )
