"""The `network` section of configs: one class for each kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shardify.config import StrictModel

ClassifierInit = Literal["torch", "normal", "glorot"]
InputStatistics = Literal["none", "kinetics400"]


class NetworkOptions(StrictModel):
    """The keys that all networks share."""

    width: float = Field(default=1.0, gt=0, le=4)
    """Multiplies the number of channels and hidden units of every layer; 1 is the published network."""
    classifier_init: ClassifierInit = "torch"
    """Weights of the linear heads: torch's default; or zero biases and, as in the authors' code, N(0, 0.001) (`normal`,
    their ResNets) or Glorot-uniform weights (`glorot`, their C3D)."""
    input_statistics: InputStatistics = "none"
    """`kinetics400`: first convert clips from [-1, 1] to the mean and deviation that torchvision's weights expect."""


class C3DConfig(NetworkOptions):
    """The paper's smaller C3D: five convolutions, two fully connected layers of 2048 (section 3, Implementation)."""

    kind: Literal["c3d"] = "c3d"


class C3DLargeConfig(NetworkOptions):
    """The C3D of Tran et al.: eight convolutions, two fully connected layers of 4096."""

    kind: Literal["c3d_large"] = "c3d_large"


class R3D18Config(NetworkOptions):
    """3D-ResNet-18."""

    kind: Literal["r3d18"] = "r3d18"
    variant: Literal["torchvision", "official"] = "torchvision"
    """`torchvision`: plain `r3d_18`. `official`: the authors' net; its first two stages do not mix frames."""


class R2Plus1D18Config(NetworkOptions):
    """R(2+1)D-18."""

    kind: Literal["r2plus1d18"] = "r2plus1d18"
    variant: Literal["torchvision", "official"] = "torchvision"
    """`torchvision`: `r2plus1d_18`, with widened middle channels. `official`: the authors' net, not widened. Its
    temporal convolutions start as the identity, and a BatchNorm precedes the classifier."""


NetworkConfig = Annotated[C3DConfig | C3DLargeConfig | R3D18Config | R2Plus1D18Config, Field(discriminator="kind")]
