"""The errors of all packages, and how a command ends with each.

    UserFacingError                 shown as one line, without a traceback
        UsageError                  exit code 2: the request is wrong: an unknown key, a missing folder or bucket
            NoColumnError           (shardify.catalogs.files) a CSV list without the columns of its kind
        WorkError                   exit code 1: the request is right, but the work failed: a full disk, an outage
            DamageError             bytes fail their checksum, or are no JPEG; another read or sample may be good
            ReplacedError           an object in a bucket was replaced while it was read in pieces
            UnfinishedError         a data set is not whole yet; others may be building it
            DamagedCheckpointError  (stream_train.training.checkpoint) a checkpoint that cannot be read
    KeyboardInterrupt               exit code 130: Ctrl-C
        Terminated                  (shardify.process) exit code 75: SIGTERM or SIGUSR1; the same command continues
    SystemExit
        Stopped                     (stream_train.training.preemption) the work is saved; exit 75, or 130 after Ctrl-C

Errors that the code catches itself; no user sees them:

    VideoError                      (shardify.frames.decoding) a video that gives no frames; becomes a ledger line
    ArchiveDamageError              (shardify.build.archives.reading) an archive that cannot be read further
    CacheFullError                  (stream_train.data.shard_cache) no room for a shard; it is read in ranges instead
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

ADVICE = {
    errno.ENOSPC: "free some space, or give another folder, and run the same command again",
    errno.EDQUOT: "free some of your quota, or give another folder, and run the same command again",
    errno.EROFS: "give a folder that can be written",
    errno.EACCES: "change its permissions, or give another place",
    errno.EPERM: "change its permissions, or give another place",
    errno.EMFILE: "raise the limit of open files (ulimit -n 4096), or use fewer workers",
    errno.ENFILE: "the whole machine has too many open files; end other programs, or use fewer workers",
    errno.ENOMEM: "there is too little memory; use fewer workers or smaller batches",
    errno.EAGAIN: "the limit of processes or threads is reached (ulimit -u); use fewer workers",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.ELOOP: "a link there leads to itself",
    errno.EIO: "the disk or the network mount failed; look at its log, and run the same command again",
    errno.ESTALE: "the network mount has changed; mount it again, and run the same command again",
}
"""What to do about the system's errors."""


class UserFacingError(Exception):
    """An error whose message is written for users."""

    exit_code = 1


class WorkError(UserFacingError):
    """The request is right, but the work failed."""


class DamageError(WorkError):
    """Bytes do not match their checksum, or are no JPEG."""


class ReplacedError(WorkError):
    """An object was replaced while it was read in pieces."""


class UnfinishedError(WorkError):
    """A data set is not whole yet."""

    def __init__(self, text: str, *, num_missing: int) -> None:
        super().__init__(text)
        self.num_missing = num_missing
        """Shards, or windows of archives, that are still to be written."""


class UsageError(UserFacingError):
    """The request is wrong."""

    exit_code = 2


def counted(number: int, noun: str) -> str:
    """`1 shard`, `1,200 shards`: for nouns whose plural ends in s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def first_names(names: Sequence[object], count: int = 10) -> str:
    """Names for a line: all, or the first ones and three dots."""
    return ", ".join(map(str, names[:count])) + (" ..." if names[count:] else "")


def one_line(text: object) -> str:
    """Text of another program as one line: each run of spaces and line breaks becomes one space."""
    return " ".join(str(text).split())


def system_error(error: OSError) -> str:
    """An error of the system with its place and what to do about it."""
    where = f"{error.filename}: " if error.filename else ""
    advice = f"; {ADVICE[error.errno]}" if error.errno in ADVICE else ""
    return f"{where}{error.strerror or error}{advice}"
