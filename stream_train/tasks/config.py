"""The `task` section of configs: one class for each pretext task. Docstrings name the source; units are frames.

Every default is this project's common recipe; what a task's authors did differently is a key where that is cheap.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from shardify.config import StrictModel
from stream_train.transformations.config import SamplingConfig

Stride = Annotated[int, Field(ge=1, le=64)]
"""Frames from one frame of a clip to the next."""


class MotionSpeedConfig(StrictModel):
    """The keys of tasks on the paper's clips."""

    sampling: SamplingConfig = SamplingConfig()
    """Which clips a video gives; without motions only the speed loss is left ("Speed" of Table 1)."""
    speed_loss: bool = True
    """Whether the network also learns the speed (the two columns of Table 1)."""
    speed_loss_on: Literal["speed", "speed_and_periodic"] = "speed"
    """Clips in the speed loss: speed clips (paper), or also periodic clips, which share the speed (released code)."""
    motion_weight: NonNegativeFloat = 1.0
    """Weight of the motion loss against the speed loss; 4 is the paper's sum of four motion terms read literally."""


class TransformationsConfig(MotionSpeedConfig):
    """The paper's task, with every subset of Table 1."""

    kind: Literal["transformations"] = "transformations"

    @model_validator(mode="after")
    def _has_a_question(self) -> TransformationsConfig:
        if not self.sampling.motions and not self.speed_loss:
            raise ValueError("sampling.motions is empty and speed_loss is false, so nothing is left to learn")
        return self


class RankingConfig(MotionSpeedConfig):
    """TransRank (Duan et al., CVPR 2022): the paper's clips, but clips of a video are ranked, not classified."""

    kind: Literal["ranking"] = "ranking"
    margin: PositiveFloat = 0.5
    """By how much a clip's score for its own class must be above the other clips' scores for that class."""

    @model_validator(mode="after")
    def _has_clips_to_rank(self) -> RankingConfig:
        if not self.sampling.motions:
            raise ValueError("sampling.motions is empty, so a video has a single clip and nothing can be ranked")
        return self


class ActionLabelsConfig(StrictModel):
    """Supervised learning of the data set's classes ("action labels" in Tables 1 and 3)."""

    kind: Literal["action_labels"] = "action_labels"
    stride: Stride = 4
    """As in the evaluations; videos too short for it use the largest stride that fits."""


class ShuffleLearnConfig(StrictModel):
    """Shuffle and Learn (Misra et al., ECCV 2016): is it in the right order?"""

    kind: Literal["shuffle_learn"] = "shuffle_learn"
    variant: Literal["clip", "triplet"] = "clip"
    """`clip`: the 16 frames of a clip are in order, or shuffled. `triplet`, as in the original: three clips b, c, d of
    five are in order, or a or e stands in the middle; their features are concatenated."""
    stride: Stride = 1
    spacing: PositiveInt = 8
    """Frames from the start of one of the five clips to the next (`triplet`)."""


class RotationConfig(StrictModel):
    """3D-RotNet (Jing et al., 2018): by how many quarter turns is the clip rotated?"""

    kind: Literal["rotation"] = "rotation"
    stride: Stride = 2


class ArrowOfTimeConfig(StrictModel):
    """Arrow of time (Wei et al., CVPR 2018): does the clip play forwards or backwards?"""

    kind: Literal["arrow_of_time"] = "arrow_of_time"
    stride: Stride = 1


class OddOneOutConfig(StrictModel):
    """Odd-one-out (O3N; Fernando et al., CVPR 2017): which of the clips has its frames shuffled?"""

    kind: Literal["odd_one_out"] = "odd_one_out"
    num_clips: int = Field(default=6, ge=2, le=12)
    stride: Stride = 1


class OrderPredictionConfig(StrictModel):
    """Sorting sequences (OPN; Lee et al., ICCV 2017): the order of four pieces of one clip, up to reversal."""

    kind: Literal["order_prediction"] = "order_prediction"
    gap: NonNegativeInt = 4
    """Frames that are left out between two pieces of four frames."""
    one_channel: bool = False
    """Each frame shows one random colour channel, against chromatic aberration (original)."""
    jitter: NonNegativeInt = 0
    """Each frame's crop moves by up to so many pixels (original: 5)."""


