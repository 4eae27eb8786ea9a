"""Data: which settings of pre-training are the paper's, and which are those of the authors' released code.

Settings are dotted keys that differ from the defaults, which follow the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["paper", "official"]
"""`paper`: the defaults. `official`: the authors' released code."""

_OFFICIAL_TASK = {
    "task.sampling.frames_for_speed": "full_steps",
    "task.sampling.random_identity": "possible",
    "task.sampling.periodic": "window",
    "task.speed_loss_on": "speed_and_periodic",
}
OFFICIAL = (
    {"data.videos_per_batch": 6, "data.resize": [128, 171], **_OFFICIAL_TASK},
    {"data.videos_per_batch": 16, "data.crop": 128, "data.colour": "frame", **_OFFICIAL_TASK},
)
"""C3D's settings, and those of the ResNets; as in `configs/pretrain/*_official.yaml`."""


def preset_of(changes: Mapping[str, Any]) -> Preset | None:
    """The preset with these changes to the defaults; None if there is none."""
    if not changes:
        return "paper"
    return "official" if any(changes == official for official in OFFICIAL) else None
