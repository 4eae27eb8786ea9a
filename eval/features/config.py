"""The settings of features and of the classifiers on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from shardify.config import StrictModel, override_values, validate_config
from shardify.storage.locations import Location
from stream_train.training.config import DeviceChoice, Precision

Layer = Literal["pooled", "features"]


class FeatureConfig(StrictModel):
    """One vector per video: the mean over some of its clips."""

    layer: Layer = "pooled"
    """`pooled`: the last convolution's output, averaged over time and space. `features`: the network's last feature."""
    stride: PositiveInt = 4
    clips_per_video: PositiveInt = 10
    """Clips at even distances over a video."""


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


class VideoFeaturesConfig(StrictModel):
    """The settings of `video-eval features`; only the first three keys are required."""

    source: Location
    """Folder or URL of videos, at any depth, or of shards."""
    checkpoint: Location
    """File or URL of a backbone.safetensors, or the folder of the run that holds it."""
    out: Location
    """File or URL of the vectors: .npz or .safetensors."""
    split: str | None = None
    """Split of the shards; null is every sample."""
    labels: Literal["auto", "folder", "none"] = "auto"
    """Labels of videos. `folder`: the first folder of a video's path is its class. `auto`: `folder` if every video lies
    in a folder, else `none`."""
    features: FeatureConfig = FeatureConfig()
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