class ClipOrderConfig(StrictModel):
    """Clip order (VCOP; Xu et al., CVPR 2019): the order of several clips of a video."""

    kind: Literal["clip_order"] = "clip_order"
    num_clips: int = Field(default=3, ge=2, le=4)
    gap: NonNegativeInt = 8
    """Frames that are left out between two clips."""
    stride: Stride = 1
    pair_units: PositiveInt = 512
    """Hidden units for each pair of clips."""
    dropout: float = Field(default=0.5, ge=0, lt=1)


class PlaybackRateConfig(StrictModel):
    """Playback rate perception (PRP; Yao et al., CVPR 2020): the stride, and the frames between those that are seen."""

    kind: Literal["playback_rate"] = "playback_rate"
    rate_weight: NonNegativeFloat = 0.1
    """Weight of the cross-entropy of the stride; the squared error of the frames has weight 1."""
    decoded_pixels: PositiveInt = 56
    """Height and width of the decoded frames; those of the crop, if it is smaller (original: the crop, 112)."""
    mask: tuple[PositiveFloat, PositiveFloat] = (0.8, 2.0)
    """Weights of pixels far from, and at, the part of the clip with the most motion."""


class SpeedNetConfig(StrictModel):
    """SpeedNet (Benaim et al., CVPR 2020): does the segment play at normal speed, or about twice as fast?"""

    kind: Literal["speednet"] = "speednet"
    normal: tuple[float, float] = (1.0, 1.2)
    """Range of the speed-up of the normal clip."""
    fast: tuple[float, float] = (1.7, 2.2)
    """Range of the speed-up of the fast clip."""

    @model_validator(mode="after")
    def _ranges_increase(self) -> SpeedNetConfig:
        if not 1 <= self.normal[0] <= self.normal[1] < self.fast[0] <= self.fast[1] <= 16:
            raise ValueError("the ranges must increase: 1 <= normal low <= normal high < fast low <= fast high <= 16")
        return self


class PaceConfig(StrictModel):
    """The speed alone, strides 1, 2, 4 and 8: the row "Speed" of Table 1 (as in Wang et al., ECCV 2020)."""

    kind: Literal["pace"] = "pace"


class SpaceTimePuzzleConfig(StrictModel):
    """Space-time cubic puzzles (Kim et al., AAAI 2019): the order of four pieces, in space or in time."""

    kind: Literal["space_time_puzzle"] = "space_time_puzzle"
    layout: Literal["space", "time", "both"] = "both"
    """Pieces from the four quarters of the crop, from four successive blocks of one quarter, or either at random."""
    piece: float = Field(default=80 / 112, gt=0, le=1)
    """Side of a piece as a share of the quarter's side; its place in the quarter is drawn anew for each piece."""
    one_channel: bool = True
    """Each piece shows one random colour channel, against chromatic aberration (original)."""


class DensePredictionConfig(StrictModel):
    """Dense predictive coding (DPC; Han et al., ICCV workshops 2019): the maps of the next blocks of frames."""

    kind: Literal["dense_prediction"] = "dense_prediction"
    num_blocks: int = Field(default=5, ge=2, le=16)
    """Successive blocks of 16 frames (original: 8 blocks of 5 frames, every third)."""
    num_predicted: PositiveInt = 2
    """The last blocks, which are predicted from the ones before."""
    stride: Stride = 1

    @model_validator(mode="after")
    def _has_a_context(self) -> DensePredictionConfig:
        if self.num_predicted >= self.num_blocks:
            raise ValueError(f"num_predicted must be below num_blocks, {self.num_blocks}")
        return self


class FlowStatisticsConfig(StrictModel):
    """Motion and appearance statistics (Wang et al., CVPR 2019): 14 numbers of the optical flow, 13 of the colours."""

    kind: Literal["flow_statistics"] = "flow_statistics"
    stride: Stride = 1
    motion_weight: NonNegativeFloat = 1.0
    appearance_weight: NonNegativeFloat = 0.1


TaskConfig = Annotated[
    TransformationsConfig
    | ActionLabelsConfig
    | ShuffleLearnConfig
    | RotationConfig
    | ArrowOfTimeConfig
    | OddOneOutConfig
    | OrderPredictionConfig
    | ClipOrderConfig
    | PlaybackRateConfig
    | SpeedNetConfig
    | PaceConfig
    | SpaceTimePuzzleConfig
    | DensePredictionConfig
    | RankingConfig
    | FlowStatisticsConfig,
    Field(discriminator="kind"),
]
"""The config of any task."""
