"""The page about paper and released code names only switches that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from eval.config import EvalConfig
from shardify.build.config import BuildConfig
from stream_train.training.config import PretrainConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "paper-and-code.md"


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key of a config and of the sections in it; NAME stands for a name that users give."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for section, is_named in sections_in(field.annotation):
            yield from keys_of(section, f"{prefix}{name}.NAME." if is_named else f"{prefix}{name}.")


def sections_in(annotation: object, *, is_named: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, is_named
    for part in get_args(annotation):
        yield from sections_in(part, is_named=is_named or getattr(annotation, "__origin__", None) is dict)


@pytest.mark.parametrize(
    ("title", "configs"), [("Pre-training", (PretrainConfig, BuildConfig)), ("Evaluations", (EvalConfig,))]
)
def test_every_switch_exists(title: str, configs: tuple[type[BaseModel], ...]) -> None:
    section = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    switches = [row.split("|")[-2] for row in section.splitlines() if row.startswith("| ")][1:]
    named = [key for switch in switches for key in re.findall(r"`([^`]+)`", switch)]
    assert len(named) >= len(switches) >= 10
    assert set(named) <= {key for config in configs for key in keys_of(config)}
