"""The shard contract, format version 1: the objects of a data set, and their names.

A data set is a store (usually a folder) that holds

    manifest.json              the description; start-up and the order of samples need nothing else
    shard-NNNNNN.tar           per video KEY.cls, KEY.json and KEY.mjpg (packing "mjpg": the JPEG frames, one after the
                               other) or KEY.000000.jpg ... (packing "frames")
    shard-NNNNNN.idx.npz       per sample key, label, fps, offset; per frame size and crc32
    shard-NNNNNN.json          the shard's record: manifest entry and ledger lines; written last, it commits the shard
    rejected.jsonl             unusable videos, with the reason
    missing.jsonl              listed videos that were not found
    short.jsonl                samples with far fewer frames than their videos announce; absent if there are none
    broken.jsonl               broken or short files of videos that have another file; absent if there are none
"""

from __future__ import annotations

from typing import Literal

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
REJECTED_NAME = "rejected.jsonl"
MISSING_NAME = "missing.jsonl"
SHORT_NAME = "short.jsonl"
BROKEN_NAME = "broken.jsonl"
FINAL_NAMES = (MANIFEST_NAME, REJECTED_NAME, MISSING_NAME, SHORT_NAME, BROKEN_NAME)
"""The objects that are written last, when all shards exist."""
NO_LABEL = -1

ShardPart = Literal["tar", "idx.npz", "json"]


def shard_name(number: int, part: ShardPart) -> str:
    """`shard-000012.tar` and its siblings."""
    return f"shard-{number:06d}.{part}"
