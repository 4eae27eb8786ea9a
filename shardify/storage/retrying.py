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
from multiprocessing import parent_process
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
FIRST_CONTACT_SECONDS = 15.0
"""So long at most a store is tried to which no connection comes about, and which has not answered this process before:
mostly its address is misspelt, and whoever started the command is waiting."""
NOTICE_SECONDS = 5.0
"""A request that has been failing for so long is told of, at most once in NOTICE_EVERY_SECONDS in each process."""
NOTICE_EVERY_SECONDS = 30.0

_PASSING_STATUS = frozenset({408, 425, 429, *range(500, 600)}) - {501, 505, 507}
"""A request that the server does not know (501, 505) and its full disks (507) do not pass in minutes."""
_PASSING_CODES = ("RequestTimeout", "OperationAborted", "ConditionalRequestConflict")
"""S3's names for what may pass although its status is of the 4xx."""

_served = threading.Event()
"""Whether any request of this process has succeeded."""
_answering: set[str] = set()
"""The stores (`scheme://bucket`) of which this process has had an answer, whatever it was."""
_others_were_answered = threading.Event()


def trust_addresses() -> None:
    """Take it from the process that gave this one its work that the stores are where they are said to be.

    For processes that others start in the middle of the work, maybe of an outage; those of `multiprocessing` need not
    say it.
    """
    _others_were_answered.set()


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
    longest, store = retry_seconds(), _store_of(what)

    def deadline(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return _deadline(error, store, longest) if error else longest

    retrying = Retrying(
        stop=lambda state: _waited(state) >= deadline(state),
        wait=lambda state: min(_pause(state), max(0.0, deadline(state) - _waited(state))),
        retry=retry_if_exception(may_pass),
        before_sleep=lambda state: _count_retry(state, what, deadline(state)),
        reraise=True,
    )
    try:
        result: Result = retrying(_counted, request, store)
    except FileNotFoundError as error:
        if any(word in str(error) for word in _NO_BUCKET):
            raise _described(error, what) from None
        raise FileNotFoundError(errno.ENOENT, "there is no such object", what) from None
    except (BaseError, OSError) as error:
        if may_pass(error):
            raise _given_up(error, what, _deadline(error, store, longest), longest) from None
        raise _described(error, what) from None
    return result


def may_pass(error: BaseException) -> bool:
    """Whether the same request may go better later: outages, 5xx, throttling and cut connections; not 401, 403, 404."""
    if not isinstance(error, BaseError):
        return isinstance(error, (TimeoutError, ConnectionError))
    text, status = str(error), status_of(error)
    if _is_of_metadata(error):
        # nobody there: no credentials; but somebody is there who is in trouble, or who gave some that are to be renewed
        return status in _PASSING_STATUS or (status is None and _served.is_set())
    if status in _PASSING_STATUS or any(f"<Code>{code}</Code>" in text for code in _PASSING_CODES):
        return True
    is_final = isinstance(error, (PermissionDeniedError, UnauthenticatedError, AlreadyExistsError))
    if is_final or any(word in text for words, _, _ in _HOPELESS for word in words):
        return False
    return type(error).__name__ == "GenericError" and status is None


def _is_of_metadata(error: BaseException) -> bool:
    """Whether it was not the store that failed, but who gives credentials out."""
    return any(place in str(error) for place in _METADATA)


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


def _counted(request: Callable[[], Result], store: str) -> Result:
    count(Traffic(requests=1))
    try:
        result = request()
    except FileNotFoundError:
        _answering.add(store)
        raise
    except BaseError as error:
        if status_of(error) is not None and not _is_of_metadata(error):
            _answering.add(store)
        raise
    _served.set()
    _answering.add(store)
    return result


def _store_of(what: str) -> str:
    """Of a URL, what tells one store from another."""
    return "/".join(what.split("/")[:3])


def _deadline(error: BaseException, store: str, longest: float) -> float:
    """How long a request is repeated that has failed in this way, in seconds."""
    is_new = store not in _answering and not _others_were_answered.is_set() and parent_process() is None
    return min(FIRST_CONTACT_SECONDS, longest) if is_new and _met_nobody(error) else longest


def _met_nobody(error: BaseException) -> bool:
    """Whether no connection to a store came about: refused, not answered, or its host's name is not known."""
    text = str(error)
    return "error sending request" in text and re.search(r"Error\(\s*Connect,", text) is not None


def _given_up(error: BaseException, what: str, deadline: float, longest: float) -> WorkError:
    """What is said of a failure that might have passed, and has not."""
    tried = f"it was tried again for {deadline:g} s" if deadline else "it was not tried again"
    tried += f" ({RETRY_VARIABLE})" if 0 < deadline == longest else ""
    advice = "run the same command again to continue"
    if _met_nobody(error) and _store_of(what) not in _answering:
        advice = f"{advice_on_endpoint(what.partition('://')[0])}, then {advice}"
    return WorkError(f"{what}: {reason_of(error)}; {tried}; {advice}")


def _waited(state: RetryCallState) -> float:
    return state.seconds_since_start or 0.0


_pause = wait_random_exponential(multiplier=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS)
_noticed = -NOTICE_EVERY_SECONDS
_notice_lock = threading.Lock()


def _count_retry(state: RetryCallState, what: str, deadline: float) -> None:
    global _noticed  # noqa: PLW0603 - many threads meet one outage, one of them tells of it
    count(Traffic(retries=1))
    waited = _waited(state)
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
    (_NO_BUCKET, UsageError, "there is no such bucket{asked}; check the URL, or make the bucket"),
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
    (("code: 401", "code: 403"), UsageError, "access is denied ({reason}{asked}); {denied}"),
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
    cloud = CLOUDS.get(scheme)
    asked = f"; {asked_owner(scheme)}" if asked_owner(scheme) else ""
    denied = f"what lies at {scheme}:// must be readable without credentials"
    if cloud is not None:
        denied = f"check the credentials ({cloud.credentials}) and what they may do there"
    for words, kind, meaning in _HOPELESS:
        if any(word in str(error) for word in words):
            text = meaning.format(
                reason=reason_of(error),
                credentials=cloud.credentials if cloud else "",
                public=cloud.public if cloud else "",
                denied=denied,
                asked=asked,
            )
            return kind(f"{what}: {text}")
    return WorkError(f"{what}: {reason_of(error)}")
