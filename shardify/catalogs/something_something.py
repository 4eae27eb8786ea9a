"""Something-Something v2: everyday actions with any object, told apart by their motion.

    videos/78687.webm            at any depth, or in tar archives
    lists/labels.json            {"Holding something next to something": "35", ...}
    lists/train.json             [{"id": "78687", "template": "Holding [something] next to [something]", ...}, ...]
    lists/validation.json        the same
    lists/test.json              [{"id": "1420"}, ...] without labels

The lists may also be called something-something-v2-train.json and so on, as they are distributed. The splits are
train, val and test; `test` has no labels. A list that is not there gives no split; `train` must be there.
"""

from __future__ import annotations

from typing import Literal

from shardify.catalogs.archived import Listed
from shardify.catalogs.base import Catalog, VideosConfig
from shardify.catalogs.files import list_names, read_json
from shardify.catalogs.named import add_video, make_named_catalog
from shardify.errors import UsageError
from shardify.shards.format import NO_LABEL
from shardify.storage.locations import Location, join_location

_PREFIX = "something-something-v2-"
_SPLITS = {"train": "train", "validation": "val", "test": "test"}


class SomethingSomethingConfig(VideosConfig):
    """The location of Something-Something v2."""

    kind: Literal["something_something_v2"]
    lists: Location
    """Folder or URL of labels.json, train.json, validation.json and test.json."""


def read_something_something(config: SomethingSomethingConfig) -> Catalog:
    """Read the lists and look for each video.

    Raises UsageError if a folder or list is missing or malformed, a template is no label, or no video is there.
    """
    lists = {name.removeprefix(_PREFIX): join_location(config.lists, name) for name in list_names(config.lists)}
    for name in ("labels.json", "train.json"):
        if name not in lists:
            raise UsageError(f"source.lists = {config.lists}: it holds no {name} or {_PREFIX}{name}")
    labels = _read_labels(lists["labels.json"])
    listed: dict[str, Listed] = {}
    splits = {word: split for word, split in _SPLITS.items() if f"{word}.json" in lists}
    for word, split in splits.items():
        path = lists[f"{word}.json"]
        for number, row in enumerate(read_json(path, list), start=1):
            where = f"{path} entry {number}"
            if not isinstance(row, dict) or not str(row.get("id", "")).strip():
                raise UsageError(f"{where}: {str(row)[:80]!r} has no id")
            add_video(listed, str(row["id"]), _label(row.get("template"), labels, split, where), split, where)
    return make_named_catalog(config, listed, classes=tuple(labels), splits=tuple(splits.values()))


def _read_labels(path: str) -> dict[str, int]:
    """Label by name, in label order."""
    try:
        labels = {str(name): int(number) for name, number in read_json(path, dict).items()}
    except (TypeError, ValueError):
        raise UsageError(f"{path}: it is not a map of names to numbers") from None
    ordered = dict(sorted(labels.items(), key=lambda item: item[1]))
    if list(ordered.values()) != list(range(len(ordered))):
        raise UsageError(f"{path}: the labels must count 0, 1, 2, ...")
    return ordered


def _label(template: object, labels: dict[str, int], split: str, where: str) -> int:
    if template is None and split == "test":
        return NO_LABEL
    name = str(template).replace("[", "").replace("]", "")
    if name not in labels:
        raise UsageError(f"{where}: template {template!r} is not in labels.json")
    return labels[name]
