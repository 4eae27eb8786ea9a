"""A study in miniature: a tiny C3D on the small data set of the evaluations' tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from helpers_eval import tiny_eval_values
from helpers_training import tiny_values

from eval.study.config import StudyConfig
from shardify.config import validate_config


def study_values(shards: Path, out: Path | str, /, **changes: Any) -> dict[str, Any]:
    """Config values: the whole task, the speed alone, random weights; judged by neighbours and retrieval."""
    pretraining = tiny_values(shards, "unused", epochs=1)
    judging = tiny_eval_values(shards, "unused")
    judging["probe"] |= {"fc": [], "linear": [], "knn": ["100%"]}
    judging["retrieval"] = {"top": [1, 2], "num_shown": 1}
    return {
        "out": str(out),
        "device": "cpu",
        "threads": 1,
        "pretrain": {"changes": pretraining},
        "rows": {
            "all": {},
            "speed": {"changes": {"task": {"sampling": {"motions": []}}}},
            "random": {"network": {"kind": "random", "like": "all"}},
        },
        "evaluate": {"tiny": {"evaluations": ["probe", "retrieval"], "changes": judging}},
    } | changes


def study_config(shards: Path, out: Path | str, /, **changes: Any) -> StudyConfig:
    """The config of :func:`study_values`."""
    return validate_config(StudyConfig, study_values(shards, out, **changes), "tiny study")


def write_study(path: Path, shards: Path, out: Path | str, /, **changes: Any) -> Path:
    """The same as a file."""
    path.write_text(yaml.safe_dump(study_values(shards, out, **changes), sort_keys=False))
    return path
