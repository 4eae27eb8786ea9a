"""FineGym: elements of gymnastics that only their motion tells apart, in the settings Gym99 and Gym288.

    videos/YAEEu-pc0tA_E_007305_007366_A_0037_0046.mp4    one file per sub-action, at any depth, or in tar archives
    lists/gym99_categories.txt                            `Clabel: 0; set: 1; Glabel: 1; (VT) round-off, ...`
    lists/gym99_train_element_v1.1.txt                    `YAEEu-pc0tA_E_007305_007366_A_0037_0046 31`
    lists/gym99_val_element.txt                           the same

The videos must be cut into sub-actions first, each named as in the lists; FineGym's annotations give the times. Of
several versions of a list, the newest is read. The splits are train and val.
"""

from __future__ import annotations

import re
from typing import Literal

from shardify.catalogs.archived import Listed
from shardify.catalogs.base import Catalog, VideosConfig
from shardify.catalogs.files import list_names, read_lines
from shardify.catalogs.named import add_video, make_named_catalog
from shardify.errors import UsageError
from shardify.storage.locations import Location, join_location


class FineGymConfig(VideosConfig):
    """The location of FineGym."""

    kind: Literal["finegym"]
    setting: Literal["gym99", "gym288"] = "gym99"
    """The classes: 99, about as many videos of each, or 288, from very many to very few."""
    lists: Location
    """Folder or URL of the categories and lists of the setting."""


def read_finegym(config: FineGymConfig) -> Catalog:
    """Read the lists and look for each sub-action's file.

    Raises UsageError if a folder or list is missing or malformed, a label is unknown, or no video is there.
    """
    names = list_names(config.lists)
    classes = _read_classes(join_location(config.lists, f"{config.setting}_categories.txt"))
    listed: dict[str, Listed] = {}
    for split in ("train", "val"):
        pattern = rf"{config.setting}_{split}_element(_v[\d.]+)?\.txt"
        versions = sorted(name for name in names if re.fullmatch(pattern, name))
        if not versions:
            raise UsageError(f"source.lists = {config.lists}: it holds no {config.setting}_{split}_element.txt")
        path = join_location(config.lists, versions[-1])
        for line in read_lines(path):
            match = re.fullmatch(r"(\S+)\s+(\d+)", line.text, re.ASCII)
            if match is None or int(match[2]) >= len(classes):
                raise UsageError(
                    f"{path} line {line.number}: {line.text!r} is not `name label` with a label from 0 to "
                    f"{len(classes) - 1}"
                )
            add_video(listed, match[1], int(match[2]), split, f"{path} line {line.number}")
    return make_named_catalog(config, listed, classes=classes, splits=("train", "val"))


def _read_classes(path: str) -> tuple[str, ...]:
    classes: list[str] = []
    for line in read_lines(path):
        match = re.fullmatch(r"Clabel:\s*(\d+);[^;]*;[^;]*;\s*(.+)", line.text, re.ASCII)
        if match is None or int(match[1]) != len(classes):
            raise UsageError(
                f"{path} line {line.number}: {line.text!r} is not `Clabel: {len(classes)}; set: ...; Glabel: ...; name`"
            )
        classes.append(match[2])
    return tuple(classes)
