"""What `video-eval plan` does: read any config, count its work, and time it.

In: a config file of a pre-training, of evaluations or of a study. Out: the :class:`~eval.planning.plan.Plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from eval.config import EvalConfig
from eval.planning.plan import Plan, make_plan
from eval.planning.speed import Figures, Speed, computed_speed, measured_speed
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


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A config's work, and how it would run."""

    out: str
    works: list[Work]
    num_processes: int
    device: DeviceChoice
    threads: int


def read_planned(path: str, overrides: Sequence[str]) -> Planned:
    """The work of a config of any kind. Raises UsageError if it is of no known kind, or names missing data."""
    kind = _kind_of(path)
    if kind is StudyConfig:
        study = load_config(StudyConfig, path, overrides)
        jobs = jobs_of(study)
        works = [work for job in jobs for work in work_of_job(job)]
        return Planned(out=study.out, works=works, num_processes=1, device=study.device, threads=study.threads)
    if kind is EvalConfig:
        judging = load_config(EvalConfig, path, overrides)
        works = list(work_of_evaluations(judging, (e for e in EVALUATIONS if e.makes_rows)))
        return Planned(out=judging.out, works=works, num_processes=1, device=judging.device, threads=judging.threads)
    config = load_config(PretrainConfig, path, overrides)
    works = [work_of_pretraining(config)]
    return Planned(out=config.out, works=works, num_processes=1, device=config.device, threads=config.threads)


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
    path: str, overrides: Sequence[str], *, seconds: float, figures: Figures | None, cores: int | None
) -> tuple[Plan, str]:
    """The plan of a config, and its `out`. Without figures, speeds are measured here for so many seconds."""
    planned = read_planned(path, overrides)
    setups = dict.fromkeys(work.setup.words for work in planned.works if work.setup is not None)
    speed_of: Callable[[Setup], Speed]
    if figures is not None:
        where = f"a machine with {figures.teraflops:g} teraflops and {cores or usable_cores()} cores"
        speed_of = lambda setup: computed_speed(setup, figures)  # noqa: E731
    else:
        each = max(LEAST_SECONDS, seconds / max(1, len(setups)))
        where = f"this machine ({_device_words(planned.device)})"
        speed_of = lambda setup: measured_speed(setup, each, device=planned.device, threads=planned.threads)  # noqa: E731
    plan = make_plan(
        planned.works, speed_of, num_processes=planned.num_processes, cores=cores or usable_cores(), where=where
    )
    return plan, planned.out


def _device_words(device: DeviceChoice) -> str:
    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{usable_cores()} CPU cores"
