"""The `task` section of configs."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, model_validator

from shardify.config import StrictModel
from stream_train.transformations.config import SamplingConfig


class TransformationsConfig(StrictModel):
    """The paper's task, with every subset of Table 1."""

    kind: Literal["transformations"] = "transformations"
    sampling: SamplingConfig = SamplingConfig()
    """Which clips a video gives; without motions only the speed loss is left ("Speed" of Table 1)."""
    speed_loss: bool = True
    """Whether the network also learns the speed (the two columns of Table 1)."""
    speed_loss_on: Literal["speed", "speed_and_periodic"] = "speed"
    """Clips in the speed loss: speed clips (paper), or also periodic clips, which share the speed (released code)."""
    motion_weight: NonNegativeFloat = 1.0
    """Weight of the motion loss against the speed loss; 4 is the paper's sum of four motion terms read literally."""

    @model_validator(mode="after")
    def _has_a_question(self) -> TransformationsConfig:
        if not self.sampling.motions and not self.speed_loss:
            raise ValueError("sampling.motions is empty and speed_loss is false, so nothing is left to learn")
        return self


TaskConfig = TransformationsConfig
"""The config of any task. A second task makes it a union with `kind` as the discriminator."""
