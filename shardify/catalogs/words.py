"""Splits and labels, however lists and folders spell them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

SPLIT_ORDER = ("train", "val", "test")
_SPLIT_WORDS = {name: name for name in SPLIT_ORDER} | {
    "training": "train",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "testing": "test",
}
_SPLIT_LIKE = re.compile(rf"({'|'.join(_SPLIT_WORDS)})(set)?(?![a-z])", re.IGNORECASE)


def split_of(word: str) -> str | None:
    """`Validation` -> `val`; None if the word is not the usual name of a split."""
    return _SPLIT_WORDS.get(word.lower())


def resembles_split(word: str) -> bool:
    """Whether a name is that of a split or begins like one: `train_set`, `Test2`, `valset`."""
    return _SPLIT_LIKE.match(word) is not None


def ordered_splits(names: Iterable[str]) -> tuple[str, ...]:
    """Each split once: train, val, test, then others in alphabetical order."""
    known = set(names)
    return (*(name for name in SPLIT_ORDER if name in known), *sorted(known.difference(SPLIT_ORDER)))


def one_spelling(names: Iterable[str], preferred: Iterable[str] = ()) -> dict[str, str]:
    """Each label -> its spelling; labels that differ only in spaces, underscores and Unicode form are one.

    The spelling is that of `preferred`, else the first in alphabetical order: `air drumming`, not `air_drumming`.
    """
    names, preferred = set(names), tuple(preferred)
    spellings: dict[str, str] = {}
    for name in (*preferred, *sorted(map(_composed, names))):
        spellings.setdefault(label_form(name), name)
    return {name: spellings[label_form(name)] for name in names} | {name: name for name in preferred}


def label_form(label: str) -> str:
    """What all spellings of a label have in common."""
    return re.sub(r"[\s_]+", " ", _composed(label)).strip()


def _composed(label: str) -> str:
    """Accents as most systems write them; macOS takes them apart from their letters."""
    return unicodedata.normalize("NFC", label)


def in_order(labels: Iterable[str]) -> list[str]:
    """Labels in alphabetical order; if all are whole numbers, in the order of the numbers: 1, 2, 10."""
    labels = sorted(labels)
    return sorted(labels, key=int) if all(re.fullmatch(r"\d+", label, re.ASCII) for label in labels) else labels
