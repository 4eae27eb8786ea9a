"""Requests to object stores. A failure that may pass is retried, with growing, random pauses, up to a deadline.

In: a request. Out: its result, or a UserFacingError with the failure, the time of the retries, and advice.
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
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from shardify.errors import UsageError, UserFacingError, WorkError, one_line
from shardify.storage.clouds import CLOUDS, advice_on_endpoint, asked_owner
from shardify.storage.traffic import Traffic, count

Result = TypeVar("Result")

RETRY_VARIABLE = "TEMPORAL_SSL_RETRY_SECONDS"
DEFAULT_RETRY_SECONDS = 180.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 15.0
PING_SECONDS = 15.0
"""How long to retry a store that has never answered; usually its address is misspelt."""
NOTICE_SECONDS = 5.0
"""A request that has failed for this long is reported; each process reports once in NOTICE_EVERY_SECONDS."""
NOTICE_EVERY_SECONDS = 30.0

_PASSING_STATUS = frozenset({408, 425, 429, *range(500, 600)}) - {501, 505, 507}
"""Statuses that may pass. 501 and 505 (unknown request) and 507 (the server's full disk) do not pass."""
_PASSING_CODES = ("RequestTimeout", "OperationAborted", "ConditionalRequestConflict")
"""S3's codes that may pass although their status is 4xx."""


def retry_seconds() -> float:
    """How long to retry a failing request, from the environment; UsageError unless that is a number of at least 0."""
    text = os.environ.get(RETRY_VARIABLE, str(DEFAULT_RETRY_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{RETRY_VARIABLE}={text}: give a number of seconds, such as 180, or 0 for no second try")
    return seconds


def with_retries(request: Callable[[], Result], *, what: str) -> Result:
    """Retry a request until it succeeds, fails for good, or the deadline is over; counts every try.

    `request` sends it once; `what` is the URL, for messages.

    Raises:
        FileNotFoundError: if there is no such object.
        UsageError: if access is denied, the bucket does not exist, or the settings of the store are wrong.
        WorkError: for any other failure; if it may pass, only after the deadline.
    """
    seconds = retry_seconds()
    try:
        return _send(request, what, seconds, may_pass)
    except FileNotFoundError as error:
        if any(word in str(error) for word in _NO_BUCKET):
            raise _described(error, what) from None
        raise FileNotFoundError(errno.ENOENT, "there is no such object", what) from None
    except (BaseError, OSError) as error:
        raise (_given_up(error, what, seconds) if may_pass(error) else _described(error, what)) from None


def ping(request: Callable[[], object], *, what: str) -> None:
    """Send a store its first request; any answer is good, even "access denied".

    Raises UsageError if the machine has no credentials, WorkError if there is no answer within PING_SECONDS.
    """
    seconds = min(PING_SECONDS, retry_seconds())
    try:
        _send(request, what, seconds, lambda error: _no_answer(error) and may_pass(error))
    except (BaseError, OSError) as error:
        if _no_credentials(error):
            raise _described(error, what) from None
        if _no_answer(error) and may_pass(error):
            raise _given_up(error, what, seconds, never_answered=True) from None


def _send(
    request: Callable[[], Result], what: str, seconds: float, is_retried: Callable[[BaseException], bool]
) -> Result:
    """Raises the last try's error."""

    def counted() -> Result:
        count(Traffic(requests=1))
        return request()

    retrying = Retrying(
        stop=lambda state: _waited(state) >= seconds,
        wait=lambda state: min(_pause(state), max(0.0, seconds - _waited(state))),
        retry=retry_if_exception(is_retried),
        before_sleep=lambda state: _note_retry(state, what, seconds),
        reraise=True,
    )
    result: Result = retrying(counted)
    return result


def may_pass(error: BaseException) -> bool:
    """Whether the request may succeed later: after outages, 5xx, throttling, cut connections; not 401, 403, 404."""
    if not isinstance(error, BaseError):
        return isinstance(error, (TimeoutError, ConnectionError))
    text, status = str(error), status_of(error)
    if _is_about_credentials(error):  # the machine could not renew its credentials
        return status is None or status in _PASSING_STATUS
    if status in _PASSING_STATUS or any(f"<Code>{code}</Code>" in text for code in _PASSING_CODES):
        return True
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError, AlreadyExistsError)):
        return False
    is_final = any(word in text for words, _ in _MEANINGS for word in words) or any(word in text for word in _FINAL)
    return type(error).__name__ == "GenericError" and status is None and not is_final


def status_of(error: BaseException) -> int | None:
    """The HTTP status in an error's text; None if there was no answer."""
    match = re.search(r"status code: (\d{3})", str(error))
    return int(match[1]) if match else None


def reason_of(error: BaseException) -> str:
    """The failure in a few words, without the library's dump of its state."""
    text = str(error).partition("Debug source")[0]
    status = re.search(r"status code: (\d{3}[^:<]*)(.*?<Code>(\w+)</Code>)?", text, re.DOTALL)
    if status:
        return one_line(f"the server answered {status[1]} {f'({status[3]})' if status[3] else ''}")
    if "error sending request" in text:
        host = re.search(r"performing [A-Z]+ (https?://[^/\s]+)", str(error))
        cause = next((cause for word, cause in _CAUSES.items() if word in str(error)), "")
        named = ": ".join(part for part in (host[1] if host else "", cause) if part)
        return "the server cannot be reached" + (f" ({named})" if named else "")
    if "body error" in text or "decoding response" in text:
        return "the answer was cut off"
    return one_line(text)[:300]


def _is_about_credentials(error: BaseException) -> bool:
    """Whether the service that gives credentials to a cloud's machines failed, not the store."""
    return any(address in str(error) for address in _METADATA)


def _no_credentials(error: BaseException) -> bool:
    return _is_about_credentials(error) and status_of(error) is None


def _no_connection(error: BaseException) -> bool:
    """Whether a store refused the connection or never made it, or has an unknown host name."""
    text = str(error)
    is_connect = "error sending request" in text and re.search(r"Error\(\s*Connect,", text) is not None
    return is_connect and not _is_about_credentials(error)


def _no_answer(error: BaseException) -> bool:
    """Whether there is no connection, or a store took the request and stayed silent until the client's limit."""
    is_silent = _SILENT in str(error) and not _is_about_credentials(error)
    return is_silent or _no_connection(error)


def _given_up(error: BaseException, what: str, seconds: float, *, never_answered: bool = False) -> UserFacingError:
    """The error for a failure that was retried until the deadline."""
    tried = f"it was retried for {seconds:g} s ({RETRY_VARIABLE})" if seconds else "it was not retried"
    advice = "run the same command again to continue"
    if never_answered or _no_connection(error):
        advice = f"{advice_on_endpoint(what.partition('://')[0])}, then {advice}"
    return WorkError(f"{what}: {reason_of(error)}; {tried}; {advice}")


def _waited(state: RetryCallState) -> float:
    return state.seconds_since_start or 0.0


_pause = wait_random_exponential(multiplier=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS)
_noticed = -NOTICE_EVERY_SECONDS
_notice_lock = threading.Lock()


def _note_retry(state: RetryCallState, what: str, seconds: float) -> None:
    global _noticed  # noqa: PLW0603 - of the many threads in one outage, only one reports it
    count(Traffic(retries=1))
    error = state.outcome.exception() if state.outcome else None
    if error is None or _waited(state) < NOTICE_SECONDS:
        return
    with _notice_lock:
        now = time.monotonic()
        if now - _noticed < NOTICE_EVERY_SECONDS:
            return
        _noticed = now
    click.echo(f"{what}: {reason_of(error)}; retrying for up to {seconds - _waited(state):.0f} s more", err=True)


_METADATA = (
    "/latest/api/token",
    "/latest/meta-data/",
    "/computeMetadata/v1/",
    "/metadata/identity/",
    "//169.254.170.2",
)
"""Where clouds give credentials to their machines: paths of EC2, Google and Azure, start of ECS and EKS addresses."""
_SILENT = "kind: Timeout"
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_CAUSES = {
    "dns error": "its name is not known",
    "invalid peer certificate": "its certificate is not trusted",
    "InvalidContentType": "it does not speak TLS; write the address with http://",
    "Connection refused": "connection refused",
    "Connection reset": "connection reset",
    "Network is unreachable": "network is unreachable",
    "No route to host": "no route to host",
    _SILENT: "it does not answer",
}
"""Why a server cannot be reached: words in the library's dump -> words for the user."""
_FINAL = ("Failed to read", "non-partial response", "Range request not supported", "object with invalid path")
"""Failures without a status that do not pass; the library's own words explain them."""
_MEANINGS: tuple[tuple[tuple[str, ...], str], ...] = (
    (_NO_BUCKET, "there is no such bucket{asked}; check the URL, or make the bucket"),
    (_METADATA, "no credentials were found; set {credentials}, or {public}=true for a public bucket"),
    (
        ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidIdentityToken"),
        "the credentials are no longer valid ({reason}); renew {credentials}",
    ),
    (
        ("Received redirect without LOCATION", "AuthorizationHeaderMalformed"),
        "the bucket is in another region; set AWS_REGION",
    ),
    (("code: 401", "code: 403"), "access is denied ({reason}{asked}); {denied}"),
    (
        (
            "invalid peer certificate",
            "InvalidContentType",
            "builder error",
            "Got invalid list response",
            "Unable to extract metadata",
        ),
        "no object store answers there ({reason}); check the URL and the endpoint variable",
    ),
)
"""The library's words for mistakes in the request, and their explanation for the user."""


def _described(error: BaseException, what: str) -> UserFacingError:
    """The error for a failure that does not pass, with advice."""
    scheme = what.partition("://")[0]
    cloud = CLOUDS.get(scheme)
    asked = f"; {asked_owner(scheme)}" if asked_owner(scheme) else ""
    denied = f"objects at {scheme}:// must be readable without credentials"
    if cloud is not None:
        denied = f"check the credentials ({cloud.credentials}) and their permissions"
    for words, meaning in _MEANINGS:
        if any(word in str(error) for word in words):
            text = meaning.format(
                reason=reason_of(error),
                credentials=cloud.credentials if cloud else "",
                public=cloud.public if cloud else "",
                denied=denied,
                asked=asked,
            )
            return UsageError(f"{what}: {text}")
    return WorkError(f"{what}: {reason_of(error)}")
