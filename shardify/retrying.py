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
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
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

_PASSING_STATUS = frozenset({408, 425, 429, *range(500, 600)}) - {501, 505, 507}
"""A request that the server does not know (501, 505) and its full disks (507) do not pass in minutes."""
_PASSING_CODES = ("RequestTimeout", "OperationAborted", "ConditionalRequestConflict")
"""S3's names for what may pass although its status is of the 4xx."""

_served = threading.Event()
"""Whether any request of this process has succeeded."""


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
        wait=lambda state: min(_pause(state), max(0.0, deadline - (state.seconds_since_start or 0.0))),
        retry=retry_if_exception(may_pass),
        before_sleep=lambda state: _count_retry(state, what, deadline),
        reraise=True,
    )
    try:
        result: Result = retrying(_counted, request)
    except FileNotFoundError as error:
        if any(word in str(error) for word in _NO_BUCKET):
            raise _described(error, what) from None
        raise FileNotFoundError(errno.ENOENT, "there is no such object", what) from None
    except (BaseError, OSError) as error:
        if may_pass(error):
            seconds = f"was tried again for {deadline:g} s ({RETRY_VARIABLE})" if deadline else "was not tried again"
            raise WorkError(
                f"{what}: {reason_of(error)}; it {seconds}; run the same command again to continue"
            ) from None
        raise _described(error, what) from None
    return result


def may_pass(error: BaseException) -> bool:
    """Whether the same request may go better later: outages, 5xx, throttling and cut connections; not 401, 403, 404."""
    if not isinstance(error, BaseError):
        return isinstance(error, (TimeoutError, ConnectionError))
    text, status = str(error), status_of(error)
    if any(place in text for place in _METADATA):
        # nobody there: no credentials; but somebody is there who is in trouble, or who gave some that are to be renewed
        return status in _PASSING_STATUS or (status is None and _served.is_set())
    if status in _PASSING_STATUS or any(f"<Code>{code}</Code>" in text for code in _PASSING_CODES):
        return True
    is_final = isinstance(error, (PermissionDeniedError, UnauthenticatedError, AlreadyExistsError))
    if is_final or any(word in text for words, _, _ in _HOPELESS for word in words):
        return False
    return type(error).__name__ == "GenericError" and status is None


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
        return f"the server cannot be reached{_cause_of(str(error))}"
    if "body error" in text or "decoding response" in text:
        return "the answer was cut off"
    return one_line(text)[:300]


def _cause_of(text: str) -> str:
    """Which server, and why, as far as the library's dump of its state tells."""
    host = re.search(r"performing [A-Z]+ (https?://[^/\s]+)", text)
    causes = ("Connection refused", "Connection reset", "Network is unreachable", "No route to host")
    cause = "its name is not known" if "dns error" in text else next((c.lower() for c in causes if c in text), "")
    named = ": ".join(part for part in (host[1] if host else "", cause) if part)
    return f" ({named})" if named else ""


def _counted(request: Callable[[], Result]) -> Result:
    count(Traffic(requests=1))
    result = request()
    _served.set()
    return result


_pause = wait_random_exponential(multiplier=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS)
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


_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with boto3 installed",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_PUBLIC = {"s3": "AWS_SKIP_SIGNATURE", "gs": "GOOGLE_SKIP_SIGNATURE", "az": "AZURE_SKIP_SIGNATURE"}
_METADATA = (
    "/latest/api/token",
    "/latest/meta-data/",
    "/computeMetadata/v1/",
    "/metadata/identity/",
    "//169.254.170.2",
)
"""Where clouds hand credentials to their own machines: EC2, Google, Azure; ECS and EKS, whose addresses begin so."""
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")

_HOPELESS: tuple[tuple[tuple[str, ...], type[UserFacingError], str], ...] = (
    (_NO_BUCKET, UsageError, "there is no such bucket; check the URL, or make the bucket"),
    (_METADATA, UsageError, "no credentials were found; set {credentials}, or {public}=true for a public bucket"),
    (
        ("Failed to read token file", "Failed to read EKS token file"),
        UsageError,
        "the credentials cannot be read ({reason}); check {credentials}",
    ),
    (
        ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidIdentityToken"),
        UsageError,
        "the credentials are no longer valid ({reason}); renew {credentials}",
    ),
    (("RequestTimeTooSkewed",), UsageError, "this machine's clock is wrong, which the server does not accept; set it"),
    (
        ("Received redirect without LOCATION", "AuthorizationHeaderMalformed"),
        UsageError,
        "the bucket is in another region; set AWS_REGION",
    ),
    (("code: 401", "code: 403"), UsageError, "access is denied ({reason}); {denied}"),
    (
        ("non-partial response", "Range request not supported"),
        WorkError,
        "the server does not answer ranged reads; copy the data to a folder or to another store",
    ),
    (("invalid peer certificate",), UsageError, "the server's certificate is not trusted; check the endpoint variable"),
    (
        ("InvalidContentType",),
        UsageError,
        "the server does not speak TLS; write the endpoint variable with http://, if it is the right server",
    ),
    (
        ("Encountered object with invalid path",),
        UsageError,
        "the key of an object there is no path ({reason}); rename it, or give a place below which there is none such",
    ),
    (
        ("builder error", "Got invalid list response", "Unable to extract metadata"),
        UsageError,
        "no object store answers there ({reason}); check the URL and the endpoint variable",
    ),
)
"""Words in the library's messages about failures that will not pass, and what they mean to the user."""


def _described(error: BaseException, what: str) -> UserFacingError:
    """A failure that will not pass, with what to do about it."""
    scheme = what.partition("://")[0]
    credentials = _CREDENTIALS.get(scheme)
    denied = f"check the credentials ({credentials}) and what they may do there"
    if credentials is None:
        denied = f"what lies at {scheme}:// must be readable without credentials"
    for words, kind, meaning in _HOPELESS:
        if any(word in str(error) for word in words):
            text = meaning.format(
                reason=reason_of(error), credentials=credentials, denied=denied, public=_PUBLIC.get(scheme)
            )
            return kind(f"{what}: {text}")
    return WorkError(f"{what}: {reason_of(error)}")
