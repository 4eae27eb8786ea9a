"""Simulates processes that share a folder, with threads or nested calls that take turns at each access."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from shardify.storage.folder_store import FolderStore

ACCESSES = ("read", "sizes", "size", "exists", "create", "write", "write_file", "delete")
"""Methods at which another process may take its turn."""


class KilledError(BaseException):
    """Ends a simulated process as a signal would; nobody handles it."""


def _around_accesses(patch: pytest.MonkeyPatch, before: Callable[[], None]) -> None:
    def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            before()
            return method(*args)

        return call

    for name in ACCESSES:
        patch.setattr(FolderStore, name, wrap(getattr(FolderStore, name)))


def interrupt(act: Callable[[], object], other: Callable[[], object], at: int, killed_at: int | None) -> int:
    """Run an act, and another one in the middle of it.

    Args:
        act: done by this thread.
        other: done to its end before the access of number `at`, counted from 1.
        at: after the last access, `other` is not done.
        killed_at: the access before which `act` is killed.

    Returns:
        The number of accesses of `act`.
    """
    thread, count, is_inside = threading.get_ident(), 0, False

    def before() -> None:
        nonlocal count, is_inside
        if threading.get_ident() != thread or is_inside:
            return
        count += 1
        if count == at:
            is_inside = True
            other()
            is_inside = False
        if count == killed_at:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        _around_accesses(patch, before)
        with suppress(KilledError):
            act()
    return count


def interleave(acts: Sequence[Callable[[], object]], seed: int) -> None:
    """Run acts in threads, one at a time up to its next access; the same seed gives the same turns."""
    draw, changed, start = random.Random(seed), threading.Condition(), threading.Barrier(len(acts))
    alive: dict[int, int] = {}
    waiting: set[int] = set()
    chosen: list[int] = []

    def choose() -> None:
        if alive and not chosen and len(waiting) == len(alive):
            chosen.append(draw.choice(sorted(waiting)))
            changed.notify_all()

    def before() -> None:
        number = alive.get(threading.get_ident())
        if number is None:  # a thread of one of them, which waits for it
            return
        with changed:
            waiting.add(number)
            choose()
            assert changed.wait_for(lambda: chosen == [number], timeout=60)
            chosen.clear()
            waiting.remove(number)

    def live(number: int) -> None:
        alive[threading.get_ident()] = number
        start.wait()
        try:
            acts[number]()
        finally:
            with changed:
                del alive[threading.get_ident()]
                choose()

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(acts)) as pool:
        _around_accesses(patch, before)
        for future in [pool.submit(live, number) for number in range(len(acts))]:
            future.result()
