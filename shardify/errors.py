"""The two ways a command may fail, and the exit codes they carry."""

from __future__ import annotations


class UserFacingError(Exception):
    """An error whose message is written for the person at the keyboard; shown as one line, without a traceback."""

    exit_code = 1


class WorkError(UserFacingError):
    """The request was fine but the work failed (exit code 1): a damaged shard, a full disk, too many rejects."""

    exit_code = 1


class UsageError(UserFacingError):
    """The request itself is wrong (exit code 2): an unknown key, a missing folder, settings that contradict."""

    exit_code = 2
