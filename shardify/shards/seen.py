"""Everything that was seen beside the videos: what was left out, for which reason, how often, with one example.

In: pairs of a reason and a path. Out: :class:`LeftOut`, one for each reason. `build.json` and the manifest keep them,
and `build` and `inspect` show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shardify.errors import first_names
from shardify.shards.record import require, require_names


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Files that are not taken, for one reason."""

    reason: str
    count: int
    example: str
    """The first of their paths, in alphabetical order; `PATH or PATH` if it is one of the two."""

    def __post_init__(self) -> None:
        require(self, str, "reason", "example")
        require(self, int, "count")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The account of everything below `source.videos`."""

    num_taken: int
    """Videos of the data set, including those that are rejected later."""
    left_out: tuple[LeftOut, ...] = ()
    empty_classes: tuple[str, ...] = ()
    """The classes without a video."""
    num_classes: int = 0
    notes: tuple[str, ...] = ()
    """Sentences about the source that the user should read."""

    def __post_init__(self) -> None:
        require(self, int, "num_taken", "num_classes")
        require_names(self, "empty_classes", "notes")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Seen:
        """Raises TypeError if the values are of another form."""
        left_out = tuple(LeftOut(**part) for part in values["left_out"])
        lists = {name: tuple(values[name]) for name in ("empty_classes", "notes")}
        return cls(**{**values, **lists, "left_out": left_out})


def tally(pairs: Iterable[tuple[str, str]]) -> tuple[LeftOut, ...]:
    """Count pairs of a reason and a path; the most frequent reason comes first."""
    return merged([LeftOut(reason=reason, count=1, example=path) for reason, path in pairs])


def merged(parts: Iterable[LeftOut]) -> tuple[LeftOut, ...]:
    """Add up what several places left out; the most frequent reason comes first."""
    counts: dict[str, int] = {}
    examples: dict[str, str] = {}
    for part in parts:
        counts[part.reason] = counts.get(part.reason, 0) + part.count
        examples[part.reason] = min(part.example, examples.get(part.reason, part.example))
    return tuple(
        LeftOut(reason=reason, count=counts[reason], example=examples[reason])
        for reason in sorted(counts, key=lambda reason: (-counts[reason], reason))
    )


def seen_lines(seen: Seen) -> list[str]:
    """The account in words, for people: a table of what was left out, and the classes without a video."""
    lines = []
    if seen.left_out:
        num_left_out = sum(part.count for part in seen.left_out)
        lines.append(f"of {seen.num_taken + num_left_out:,} files seen, {num_left_out:,} left out:")
        reasons = {part: f"{part.count:>7,}  {part.reason}" for part in seen.left_out}
        width = max(map(len, reasons.values()))
        lines += [f"{words:<{width}}  {_printable(part.example)}" for part, words in reasons.items()]
    if seen.empty_classes:
        named = _printable(first_names(seen.empty_classes))
        lines.append(f"no video of {len(seen.empty_classes)} of {seen.num_classes} classes: {named}")
    return [*lines, *map(_printable, seen.notes)]


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
