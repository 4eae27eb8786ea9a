"""Hostile input: seeded mutations of good files, and a guard that sees what this process does with them."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

HANG_SECONDS = 120
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, -(2**70), 1e308, float("nan"), 0.5, "", "0", "~", "..", "a\0b", "\ud800"),
    *(
        "x" * 5000,
        "../../outside",
        "/tmp/outside",
        "file:///etc/passwd",
        "${HOME}",
        "!!python/name:os.system",
        "\u202e",
    ),
    *([], {}, [[]], [None], {"": None}, [[[[[[1]]]]]], ["a", 1, None], {"kind": "none"}),
)
ODD_BYTES = (
    b"\0",
    b"\xff" * 4,
    b"\n",
    b",",
    b'"',
    b"'",
    b": ",
    b"[" * 3000,
    b"{" * 3000,
    b"- ",
    b"&a *a",
    b"../",
    b"\xef\xbb\xbf",
    b"9" * 5000,
)

Mutate = Callable[[bytes, random.Random], bytes]


class Hang(BaseException):
    """A command did not end; nothing catches it."""


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """A few changes: bits, bytes, pieces lost, doubled, moved or put in, or the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place, length = rng.randrange(len(changed) + 1), rng.choice((1, 2, 4, 8, 64, 512, 4096))
        match rng.randrange(7):
            case 0 if changed:
                changed[place % len(changed)] ^= 1 << rng.randrange(8)
            case 1:
                changed[place : place + length] = rng.randbytes(length)
            case 2:
                del changed[place : place + length]
            case 3:
                changed[place:place] = changed[place : place + length]
            case 4:
                changed[place:place] = rng.choice(ODD_BYTES)
            case 5:
                number = rng.choice((0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63, 2**64 - 1))
                changed[place : place + 8] = number.to_bytes(8, rng.choice(("big", "little")))
            case _:
                del changed[place if rng.random() < 0.3 else len(changed) :]
    return bytes(changed)


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Mostly other values, keys or lengths in a JSON text; else other bytes."""
    if rng.random() < 0.2:
        return mutate_bytes(data, rng)
    values = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        values = _mutate_value(values, rng)
    return json.dumps(values).encode()


def _mutate_value(value: Any, rng: random.Random) -> Any:
    """The same with one part changed, at any depth."""
    if isinstance(value, int) and rng.random() < 0.4:
        return value + rng.choice((-1, 1, 1000, -(10**12), 10**12))
    if not value or not isinstance(value, (dict, list)) or rng.random() < 0.1:
        return rng.choice(ODD_VALUES)
    changed: Any = value.copy()
    place = rng.choice(sorted(value)) if isinstance(value, dict) else rng.randrange(len(value))
    match rng.randrange(8):
        case 0:
            del changed[place]
        case 1 if isinstance(value, dict):
            changed[rng.choice(("", "x", "kind", "../x", f"{place} "))] = rng.choice(ODD_VALUES)
        case 1:
            changed.append(value[place])
        case _:
            changed[place] = _mutate_value(value[place], rng)
    return changed


class Guard:
    """Notes what this process must not do: load a pickle, or write outside some folders."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._allowed: tuple[str, ...] | None = None
        sys.addaudithook(self._hook)  # cannot be taken back; it does nothing between watches

    @contextmanager
    def watching(self, *allowed: Path) -> Iterator[None]:
        """Raises AssertionError at the end if something was seen, Hang after HANG_SECONDS."""
        self.seen.clear()
        before = signal.signal(signal.SIGALRM, _hang)
        signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
        self._allowed = tuple(os.path.realpath(folder) for folder in allowed)
        try:
            yield
        finally:
            self._allowed = None
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        if self.seen:
            raise AssertionError("; ".join(self.seen))

    def _hook(self, event: str, arguments: Sequence[Any]) -> None:
        if self._allowed is None:
            return
        if event == "pickle.find_class":
            self.seen.append(f"pickle of {arguments}")
        elif event == "open":
            flags = arguments[2] if isinstance(arguments[2], int) else 0
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self._check(event, arguments[0])
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.rename"):
            for place in arguments[:2]:
                self._check(event, place)
        elif event in ("os.symlink", "os.link"):  # their first argument stays as it is
            self._check(event, arguments[1])
        elif event in ("os.system", "os.exec", "socket.connect"):
            self.seen.append(f"{event} {arguments}")

    def _check(self, event: str, place: object) -> None:
        if not isinstance(place, (str, bytes, os.PathLike)):
            return
        path = os.path.realpath(os.fsdecode(place))
        assert self._allowed is not None
        if path != os.devnull and not any(os.path.commonpath((path, folder)) == folder for folder in self._allowed):
            self.seen.append(f"{event} {path}")


def _hang(_: int, __: FrameType | None) -> None:
    raise Hang
