"""The jobs of a study: every row with every seed, as resolved configs.

In: a study's config. Out: :class:`Job`s, seed by seed, so that all rows have a first result before any has a second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel

from eval.config import EvalConfig
from eval.evaluations.base import Evaluation
from eval.judging.config import CheckpointWeights, RandomWeights, WeightsConfig
from eval.study.config import BaseConfig, StudyConfig
from eval.study.matching import match_clips
from eval.suite import EVALUATIONS
from shardify.config import load_config, validate_config
from shardify.errors import UsageError
from shardify.storage.locations import join_location
from stream_train.networks.config import NetworkConfig
from stream_train.training.config import PretrainConfig, without_neutral

ORIGIN = "study"
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Judging:
    """Evaluations of one network on one data set."""

    config: EvalConfig
    evaluations: tuple[Evaluation, ...]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A row with one seed."""

    row: str
    seed: int
    pretraining: PretrainConfig | None
    """None for networks that need none."""
    judgings: dict[str, Judging]
    """By the names in the study's `evaluate`."""

    @property
    def name(self) -> str:
        return f"{self.row}-seed{self.seed}"

    @cached_property
    def digest(self) -> str:
        """Equal for jobs with equal results: sha256 of all settings that results depend on."""
        settings: dict[str, Any] = {"pretraining": self.pretraining and self.pretraining.identity()}
        for name, judging in self.judgings.items():
            values = without_neutral(judging.config.model_dump(mode="json"))
            if self.pretraining is not None:
                del values["networks"]  # its path only; the pre-training tells the rest
            settings[name] = values | {"evaluations": [evaluation.name for evaluation in judging.evaluations]}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def jobs_of(config: StudyConfig) -> list[Job]:
    """All jobs. Raises UsageError if a base config cannot be read, or a row or evaluation has wrong keys."""
    pretrainings = pretrainings_of(config)
    networks = {name: _network_of(name, config, pretrainings) for name in config.rows}
    bases = {name: _values_of(EvalConfig, base) for name, base in config.evaluate.items()}
    evaluations = {name: tuple(map(_evaluation, base.evaluations)) for name, base in config.evaluate.items()}

    def job(row: str, seed: int) -> Job:
        out = join_location(config.out, row, f"seed{seed}")
        pretraining = pretrainings.get(row)
        entry = networks[row] or CheckpointWeights(path=out)
        judgings = {}
        for name, base in bases.items():
            values = _unnamed(merge(base, config.rows[row].evaluate)) | {
                "out": join_location(out, name),
                "seeds": [seed],
            }
            values |= {"networks": {row: entry.model_dump(mode="json")}}
            judged = _validated(EvalConfig, values, config, f"evaluate.{name}")
            judgings[name] = Judging(config=judged, evaluations=evaluations[name])
        if pretraining is not None:
            pretraining = pretraining.model_copy(update={"out": out, "seed": seed})
        return Job(row=row, seed=seed, pretraining=pretraining, judgings=judgings)

    return [job(row, seed) for seed in config.seeds for row in config.rows]


def pretrainings_of(config: StudyConfig) -> dict[str, PretrainConfig]:
    """The pre-training of each row that has one, without a job's `out` and `seed`. Raises as :func:`jobs_of`."""
    found = {}
    for name, row in config.rows.items():
        if row.network is None:
            base = config.pretrain if row.config is None else config.pretrain.model_copy(update={"config": row.config})
            values = merge(_values_of(PretrainConfig, base), row.changes) | {"out": config.out}
            found[name] = _validated(PretrainConfig, values, config, f"rows.{name}")
    return match_clips(found, config.reference_row) if config.match == "clips" else found


def merge(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values with changes; a section whose `kind` changes is replaced as a whole."""
    merged = dict(values)
    for key, change in changes.items():
        before = merged.get(key)
        is_same_section = (
            isinstance(before, Mapping)
            and isinstance(change, Mapping)
            and change.get("kind", before.get("kind")) == before.get("kind")
        )
        merged[key] = merge(before, change) if is_same_section else change  # type: ignore[arg-type]
    return merged


def _values_of(model: type[Model], base: BaseConfig) -> dict[str, Any]:
    """The values of a base config, with its changes."""
    values = load_config(model, base.config).model_dump(mode="json") if base.config is not None else {}
    return merge(values, base.changes)


def _validated(model: type[Model], values: dict[str, Any], config: StudyConfig, origin: str) -> Model:
    how: dict[str, Any] = {"device": config.device, "threads": config.threads}
    data = values.get("data", {})
    if config.num_workers is not None and isinstance(data, Mapping):
        how["data"] = {**data, "num_workers": config.num_workers}
    moved = {key: values[key] for key in ("shards", "test_shards") if values.get(key) in config.shards}
    how |= {key: config.shards[place] for key, place in moved.items()}
    return validate_config(model, values | how, f"{ORIGIN} {config.out}, {origin}")


def _unnamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation config whose sections name no networks of their own."""
    sections = {e.name: values[e.name] for e in EVALUATIONS if isinstance(values.get(e.name), Mapping)}
    return {**values, **{name: {**section, "networks": None} for name, section in sections.items()}}


def _evaluation(name: str) -> Evaluation:
    known = {evaluation.name: evaluation for evaluation in EVALUATIONS if evaluation.makes_rows}
    if name not in known:
        raise UsageError(f"there is no evaluation {name!r} with a result; there are: {', '.join(known)}")
    return known[name]


def _network_of(name: str, config: StudyConfig, pretrainings: Mapping[str, PretrainConfig]) -> WeightsConfig | None:
    """A row's network, with the architecture of the row that it is like; None if the row is pre-trained."""
    entry = config.rows[name].network
    if not isinstance(entry, RandomWeights) or entry.like is None:
        return entry
    if entry.like not in pretrainings:
        raise UsageError(
            f"rows.{name}.network.like = {entry.like!r}: there is no such row with pre-training; there are: "
            f"{', '.join(pretrainings) or 'none'}"
        )
    like: NetworkConfig = pretrainings[entry.like].network
    return RandomWeights(kind="random", network=like, learning_rate=entry.learning_rate)
