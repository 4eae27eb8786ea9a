"""One writer at a time in a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from shardify.errors import WorkError, one_line
from shardify.storage.folder_store import FolderStore, can_sync
from shardify.storage.store import Store

LOCK_NAME = ".lock"


@contextmanager
def locked(store: Store, *, doing: str, together: bool = False) -> Iterator[None]:
    """Keep a second writer out of a folder, and delete the temporary files of killed writers.

    Object stores have no locks. Builds do not need them: all writers write whole objects with the same content. The
    lock ends with the process at the latest. `together` shares it with other `together` processes, which write other
    objects; then nothing is deleted. `doing` is the work, for the second writer's message: "building", "training".

    Raises WorkError if another process holds the lock.
    """
    if not isinstance(store, FolderStore):
        yield
        return
    with (store.path / LOCK_NAME).open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if together else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                lock.seek(0)
                holder = one_line(lock.read())
                raise WorkError(
                    f"another process{holder and f' ({holder})'} is {doing} in {store.location}; wait for it, stop it, "
                    "or give another out"
                ) from None
            click.echo(
                f"{store.location}: its file system has no locks ({error.strerror}); start only one process that is "
                f"{doing} there",
                err=True,
            )
        if not can_sync(store.path):
            click.echo(
                f"warning: {store.location}: its file system cannot sync folders; if the machine fails, check "
                "the newest files there",
                err=True,
            )
        with suppress(OSError):  # a full disk
            lock.truncate(0)
            lock.write(f"{'the last to begin: ' if together else ''}{this_process()}")
            lock.flush()
        if together:
            yield
            return
        store.remove_leftovers()
        try:
            yield
        finally:
            store.remove_leftovers()


def this_process() -> str:
    """`process 1234 on host`, to find this process."""
    return f"process {os.getpid()} on {socket.gethostname()}"
