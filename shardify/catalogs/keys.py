"""Sample keys: one short, portable, unique name for each video, made from its relative path.

A key is part of a tar member's name. WebDataset cuts this name at the first dot, and a one-block tar header limits it
to 100 characters. So a key consists of at most MAX_KEY_LENGTH ASCII letters, digits, `_` and `-`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from shardify.errors import UsageError

MAX_KEY_LENGTH = 80
"""Leaves room for the longest extension, `.000000.jpg`, and a margin."""

_DIGEST_LENGTH = 10


def make_keys(paths: Iterable[str]) -> dict[str, str]:
    """Key by relative POSIX path: folders joined by `__`, the ending removed, unsafe characters replaced by `_`.

    If a key is too long, or equal for several paths, it ends with a digest of the path. The order of the paths, which
    are distinct, does not matter. Raises UsageError if two paths still get the same key.
    """
    plain = {path: _plain_key(path) for path in paths}
    counts = Counter(plain.values())
    keys = {path: _digest_key(path, key) if counts[key] > 1 else key for path, key in plain.items()}
    owners: dict[str, str] = {}
    for path, key in keys.items():
        if key in owners:
            raise UsageError(f"{owners[key]} and {path} get the same key {key}; rename one of them")
        owners[key] = path
    return keys


def member_key(archive: str, path: str) -> str:
    """The key of the video at `path` in an archive; always with a digest, because other archives' paths are unknown."""
    return _digest_key(f"{archive}/{path}", _safe_key(path))


def _safe_key(path: str) -> str:
    stem = str(PurePosixPath(path).with_suffix(""))
    return re.sub(r"[^A-Za-z0-9_-]", "_", stem.replace("/", "__"))


def _plain_key(path: str) -> str:
    key = _safe_key(path)
    return key if len(key) <= MAX_KEY_LENGTH else _digest_key(path, key)


def _digest_key(path: str, key: str) -> str:
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGEST_LENGTH]
    return f"{key[: MAX_KEY_LENGTH - 1 - _DIGEST_LENGTH]}-{digest}"
