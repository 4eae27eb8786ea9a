"""Saliency: pictures of what networks look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from eval.evaluations.base import Evaluation, Section

if TYPE_CHECKING:
    from eval.config import EvalConfig
    from eval.evaluations.base import Run


class SaliencySection(Section):
    """Which pixels a network's answer depends on, by guided backpropagation (Figure 4), in the order of `networks`."""

    num_videos: PositiveInt = 3
    videos: tuple[str, ...] = ()
    """Keys of the test videos to show; if empty, `num_videos` videos of different classes."""
    stride: PositiveInt = 4


def networks_to_explain(config: EvalConfig) -> list[str]:
    """The networks that the section names; by default all of kind checkpoint, which have trained heads."""
    if config.saliency.networks is not None:
        return list(config.saliency.networks)
    return [name for name, entry in config.networks.items() if entry.kind == "checkpoint"]


def _load() -> Run:
    from eval.evaluations.saliency_pictures import draw_saliency

    return draw_saliency


SALIENCY = Evaluation(
    name="saliency",
    title="Saliency: what networks look at",
    short="Saliency",
    question="Which pixels a network's answer depends on (Figure 4 of the paper).",
    help="Show what networks look at (Figure 4).",
    section=SaliencySection,
    load=_load,
    makes_rows=False,
    is_wanted=lambda config: bool(networks_to_explain(config)),
)
