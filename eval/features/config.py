"""What a config says about features and the classifiers on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from shardify.config import StrictModel, override_values, validate_config
from shardify.storage.locations import Location
from stream_train.training.config import DeviceChoice, Precision

Layer = Literal["pooled", "features"]


class FeatureConfig(StrictModel):
    """One vector a video: the mean over some of its clips."""

    layer: Layer = "pooled"
    """`pooled`: the last convolution's output, averaged over time and space. `features`: the network's last feature."""
    stride: PositiveInt = 4
    clips_per_video: PositiveInt = 10
    """Clips at even distances over a video."""


class LinearConfig(StrictModel):
    """Multinomial logistic regression on standardised features."""

    inverse_penalty: PositiveFloat = 1.0
    """scikit-learn's C: the weights minimise inverse_penalty * (sum of cross-entropies) + |weights|^2 / 2.

    Some penalty there must be: with more dimensions than videos the classes are separable, and weights would grow
    without end. The default is the library's, and the same for every network: features are standardised, so it means
    the same for all, and a choice by test accuracy would flatter. It is light. Cross-validated over the training groups
    of ucf101-8 the frame-difference map reaches 39 % at 100, 41 % at 1, 53 % at 0.01 and 40 % at 0.0001: choose another
    in this way, on training videos alone, and one for all networks that are compared."""
    max_iterations: PositiveInt = 2000
    """Of L-BFGS. It usually needs far fewer; a warning says if these did not suffice."""


class NeighboursConfig(StrictModel):
    """The k-nearest-neighbour classifier, usual for self-supervised features (Wu et al., CVPR 2018)."""

    num_neighbours: PositiveInt = 20
    """k; all training videos vote if there are fewer."""
    temperature: PositiveFloat = 0.07
    """A neighbour votes with weight exp(similarity / temperature)."""


class VideoFeaturesConfig(StrictModel):
    """The settings of `video-eval features`; only the first three keys are required."""

    source: Location
    """Folder of videos at any depth, or of shards; or its URL."""
    checkpoint: Location
    """backbone.safetensors, or the folder of the run that holds it; or the URL of either."""
    out: Location
    """.npz or .safetensors; a file, or its URL."""
    split: str | None = None
    """Of shards; null is every sample."""
    labels: Literal["auto", "folder", "none"] = "auto"
    """Of videos. `folder`: the first folder on a video's path is its class. `auto`: `folder` if every video is in one,
    else `none`."""
    features: FeatureConfig = FeatureConfig()
    crop: int | None = Field(default=None, ge=1, le=4096)
    """Pixels of the centre crop; null is as in training."""
    resize: tuple[PositiveInt, PositiveInt] | None = None
    """Height and width of the frames before the crop; null is as in training."""
    shards: Location | None = None
    """Folder or URL to keep the shards of the videos in; null makes temporary ones."""
    build_workers: int = Field(default=0, ge=0, le=1024)
    """Processes that decode videos; 0 takes every core."""
    num_workers: int | None = Field(default=None, ge=0, le=256)
    max_clips: PositiveInt = 64
    """Most clips at a time in the network."""
    device: DeviceChoice = "auto"
    precision: Precision = "auto"
    threads: int = Field(default=0, ge=0, le=1024)


def features_config(values: Mapping[str, Any], overrides: Sequence[str]) -> VideoFeaturesConfig:
    """The config from the command line."""
    given = {name: value for name, value in values.items() if value is not None}
    return validate_config(VideoFeaturesConfig, override_values(given, overrides), origin="video-eval features")
