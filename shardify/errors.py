"""The two ways a command may fail, the exit codes they carry, and messages that are one line."""

from __future__ import annotations


class UserFacingError(Exception):
    """An error whose message is written for the person at the keyboard; shown as one line, without a traceback."""

    exit_code = 1


class WorkError(UserFacingError):
    """The request was fine but the work failed (exit code 1): a damaged shard, a full disk, too many rejects."""

    exit_code = 1


class DamageError(WorkError):
    """Bytes that were read do not match their checksum: another read, or another sample, may do."""


class UnfinishedError(WorkError):
    """A data set is not whole yet: others may be at it, or it is to be built again."""

    def __init__(self, text: str, *, num_missing: int) -> None:
        super().__init__(text)
        self.num_missing = num_missing
        """Shards, or windows of archives, that are to be written."""


class UsageError(UserFacingError):
    """The request itself is wrong (exit code 2): an unknown key, a missing folder, settings that contradict."""

    exit_code = 2


def counted(number: int, noun: str) -> str:
    """`1 shard`, `1,200 shards`: for nouns whose plural ends in s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def one_line(text: object) -> str:
    """Foreign words (an exception's, a tool's) with their line breaks and runs of spaces as single spaces."""
    return " ".join(str(text).split())
