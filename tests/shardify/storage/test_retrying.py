"""Which failures are retried, for how long, and what the errors say; the cloud is a proxy that fails on request."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Never

import pytest
from helpers_clouds import NOBODY, OWN_VARIABLES, message_of
from helpers_fault_proxy import FaultProxy
from obstore.exceptions import GenericError

import shardify.storage.retrying
from shardify.errors import UsageError, WorkError
from shardify.process import as_command
from shardify.storage import open_store
from shardify.storage.retrying import LONGEST_PAUSE_SECONDS, RETRY_VARIABLE, may_pass, reason_of, with_retries
from shardify.storage.traffic import Traffic, take

pytestmark = pytest.mark.usefixtures("clouds")
PAUSE = shardify.storage.retrying._pause
"""The real one, since `clouds` makes the pauses of other tests short."""


def failing(times: float, error: Exception) -> Callable[[], str]:
    """A request that fails some times."""
    left = [times]

    def request() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return "done"

    return request


class TestEveryCloud:
    @pytest.mark.parametrize("scheme", OWN_VARIABLES)
    @pytest.mark.parametrize("status", [401, 403])
    def test_denied_access_names_only_that_clouds_variables(
        self, cloud_proxy: FaultProxy, scheme: str, status: int
    ) -> None:
        cloud_proxy.fail(status, times=5)
        kind, message = message_of(f"{scheme}://bucket/x")
        assert kind is UsageError
        assert message.startswith(f"{scheme}://bucket/x/a: access is denied (the server answered {status} ")
        assert {prefix for prefix in OWN_VARIABLES.values() if prefix in message} == {OWN_VARIABLES[scheme]}
        assert take() == Traffic(requests=1)

    def test_denied_access_to_web_servers_names_no_variables(self, cloud_proxy: FaultProxy) -> None:
        cloud_proxy.fail(403, times=5)
        kind, message = message_of(f"{cloud_proxy.endpoint}/x")
        assert kind is UsageError
        assert not any(prefix in message for prefix in OWN_VARIABLES.values())

    @pytest.mark.parametrize("scheme", OWN_VARIABLES)
    def test_outages_are_retried_until_there_is_an_answer(self, cloud_proxy: FaultProxy, scheme: str) -> None:
        cloud_proxy.fail(503, times=2)
        cloud_proxy.refuse()
        cloud_proxy.fail(404)
        with pytest.raises(FileNotFoundError, match=f"{scheme}://bucket/x/a"):
            open_store(f"{scheme}://bucket/x").read("a")
        assert cloud_proxy.counts == {"fail": 3, "refuse": 1}
        assert take() == Traffic(requests=4, retries=3)

    @pytest.mark.parametrize(
        ("scheme", "code"), [("s3", "NoSuchBucket"), ("gs", "NoSuchBucket"), ("az", "ContainerNotFound")]
    )
    def test_missing_buckets(self, cloud_proxy: FaultProxy, scheme: str, code: str) -> None:
        cloud_proxy.fail(404, code=code, times=5)
        kind, message = message_of(f"{scheme}://bucket/x")
        assert kind is UsageError
        assert "there is no such bucket" in message
        assert cloud_proxy.counts == {"fail": 1}


class TestNoCredentials:
    @pytest.fixture(autouse=True)
    def nothing_set(
        self,
        clouds: None,  # noqa: ARG002 - sets what this deletes
        monkeypatch: pytest.MonkeyPatch,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        """No keys, no files, and no answer from a cloud's service for its own machines."""
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GOOGLE_SKIP_SIGNATURE"):
            monkeypatch.delenv(name)
        for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "AWS_WEB_IDENTITY_TOKEN_FILE"):
            monkeypatch.delenv(name, raising=False)
        home = tmp_path_factory.mktemp("home")
        for name, value in {
            "HOME": str(home),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "none"),
            "AWS_METADATA_ENDPOINT": NOBODY,
            "GCE_METADATA_HOST": "127.0.0.1:1",
            "GCE_METADATA_IP": "127.0.0.1:1",
        }.items():
            monkeypatch.setenv(name, value)

    @pytest.mark.parametrize("scheme", ["s3", "gs"])
    def test_a_command_ends_at_once(self, scheme: str) -> None:
        with as_command():
            kind, message = message_of(f"{scheme}://bucket/x")
        assert kind is UsageError
        assert "no credentials were found" in message
        assert {prefix for prefix in OWN_VARIABLES.values() if prefix in message} == {OWN_VARIABLES[scheme]}
        assert take() == Traffic(requests=1)

    def test_renewing_them_is_retried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(RETRY_VARIABLE, "0.3")
        kind, _ = message_of("s3://bucket/x")
        assert kind is WorkError
        assert take().retries >= 1

    def test_a_credentials_service_in_trouble_is_retried(
        self, monkeypatch: pytest.MonkeyPatch, cloud_proxy: FaultProxy
    ) -> None:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", cloud_proxy.endpoint)
        cloud_proxy.fail(503, times=2, path="/latest/*")
        cloud_proxy.fail(403, path="/latest/*")
        assert "no credentials were found" in message_of("s3://bucket/x")[1]
        assert take() == Traffic(requests=3, retries=2)

    def test_an_unknown_profile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nope")
        kind, message = message_of("s3://bucket/x")
        assert kind is UsageError
        assert "nope" in message
        assert "AWS_PROFILE" in message


