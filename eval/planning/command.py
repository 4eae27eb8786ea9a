"""What `video-eval plan` does: read any config, count its work, and time it.

In: a config file of a pre-training, of evaluations or of a study. Out: the :class:`~eval.planning.plan.Plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from eval.config import EvalConfig
from eval.planning.plan import Plan, make_plan
from eval.planning.speed import Speed, computed_speed, measured_speed
from eval.planning.work import Setup, Work, work_of_evaluations, work_of_job, work_of_pretraining
from eval.study.config import StudyConfig
from eval.study.jobs import jobs_of
from eval.suite import EVALUATIONS
from shardify.config import StrictModel, load_config
from shardify.errors import UsageError
from shardify.process import usable_cores
from shardify.recipes import no_recipe, recipe_names
from shardify.storage.locations import is_url
from stream_train.training.config import DeviceChoice, PretrainConfig

KINDS: dict[str, type[StrictModel]] = {"rows": StudyConfig, "networks": EvalConfig, "network": PretrainConfig}
"""A key that only one kind of config has -> the kind."""
LEAST_SECONDS = 4.0
"""Of the measurement of each setup."""


def read_planned(path: str, overrides: Sequence[str]) -> tuple[StudyConfig | EvalConfig | PretrainConfig, list[Work]]:
    """A config of any kind, and its work. Raises UsageError if the kind is unknown, or data is missing."""
    kind = _kind_of(path)
    if kind is StudyConfig:
        study = load_config(StudyConfig, path, overrides)
        return study, [work for job in jobs_of(study) for work in work_of_job(job)]
    if kind is EvalConfig:
        judging = load_config(EvalConfig, path, overrides)
        return judging, list(work_of_evaluations(judging, (e for e in EVALUATIONS if e.makes_rows)))
    config = load_config(PretrainConfig, path, overrides)
    return config, [work_of_pretraining(config)]


class _AnyConfig(BaseModel):
    """A config of any kind, unchecked."""

    model_config = ConfigDict(extra="allow")


def _kind_of(path: str) -> type[StrictModel]:
    """What a file or URL configures, by its keys; of recipes with one name, a study's comes first."""
    if not is_url(path) and not Path(path).is_file() and Path(path).suffix not in (".yaml", ".yml"):
        recipes = {name: kind for kind in reversed(KINDS.values()) for name in recipe_names(kind.recipes)}
        if path not in recipes:
            raise no_recipe(path, sorted(recipes))
        return recipes[path]
    keys = load_config(_AnyConfig, path).model_extra or {}
    found = next((kind for key, kind in KINDS.items() if key in keys), None)
    if found is None:
        raise UsageError(f"{path} is no config of a pre-training, of evaluations or of a study; give one of these")
    return found


def plan_config(
    path: str, overrides: Sequence[str], *, seconds: float, teraflops: float | None, cores: int | None
) -> tuple[Plan, str]:
    """The plan of a config, and its `out`.

    `teraflops` is of another machine, in 10^12 operations a second that a network really reaches (an H100's peak in
    bfloat16 is 989, a third of it 330). None measures speeds here, for so many seconds.
    """
    config, works = read_planned(path, overrides)
    setups = dict.fromkeys(work.setup.words for work in works if work.setup is not None)
    speed_of: Callable[[Setup], Speed]
    if teraflops is not None:
        where = f"a machine with {teraflops:g} teraflops and {cores or usable_cores()} cores"
        speed_of = lambda setup: computed_speed(setup, teraflops)  # noqa: E731
    else:
        each = max(LEAST_SECONDS, seconds / max(1, len(setups)))
        where = f"this machine ({_device_words(config.device)})"
        speed_of = lambda setup: measured_speed(setup, each, device=config.device, threads=config.threads)  # noqa: E731
    return make_plan(works, speed_of, cores=cores or usable_cores(), where=where), config.out


def _device_words(device: DeviceChoice) -> str:
    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{usable_cores()} CPU cores"
