"""Diving48: 48 dives that only their motion tells apart; nearly the same pool in every video.

    videos/HC9bUgZ4DjA_00061.mp4     at any depth, or in tar archives
    lists/Diving48_vocab.json        [["Back", "15som", "05Twis", "FREE"], ...], in label order
    lists/Diving48_V2_train.json     [{"vid_name": "HC9bUgZ4DjA_00061", "label": 12, ...}, ...]
    lists/Diving48_V2_test.json      the same

V2 has corrected labels. The first version's lists, Diving48_train.json and Diving48_test.json, are read if V2's are not
there. The splits are train and test.
"""

from __future__ import annotations

from typing import Literal

from shardify.catalogs.archived import Listed
from shardify.catalogs.base import Catalog, VideosConfig
from shardify.catalogs.files import list_names, read_json
from shardify.catalogs.named import add_video, make_named_catalog
from shardify.errors import UsageError
from shardify.storage.locations import Location, join_location

_VOCABULARY = "Diving48_vocab.json"


class Diving48Config(VideosConfig):
    """The location of Diving48."""

    kind: Literal["diving48"]
    lists: Location
    """Folder or URL of Diving48_vocab.json, Diving48_V2_train.json and Diving48_V2_test.json."""


def read_diving48(config: Diving48Config) -> Catalog:
    """Read the lists and look for each video.

    Raises UsageError if a folder or list is missing or malformed, a label is unknown, or no video is there.
    """
    names = list_names(config.lists)
    version = "_V2" if "Diving48_V2_train.json" in names else ""
    classes = _read_classes(join_location(config.lists, _VOCABULARY))
    listed: dict[str, Listed] = {}
    for split in ("train", "test"):
        path = join_location(config.lists, f"Diving48{version}_{split}.json")
        for number, row in enumerate(read_json(path, list), start=1):
            where = f"{path} entry {number}"
            label, name = (row.get("label"), row.get("vid_name")) if isinstance(row, dict) else (None, None)
            if not isinstance(name, str) or type(label) is not int or not 0 <= label < len(classes):
                known = f"vid_name and label from 0 to {len(classes) - 1}"
                raise UsageError(f"{where}: {str(row)[:80]!r} does not hold {known}")
            add_video(listed, name, label, split, where)
    return make_named_catalog(config, listed, classes=classes, splits=("train", "test"))


def _read_classes(path: str) -> tuple[str, ...]:
    rows = read_json(path, list)
    if not rows or not all(isinstance(row, list) and row for row in rows):
        raise UsageError(f"{path}: it is not a list of lists of words")
    return tuple(" ".join(map(str, row)) for row in rows)
