"""Which failures are met with patience, for how long, and what is said; no server is needed to fail."""

from __future__ import annotations

import http.server
import multiprocessing
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from typing import Never

import pytest
from helpers_fault_proxy import FaultProxy
from obstore.exceptions import GenericError

import shardify.object_store
import shardify.retrying
from shardify.clouds import CLOUDS
from shardify.errors import UsageError, UserFacingError, WorkError
from shardify.retrying import LONGEST_PAUSE_SECONDS, RETRY_VARIABLE, may_pass, persistently, reason_of, trust_addresses
from shardify.storage import open_store
from shardify.traffic import Traffic, take

OWN_VARIABLES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
NOBODY = "http://127.0.0.1:1"
"""Refuses every connection."""


@pytest.fixture(autouse=True)
def clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of every cloud, none of which is asked; a process that has not had an answer yet."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    values = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    values |= {"GOOGLE_SKIP_SIGNATURE": "true", "AZURE_STORAGE_ACCOUNT_NAME": "me", "AZURE_SKIP_SIGNATURE": "true"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for kind in ("HTTP", "HTTPS", "ALL"):
        monkeypatch.delenv(f"{kind}_PROXY", raising=False)
        monkeypatch.delenv(f"{kind}_PROXY".lower(), raising=False)
    point_to(NOBODY, monkeypatch)
    monkeypatch.setenv(RETRY_VARIABLE, "20")
    for name in ("_served", "_others_were_answered"):
        monkeypatch.setattr(shardify.retrying, name, threading.Event())
    monkeypatch.setattr(shardify.retrying, "_answering", set())
    monkeypatch.setattr(shardify.retrying, "_noticed", float("-inf"))
    take()


def point_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "GOOGLE_BASE_URL", "AZURE_ENDPOINT"):
        monkeypatch.setenv(name, endpoint)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """All clouds, which answer 404 after the faults that a test asks for."""
    with FaultProxy(NOBODY) as proxy:
        point_to(proxy.endpoint, monkeypatch)
        yield proxy


def failing(times: float, error: Exception) -> Callable[[], str]:
    """A request that fails some times."""
    left = [times]

    def request() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return "done"

    return request


def message_of(url: str, name: str = "a") -> tuple[type[UserFacingError], str]:
    with pytest.raises(UserFacingError) as caught:
        open_store(url).read(name)
    assert "\n" not in str(caught.value)
    return type(caught.value), str(caught.value)


class TestEveryCloud:
    @pytest.mark.parametrize("scheme", OWN_VARIABLES)
    @pytest.mark.parametrize("status", [401, 403])
    def test_denied_access_names_the_variables_of_that_cloud_alone(
        self, proxy: FaultProxy, scheme: str, status: int
    ) -> None:
        proxy.fail(status, times=5)
        kind, message = message_of(f"{scheme}://bucket/x")
        assert kind is UsageError
        assert message.startswith(f"{scheme}://bucket/x/a: access is denied (the server answered {status} ")
        assert {prefix for prefix in OWN_VARIABLES.values() if prefix in message} == {OWN_VARIABLES[scheme]}
        assert take() == Traffic(requests=1)
        assert proxy.counts == {"fail": 1}

    def test_denied_access_to_web_servers_names_no_variables(self, proxy: FaultProxy) -> None:
        proxy.fail(403, times=5)
        kind, message = message_of(f"{proxy.endpoint}/x")
        assert kind is UsageError
        assert "what lies at http:// must be readable without credentials" in message
        assert not any(prefix in message for prefix in OWN_VARIABLES.values())

    @pytest.mark.parametrize("scheme", OWN_VARIABLES)
    def test_trouble_is_tried_again_until_there_is_an_answer(self, proxy: FaultProxy, scheme: str) -> None:
        proxy.fail(503, times=2)
        proxy.refuse()
        proxy.fail(404)
        with pytest.raises(FileNotFoundError, match=f"there is no such object: '{scheme}://bucket/x/a'"):
            open_store(f"{scheme}://bucket/x").read("a")
        assert proxy.counts == {"fail": 3, "refuse": 1}
        assert take() == Traffic(requests=4, retries=3)

    @pytest.mark.parametrize(
        ("scheme", "code"), [("s3", "NoSuchBucket"), ("gs", "NoSuchBucket"), ("az", "ContainerNotFound")]
    )
    def test_missing_buckets(self, proxy: FaultProxy, scheme: str, code: str) -> None:
        proxy.fail(404, code=code, times=5)
        assert message_of(f"{scheme}://bucket/x") == (
            UsageError,
            f"{scheme}://bucket/x/a: there is no such bucket; check the URL, or make the bucket",
        )
        assert proxy.counts == {"fail": 1}


