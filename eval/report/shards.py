"""The page's section about the data set that a network learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shardify.errors import UsageError, UserFacingError
from shardify.inspection.summary import summarise_dataset
from shardify.shards.manifest import read_manifest
from shardify.storage import open_store
from shardify.storage.store import Store
from stream_train.training.validation import Validation


@dataclass(frozen=True, kw_only=True)
class ShardFacts:
    """A data set, or why it cannot be described."""

    location: str
    problem: str = ""
    """Why it cannot be read; "" if it can."""
    has_changed: bool = False
    """Whether the held-out videos have changed since the validation."""
    summary: dict[str, Any] | None = None
    """The result of :func:`shardify.inspection.summary.summarise_dataset`."""


def read_shards(location: str, validation: Validation | None) -> ShardFacts:
    """Describe the data set in a folder or URL, or say why it cannot be read; `validation` used one of its splits."""
    try:
        store = open_store(location)
        summary = summarise_dataset(store)
        has_changed = validation is not None and _fingerprint(store, validation.split) != validation.shards_fingerprint
    except UserFacingError as error:
        return ShardFacts(location=location, problem=str(error))
    except OSError as error:
        return ShardFacts(location=location, problem=f"{error.filename}: {error.strerror}")
    return ShardFacts(location=location, has_changed=has_changed, summary=summary)


def _fingerprint(store: Store, split: str | None) -> str:
    """The fingerprint of a split; "" if the data set no longer has it."""
    try:
        return read_manifest(store).fingerprint(split)
    except UsageError:
        return ""
