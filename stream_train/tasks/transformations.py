"""Recognising temporal transformations: which motion type a clip shows, and how fast it plays (section 3.2).

Two linear heads read the last feature: motion (speed, random, periodic, warp, or the chosen subset in that order) and
speed (kappa, 0 to 3). The loss is the cross-entropy of each, averaged over its own clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stream_train.data.batch import Batch
from stream_train.data.plans import IGNORED, ClipPlan
from stream_train.draws import SampleDraws
from stream_train.tasks.base import (
    ClipTask,
    HeadWidth,
    LossTerm,
    count_confusion,
    count_pairs,
    cross_entropy_term,
    length_guesses,
)
from stream_train.tasks.config import MotionSpeedConfig
from stream_train.transformations.config import Motion
from stream_train.transformations.sampling import draw_clips, largest_speed
from stream_train.transformations.sequences import NUM_SPEEDS


@dataclass(frozen=True)
class Transformations(ClipTask):
    """The task of section 3; see :class:`MotionSpeedConfig`."""

    config: MotionSpeedConfig

    @property
    def motions(self) -> tuple[Motion, ...]:
        """The motion classes in the order of their logits; empty if the network learns only speed."""
        chosen = tuple(Motion[name.upper()] for name in self.config.sampling.motions)
        return (Motion.SPEED, *chosen) if chosen else ()

    def draw_clips(self, num_frames: int, draws: SampleDraws) -> tuple[ClipPlan, ...]:
        return draw_clips(num_frames, draws, self.config.sampling)

    def build_heads(self, width: HeadWidth) -> dict[str, nn.Module]:
        return {name: width.linear(len(names)) for name, names in self.class_names().items()}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        terms = {}
        if "motion" in outputs:
            terms["motion"] = cross_entropy_term(
                outputs["motion"], self.motion_targets(batch), self.config.motion_weight
            )
        if "speed" in outputs:
            with_periodic = self.config.speed_loss_on == "speed_and_periodic"
            motions = (Motion.SPEED, Motion.PERIODIC) if with_periodic else (Motion.SPEED,)
            terms["speed"] = cross_entropy_term(outputs["speed"], speed_targets(batch, motions), weight=1.0)
        return terms

    def count(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        counts = {}
        if "motion" in outputs:
            counts["motion"] = count_confusion(self.motion_targets(batch), outputs["motion"])
        if "speed" in outputs:
            counts["speed"] = count_confusion(speed_targets(batch), outputs["speed"])
        return counts

    def count_baselines(self, batch: Batch, num_frames: Tensor) -> dict[str, Tensor]:
        if not self.config.speed_loss:
            return {}
        rule = self.config.sampling.frames_for_speed
        fastest = torch.tensor([largest_speed(n, rule) for n in num_frames.tolist()], device=num_frames.device)
        return {"speed_by_length": count_pairs(fastest, speed_targets(batch), NUM_SPEEDS)}

    def compute_metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """Accuracies in [0, 1]; an accuracy without clips is left out.

        `nonrandom_motion_accuracy` counts the clips that are not random, with all classes as possible answers: a
        network that only recognises random clips and guesses the rest gets 1/3 there, but 1/2 over all clips.
        Two metrics do not look at frames, see :func:`length_guesses`.
        """
        shares: dict[str, tuple[Tensor, Tensor]] = {}
        if "motion" in counts:
            confusion = counts["motion"]
            shares["motion_accuracy"] = (confusion.diagonal().sum(), confusion.sum())
            if Motion.RANDOM in self.motions:
                others = [i for i, motion in enumerate(self.motions) if motion != Motion.RANDOM]
                shares["nonrandom_motion_accuracy"] = (confusion.diagonal()[others].sum(), confusion[others].sum())
        if "speed" in counts:
            shares["speed_accuracy"] = (counts["speed"].diagonal().sum(), counts["speed"].sum())
        metrics = {name: int(hits) / int(total) for name, (hits, total) in shares.items() if int(total)}
        if "speed_by_length" in counts:
            metrics |= length_guesses("speed", counts["speed_by_length"])
        return metrics

    def guesses(self, metrics: Mapping[str, float]) -> dict[str, float]:
        guesses = {}
        if self.motions:
            guesses["motion_accuracy"] = 1 / len(self.motions)
        if Motion.RANDOM in self.motions:
            guesses["nonrandom_motion_accuracy"] = 1 / (len(self.motions) - 1)
        if "speed_best_from_length" in metrics:
            guesses["speed_accuracy"] = metrics["speed_best_from_length"]
        return guesses

    def answers(self, batch: Batch) -> dict[str, Tensor]:
        answers = {"motion": self.motion_targets(batch), "speed": speed_targets(batch)}
        return {name: answers[name] for name in self.class_names()}

    def class_names(self) -> dict[str, Sequence[str]]:
        names: dict[str, Sequence[str]] = {}
        if self.motions:
            names["motion"] = [motion.name.lower() for motion in self.motions]
        if self.config.speed_loss:
            names["speed"] = [f"speed {kappa}" for kappa in range(NUM_SPEEDS)]
        return names

    def motion_targets(self, batch: Batch) -> Tensor:
        """Int64 (N,) class of each clip among :attr:`motions`, or IGNORED."""
        classes = torch.full((len(Motion) + 1,), IGNORED, dtype=torch.int64)  # the last one is that of IGNORED
        for index, motion in enumerate(self.motions):
            classes[motion] = index
        return classes.to(batch.frames.device)[batch.targets["motion"]]


def speed_targets(batch: Batch, motions: Sequence[Motion] = (Motion.SPEED,)) -> Tensor:
    """Int64 (N,) kappa of the clips of these motion types, IGNORED for all others."""
    motion = batch.targets["motion"]
    chosen = torch.isin(motion, torch.tensor(motions, device=motion.device))
    return torch.where(chosen, batch.targets["speed"], IGNORED)