class TestNoCredentials:
    @pytest.fixture(autouse=True)
    def nothing_set(self, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
        """Neither keys nor files, and nobody where machines of a cloud ask."""
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
    def test_one_clear_error_at_once(self, scheme: str) -> None:
        kind, message = message_of(f"{scheme}://bucket/x")
        assert kind is UsageError
        assert f"{scheme}://bucket/x/a: no credentials were found; set {OWN_VARIABLES[scheme]}" in message
        assert {prefix for prefix in OWN_VARIABLES.values() if prefix in message} == {OWN_VARIABLES[scheme]}
        assert take() == Traffic(requests=1)

    def test_machines_that_had_some_try_again_to_renew_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(RETRY_VARIABLE, "0.3")
        assert persistently(lambda: "served", what="s3://bucket") == "served"
        kind, message = message_of("s3://bucket/x")
        assert kind is WorkError
        assert "it was tried again for 0.3 s" in message
        assert take().retries >= 1

    def test_a_server_of_credentials_in_trouble_is_tried_again(
        self, monkeypatch: pytest.MonkeyPatch, proxy: FaultProxy
    ) -> None:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", proxy.endpoint)
        proxy.fail(503, times=2, path="/latest/*")
        proxy.fail(403, path="/latest/*")
        assert "no credentials were found" in message_of("s3://bucket/x")[1]
        assert take() == Traffic(requests=3, retries=2)

    def test_an_unknown_profile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nope")
        kind, message = message_of("s3://bucket/x")
        assert kind is UsageError
        assert (
            "s3://bucket/x cannot be opened: The config profile (nope) could not be found; check AWS_PROFILE" in message
        )


class TestNamesOfErrors:
    @pytest.mark.parametrize(
        ("status", "code"), [(400, "RequestTimeout"), (409, "OperationAborted"), (503, "SlowDown"), (524, "")]
    )
    def test_what_may_pass(self, proxy: FaultProxy, status: int, code: str) -> None:
        proxy.fail(status, code=code, times=2)
        proxy.fail(404)
        with pytest.raises(FileNotFoundError):
            open_store("s3://bucket/x").read("a")
        assert take() == Traffic(requests=3, retries=2)

    @pytest.mark.parametrize(
        ("status", "code", "kind", "words"),
        [
            (400, "ExpiredToken", UsageError, r"the credentials are no longer valid .*\(ExpiredToken\)\); renew AWS_"),
            (403, "RequestTimeTooSkewed", UsageError, "this machine's clock is wrong"),
            (400, "AuthorizationHeaderMalformed", UsageError, "the bucket is in another region; set AWS_REGION"),
            (301, "", UsageError, "the bucket is in another region; set AWS_REGION"),
            (403, "QuotaExceeded", UsageError, r"access is denied \(the server answered 403 Forbidden \(QuotaExceeded"),
            (400, "InvalidArgument", WorkError, r"the server answered 400 Bad Request \(InvalidArgument\)$"),
            (409, "", WorkError, "the server answered 409 Conflict$"),
            (416, "InvalidRange", WorkError, "the server answered 416 Range Not Satisfiable"),
            (501, "NotImplemented", WorkError, "the server answered 501 Not Implemented"),
            (507, "XMinioStorageFull", WorkError, "the server answered 507 Insufficient Storage"),
        ],
    )
    def test_what_will_not(self, proxy: FaultProxy, status: int, code: str, kind: type[Exception], words: str) -> None:
        proxy.fail(status, code=code, times=5)
        raised, message = message_of("s3://bucket/x")
        assert raised is kind
        assert re.search(words, message), message
        assert proxy.counts == {"fail": 1}


class TestEndpoints:
    @pytest.mark.parametrize("value", ["127.0.0.1:7480", "localhost", "s3://host", "http://", ""])
    def test_what_is_no_address_is_told(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", value)
        with pytest.raises(UsageError, match=f"^AWS_ENDPOINT_URL={value}: give an address such as https://host or"):
            open_store("s3://bucket/x").read("a")

    @pytest.mark.parametrize("end", ["/bucket", "/bucket/"])
    def test_the_bucket_belongs_into_the_url(self, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://host{end}")
        message = (
            f"AWS_ENDPOINT_URL=https://host{end} ends with the bucket, which s3://bucket/x names already; leave /buck"
        )
        with pytest.raises(UsageError, match=f"^{message}"):
            open_store("s3://bucket/x").read("a")

    def test_one_clouds_endpoint_does_not_matter_to_another(
        self, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
        proxy.fail(404)
        with pytest.raises(FileNotFoundError):
            open_store("gs://bucket/x").read("a")

    def test_tls_to_a_server_without(self, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint.replace("http:", "https:"))
        kind, message = message_of("s3://bucket/x")
        assert kind is UsageError
        assert "the server does not speak TLS; write the endpoint variable with http://" in message
        assert take() == Traffic(requests=1)

    def test_a_web_server_is_no_object_store(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Welcome(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Silence."""

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "9")
                self.end_headers()
                self.wfile.write(b"<welcome>")

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Welcome)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            point_to(f"http://127.0.0.1:{server.server_address[1]}", monkeypatch)
            with pytest.raises(UsageError, match=r"s3://bucket/x: no object store answers there .*endpoint variable"):
                open_store("s3://bucket/x").names()
        finally:
            server.shutdown()
            server.server_close()
        assert take() == Traffic(requests=1)


class TestDeadline:
    def test_it_is_kept_and_the_server_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(RETRY_VARIABLE, "1")
        start = time.monotonic()
        kind, message = message_of("s3://bucket/x")
        assert 1 <= time.monotonic() - start < 1.5
        assert kind is WorkError
        assert message == (
            "s3://bucket/x/a: the server cannot be reached (http://127.0.0.1:1: connection refused); it was tried "
            "again for 1 s (TEMPORAL_SSL_RETRY_SECONDS); check AWS_ENDPOINT_URL=http://127.0.0.1:1, then run the same "
            "command again to continue"
        )

    def test_pauses_grow_at_random_up_to_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(RETRY_VARIABLE, "10000")
        pauses: list[float] = []
        monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
        assert persistently(failing(40, TimeoutError()), what="s3://bucket/a") == "done"
        assert len(pauses) == take().retries == 40
        assert all(0 < pause <= min(LONGEST_PAUSE_SECONDS, 0.2 * 2**i) for i, pause in enumerate(pauses))
        assert len(set(pauses)) == 40
        assert max(pauses) > 5

    def test_an_outage_is_told_of_once(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
        request = failing(5, ConnectionResetError("Connection reset"))
        assert persistently(request, what="s3://bucket/a") == "done"
        assert capsys.readouterr().err == "", "short troubles are not worth a line"
        monkeypatch.setattr(shardify.retrying, "NOTICE_SECONDS", 0.0)
        for name in ("a", "b"):
            persistently(failing(5, ConnectionResetError("Connection reset")), what=f"s3://bucket/{name}")
        said = capsys.readouterr().err
        assert said == "s3://bucket/a: Connection reset; trying again for up to 20 s more\n"


class TestFirstContact:
    """A server that has never answered is misspelt more often than it is down."""

    @pytest.fixture(autouse=True)
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shardify.retrying, "FIRST_CONTACT_SECONDS", 0.5)
        monkeypatch.setenv(RETRY_VARIABLE, "1.5")

    @pytest.fixture
    def outage(self) -> Callable[[], float]:
        """Asks a server that is not there; how long that took."""

        def ask() -> float:
            start = time.monotonic()
            kind, message = message_of("s3://bucket/x")
            assert kind is WorkError
            assert "the server cannot be reached (" in message
            return time.monotonic() - start

        return ask

    @pytest.mark.parametrize("endpoint", [NOBODY, "http://no-such-host.invalid"])
    @pytest.mark.parametrize(("scheme", "variable"), [("s3", "AWS_ENDPOINT_URL"), ("gs", "GOOGLE_BASE_URL")])
    def test_it_is_given_up_soon_and_the_variable_named(
        self, monkeypatch: pytest.MonkeyPatch, scheme: str, variable: str, endpoint: str
    ) -> None:
        point_to(endpoint, monkeypatch)
        start = time.monotonic()
        kind, message = message_of(f"{scheme}://bucket/x")
        assert 0.5 <= time.monotonic() - start < 1.4
        assert kind is WorkError
        cause = "its name is not known" if "invalid" in endpoint else "connection refused"
        assert message == (
            f"{scheme}://bucket/x/a: the server cannot be reached ({endpoint}: {cause}); it was tried again for 0.5 s; "
            f"check {variable}={endpoint}, then run the same command again to continue"
        )

    def test_a_forgotten_variable_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.setenv("AWS_REGION", "no-such-region.invalid")
        assert (
            "Amazon itself was asked, since AWS_ENDPOINT_URL is not set; to ask another server set AWS_"
            in message_of("s3://bucket/x")[1]
        )

    def test_of_a_web_server_the_url_is_named(self) -> None:
        assert message_of(f"{NOBODY}/x")[1].endswith("; check the URL, then run the same command again to continue")

    def test_a_proxy_is_named_without_its_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:2")
        point_to("http://no-such-host.invalid", monkeypatch)
        message = message_of("s3://bucket/x")[1]
        assert (
            "; check AWS_ENDPOINT_URL=http://no-such-host.invalid (asked through the proxy of HTTP_PROXY), then "
            in message
        )
        assert "secret" not in message

    def test_a_host_that_swallows_packets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shardify.object_store, "CONNECT_TIMEOUT", timedelta(seconds=0.2))
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            with socket.socket() as fills:
                fills.connect(full.getsockname())  # more connections than that are not answered
                point_to(f"http://127.0.0.1:{full.getsockname()[1]}", monkeypatch)
                start = time.monotonic()
                _, message = message_of("s3://bucket/x")
        assert time.monotonic() - start < 1.4
        assert "; check AWS_ENDPOINT_URL=http://127.0.0.1:" in message

    def test_the_deadline_that_was_asked_for_is_the_longest(
        self, monkeypatch: pytest.MonkeyPatch, outage: Callable[[], float]
    ) -> None:
        monkeypatch.setenv(RETRY_VARIABLE, "0.1")
        assert outage() < 0.4

    @pytest.mark.parametrize("status", [404, 403])
    def test_who_has_answered_is_waited_for(
        self, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, outage: Callable[[], float], status: int
    ) -> None:
        proxy.fail(status)
        with pytest.raises((FileNotFoundError, UsageError)):
            open_store("s3://bucket/y").read("b")
        point_to(NOBODY, monkeypatch)
        assert outage() >= 1.5

    def test_another_bucket_s_answer_says_nothing(
        self, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, outage: Callable[[], float]
    ) -> None:
        proxy.fail(404)
        with pytest.raises(FileNotFoundError):
            open_store("s3://other/y").read("b")
        point_to(NOBODY, monkeypatch)
        assert outage() < 1.4

    def test_trouble_of_a_server_that_is_there_is_waited_for(self, proxy: FaultProxy) -> None:
        proxy.refuse(times=100)
        start = time.monotonic()
        message_of("s3://bucket/x")
        assert time.monotonic() - start >= 1.5

    def test_a_server_that_starts_late_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shardify.retrying, "FIRST_CONTACT_SECONDS", 10)
        monkeypatch.setenv(RETRY_VARIABLE, "20")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        point_to(f"http://127.0.0.1:{port}", monkeypatch)
        late: list[http.server.HTTPServer] = []

        def start() -> None:
            late.append(http.server.HTTPServer(("127.0.0.1", port), NotFound))
            late[0].serve_forever(poll_interval=0.05)

        timer = threading.Timer(0.7, start)
        timer.start()
        try:
            with pytest.raises(FileNotFoundError):
                open_store("s3://bucket/x").read("a")
        finally:
            late[0].shutdown()
            timer.join()
            late[0].server_close()
        assert take().retries > 0

    def test_processes_that_were_started_in_the_middle_of_work_wait(self, outage: Callable[[], float]) -> None:
        trust_addresses()
        assert outage() >= 1.5

    def test_so_do_those_of_multiprocessing(self) -> None:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            assert pool.submit(seconds_of_an_outage).result() >= 1.5


class NotFound(http.server.BaseHTTPRequestHandler):
    """A server that holds nothing."""

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self.send_error(404)


def seconds_of_an_outage() -> float:
    shardify.retrying.FIRST_CONTACT_SECONDS = 0.5
    start = time.monotonic()
    with pytest.raises(WorkError, match="cannot be reached"):
        open_store("s3://bucket/x").read("a")
    return time.monotonic() - start


class TestEmptyVariables:
    @pytest.mark.parametrize(
        ("scheme", "name"),
        [(scheme, name) for scheme, cloud in CLOUDS.items() for name in cloud.access if scheme in OWN_VARIABLES],
    )
    def test_they_are_named(self, monkeypatch: pytest.MonkeyPatch, scheme: str, name: str) -> None:
        monkeypatch.setenv(name, " ")
        kind, message = message_of(f"{scheme}://bucket/x")
        assert (kind, message) == (UsageError, f"{name} is set to nothing: give a value, or unset it")
        assert take().retries == 0

    def test_several_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "")
        words = "^AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are set to nothing: give a value, or unset them$"
        with pytest.raises(UsageError, match=words):
            open_store("s3://bucket/x").names()

    @pytest.mark.parametrize(
        ("lacking", "there"),
        [("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")],
    )
    def test_half_a_key(self, monkeypatch: pytest.MonkeyPatch, lacking: str, there: str) -> None:
        monkeypatch.delenv(lacking)
        words = f"{there} is set, but {lacking} is not: set both, or neither"
        assert message_of("s3://bucket/x") == (UsageError, words)

    def test_other_clouds_variables_do_not_matter(self, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")
        proxy.fail(404)
        with pytest.raises(FileNotFoundError):
            open_store("gs://bucket/x").read("a")


def test_errors_of_the_program_are_neither_retried_nor_hidden() -> None:
    def request() -> Never:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        persistently(request, what="s3://bucket/a")
    assert take() == Traffic(requests=1)


@pytest.mark.parametrize(
    ("words", "passes"),
    [
        ("HTTP error: request or response body error", True),
        ("something that this version has never said", True),
        ("Failed to read token file '/t': No such file or directory", False),
        ("HTTP error: builder error for url", False),
        ("GET http://169.254.169.254/metadata/identity/oauth2/token - HTTP error: error sending request", False),
        ("GET http://169.254.170.23/v1/credentials - Server returned non-2xx status code: 429 Too Many", True),
    ],
)
def test_the_librarys_words(words: str, passes: bool) -> None:
    assert may_pass(GenericError(f"Generic S3 error: {words}")) is passes


def test_reasons_are_short() -> None:
    assert reason_of(
        GenericError("Generic S3 error: HTTP error: request or response body error\n\nDebug source:\nX")
    ) == ("the answer was cut off")
    assert len(reason_of(GenericError("strange " * 1000))) <= 300