@pytest.mark.parametrize(
    ("status", "code"), [(400, "RequestTimeout"), (409, "OperationAborted"), (503, "SlowDown"), (524, "")]
)
def test_answers_that_are_retried(cloud_proxy: FaultProxy, status: int, code: str) -> None:
    cloud_proxy.fail(status, code=code, times=2)
    cloud_proxy.fail(404)
    with pytest.raises(FileNotFoundError):
        open_store("s3://bucket/x").read("a")
    assert take() == Traffic(requests=3, retries=2)


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (400, "ExpiredToken", UsageError, r"no longer valid .*\(ExpiredToken\)\); renew AWS_"),
        (403, "RequestTimeTooSkewed", UsageError, r"access is denied .*\(RequestTimeTooSkewed\)"),
        (400, "AuthorizationHeaderMalformed", UsageError, "set AWS_REGION"),
        (301, "", UsageError, "set AWS_REGION"),
        (403, "QuotaExceeded", UsageError, r"access is denied .*\(QuotaExceeded"),
        (400, "InvalidArgument", WorkError, r"400 Bad Request \(InvalidArgument\)$"),
        (409, "", WorkError, "409 Conflict$"),
        (416, "InvalidRange", WorkError, "416 Range Not Satisfiable"),
        (501, "NotImplemented", WorkError, "501 Not Implemented"),
        (507, "XMinioStorageFull", WorkError, "507 Insufficient Storage"),
    ],
)
def test_answers_that_are_final(
    cloud_proxy: FaultProxy, status: int, code: str, kind: type[Exception], words: str
) -> None:
    cloud_proxy.fail(status, code=code, times=5)
    raised, message = message_of("s3://bucket/x")
    assert raised is kind
    assert re.search(words, message), message
    assert cloud_proxy.counts == {"fail": 1}


class TestDeadline:
    def test_it_is_kept_and_the_server_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(RETRY_VARIABLE, "0.5")
        start = time.monotonic()
        kind, message = message_of("s3://bucket/x")
        assert 0.5 <= time.monotonic() - start < 5
        assert kind is WorkError
        assert "(http://127.0.0.1:1: connection refused)" in message
        assert "retried for 0.5 s (TEMPORAL_SSL_RETRY_SECONDS); check AWS_ENDPOINT_URL=http://127.0.0.1:1" in message

    def test_zero_means_no_retry(self, cloud_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(RETRY_VARIABLE, "0")
        cloud_proxy.fail(503, times=2)
        assert message_of("s3://bucket/x")[0] is WorkError
        assert cloud_proxy.counts == {"fail": 1}

    @pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf"])
    def test_it_must_be_a_number(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv(RETRY_VARIABLE, value)
        kind, message = message_of("s3://bucket/x")
        assert kind is UsageError
        assert message.startswith(f"{RETRY_VARIABLE}={value}")

    def test_pauses_grow_at_random_up_to_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(RETRY_VARIABLE, "10000")
        monkeypatch.setattr(shardify.storage.retrying, "_pause", PAUSE)
        pauses: list[float] = []
        monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
        assert with_retries(failing(40, TimeoutError()), what="s3://bucket/a") == "done"
        assert len(pauses) == take().retries == 40
        assert all(0 < pause <= min(LONGEST_PAUSE_SECONDS, 0.2 * 2**i) for i, pause in enumerate(pauses))
        assert len(set(pauses)) == 40
        assert max(pauses) > 5

    def test_an_outage_is_reported_once(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
        request = failing(5, ConnectionResetError("Connection reset"))
        assert with_retries(request, what="s3://bucket/a") == "done"
        assert capsys.readouterr().err == "", "a short outage is not worth a line"
        monkeypatch.setattr(shardify.storage.retrying, "NOTICE_SECONDS", 0.0)
        for name in ("a", "b"):
            with_retries(failing(5, ConnectionResetError("Connection reset")), what=f"s3://bucket/{name}")
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("s3://bucket/a: Connection reset; retrying for up to 20 s")


def test_bugs_of_the_program_are_neither_retried_nor_hidden() -> None:
    def request() -> Never:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        with_retries(request, what="s3://bucket/a")
    assert take() == Traffic(requests=1)


@pytest.mark.parametrize(
    ("words", "passes"),
    [
        ("HTTP error: request or response body error", True),
        ("something that this version has never said", True),
        ("Failed to read token file '/t': No such file or directory", False),
        ("HTTP error: builder error for url", False),
        ("GET http://169.254.170.23/v1/credentials - Server returned non-2xx status code: 429 Too Many", True),
    ],
)
def test_words_of_the_library(words: str, passes: bool) -> None:
    assert may_pass(GenericError(f"Generic S3 error: {words}")) is passes


def test_reasons_are_short() -> None:
    cut = GenericError("Generic S3 error: HTTP error: request or response body error\n\nDebug source:\nX")
    assert reason_of(cut) == "the answer was cut off"
    assert len(reason_of(GenericError("strange " * 1000))) <= 300
