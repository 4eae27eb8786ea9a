"""Part i of n of a build: for arrays of jobs that share nothing but the place they write to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from shardify.errors import UsageError

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Every n-th of the planned tasks, beginning with the i-th."""

    number: int
    """From 1 to `count`."""
    count: int

    def of(self, planned: Sequence[Item]) -> Sequence[Item]:
        """This part's share; the shares of all parts are disjoint and together everything."""
        return planned[self.number - 1 :: self.count]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_part(text: str) -> Part:
    """`3/16` -> the third of sixteen parts.

    Raises:
        UsageError: if it is not two whole numbers i/n with 1 <= i <= n.
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
    if match and 1 <= int(match[1]) <= int(match[2]):
        return Part(number=int(match[1]), count=int(match[2]))
    raise UsageError(f"part {text!r}: write it as i/n with i from 1 to n, for example 3/16 for the third of 16 parts")
