"""Trying again: what may pass is repeated with growing, random pauses up to a deadline; what will not pass is not.

In: a request to an object store. Out: its result, or a UserFacingError that says what was asked of whom, how long it
was tried, and what to do.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import click
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from shardify.errors import UsageError, UserFacingError, WorkError, one_line
from shardify.traffic import Traffic, count

Result = TypeVar("Result")

RETRY_VARIABLE = "TEMPORAL_SSL_RETRY_SECONDS"
DEFAULT_RETRY_SECONDS = 180.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 15.0
NOTICE_SECONDS = 5.0
"""A request that has been failing for so long is told of, at most once in NOTICE_EVERY_SECONDS in each process."""
NOTICE_EVERY_SECONDS = 30.0

_PASSING_STATUS = frozenset({408, 425, 429})


def retry_seconds() -> float:
    """How long a failing request is repeated, from the environment.

    Raises:
        UsageError: if the variable holds no number of at least 0.
    """
    text = os.environ.get(RETRY_VARIABLE, str(DEFAULT_RETRY_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{RETRY_VARIABLE}={text}: give a number of seconds, such as 180, or 0 for no second try")
    return seconds


def persistently(request: Callable[[], Result], *, what: str) -> Result:
    """Send a request until it succeeds, fails for good, or the deadline has passed; counts every try.

    Args:
        request: sends it once.
        what: the URL, for messages.

    Raises:
        FileNotFoundError: if there is no such object.
        UsageError: if access is denied, the bucket does not exist, or the place cannot be reached as it is set up.
        WorkError: for any other failure, after the deadline if it may pass.
    """
    deadline = retry_seconds()
    retrying = Retrying(
        stop=stop_after_delay(deadline),
        wait=wait_random_exponential(multiplier=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS),
        retry=retry_if_exception(may_pass),
        before_sleep=lambda state: _count_retry(state, what, deadline),
        reraise=True,
    )
    try:
        result: Result = retrying(_counted, request)
    except FileNotFoundError as error:
        if any(word in str(error) for word in _HOPELESS[0][0]):
            raise _described(error, what) from None
        raise FileNotFoundError(errno.ENOENT, "there is no such object", what) from None
    except (BaseError, OSError) as error:
        if may_pass(error):
            seconds = f"was tried again for {deadline:.0f} s ({RETRY_VARIABLE})" if deadline else "was not tried again"
            raise WorkError(
                f"{what}: {reason_of(error)}; it {seconds}; run the same command again to continue"
            ) from None
        raise _described(error, what) from None
    return result


def may_pass(error: BaseException) -> bool:
    """Whether the same request may go better later: outages, 5xx, throttling and cut connections; not 401, 403, 404."""
    if isinstance(error, (FileNotFoundError, PermissionDeniedError, UnauthenticatedError)):
        return False
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    if not isinstance(error, BaseError) or any(word in str(error) for words, _, _ in _HOPELESS for word in words):
        return False
    status = status_of(error)
    if status is None:
        return "error" in str(error).lower() and type(error).__name__ == "GenericError"
    return status >= 500 or status in _PASSING_STATUS


def status_of(error: BaseException) -> int | None:
    """The HTTP status in an error's words, None if no answer came."""
    match = re.search(r"status code: (\d{3})", str(error))
    return int(match[1]) if match else None


def reason_of(error: BaseException) -> str:
    """What happened, in few words, without the library's own dump of its state."""
    text = str(error).partition("Debug source")[0]
    status = re.search(r"status code: (\d{3}[^:<]*)(.*?<Code>(\w+)</Code>)?", text, re.DOTALL)
    if status:
        return one_line(f"the server answered {status[1]} {f'({status[3]})' if status[3] else ''}")
    if "error sending request" in text:
        return "the server cannot be reached"
    if "body error" in text or "decoding response" in text:
        return "the answer was cut off"
    return one_line(text)[:300]


def _counted(request: Callable[[], Result]) -> Result:
    count(Traffic(requests=1))
    return request()


_noticed = -NOTICE_EVERY_SECONDS
_notice_lock = threading.Lock()


def _count_retry(state: RetryCallState, what: str, deadline: float) -> None:
    global _noticed  # noqa: PLW0603 - many threads meet one outage, one of them tells of it
    count(Traffic(retries=1))
    waited = state.seconds_since_start or 0.0
    if waited < NOTICE_SECONDS or state.outcome is None:
        return
    with _notice_lock:
        now = time.monotonic()
        if now - _noticed < NOTICE_EVERY_SECONDS:
            return
        _noticed = now
    error = state.outcome.exception()
    assert error is not None
    click.echo(f"{what}: {reason_of(error)}; trying again for up to {deadline - waited:.0f} s more", err=True)


_CREDENTIALS = (
    "check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with boto3 installed; "
    "GOOGLE_APPLICATION_CREDENTIALS; AZURE_STORAGE_ACCOUNT_NAME and a key) and what they may do there"
)

_HOPELESS: tuple[tuple[tuple[str, ...], type[UserFacingError], str], ...] = (
    (("NoSuchBucket", "ContainerNotFound"), UsageError, "there is no such bucket; check the URL, or make the bucket"),
    (("169.254.169.254", "metadata.google.internal"), UsageError, f"no credentials were found; {_CREDENTIALS}"),
    (("code: 401", "code: 403"), UsageError, f"access is denied ({{reason}}); {_CREDENTIALS}"),
    (("Account must be specified",), UsageError, "name the storage account in AZURE_STORAGE_ACCOUNT_NAME"),
    (("builder error",), UsageError, "no request could be made; check the URL and the endpoint variable"),
    (("Received redirect without LOCATION",), UsageError, "the bucket is in another region; set AWS_REGION"),
    (
        ("non-partial response", "Range request not supported"),
        WorkError,
        "the server does not answer ranged reads; copy the data to a folder or to another store",
    ),
    (("invalid peer certificate",), UsageError, "the server's certificate is not trusted; check the endpoint variable"),
)
"""Words in the library's messages about failures that will not pass, and what they mean to the user."""


def _described(error: BaseException, what: str) -> UserFacingError:
    """A failure that will not pass, with what to do about it."""
    for words, kind, meaning in _HOPELESS:
        if any(word in str(error) for word in words):
            return kind(f"{what}: {meaning.format(reason=reason_of(error))}")
    return WorkError(f"{what}: {reason_of(error)}")
