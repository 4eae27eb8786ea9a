"""One writer at a time in a folder.

In: a store that is about to be written. Out: a lock that ends with the process at the latest.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from shardify.errors import WorkError, one_line
from shardify.storage.folder_store import FolderStore
from shardify.storage.store import Store

LOCK_NAME = ".lock"


@contextmanager
def exclusive(store: Store, *, doing: str, together: bool = False) -> Iterator[None]:
    """Keep a second writer out of a folder, and clear away what dead ones left.

    Object stores have no locks, and builds do without: what they write is whole and the same whoever writes it.

    Args:
        store: where this process is about to write; the lock ends with the process at the latest.
        doing: what it does there, for the message that the second writer gets: "building", "training".
        together: let in others that say so too, which never write the same objects; nothing is cleared away.

    Raises:
        WorkError: if another process holds the lock.
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
                f"{store.location}: its file system has no locks ({error.strerror}); two processes that are {doing} "
                "there would spoil each other's work, start one only",
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
    """`process 1234 on host`: where another process finds this one."""
    return f"process {os.getpid()} on {socket.gethostname()}"
