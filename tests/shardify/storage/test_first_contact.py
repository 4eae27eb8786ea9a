"""How long a server is waited for that has never answered, and what is said then."""

from __future__ import annotations

import http.server
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta

import pytest
from helpers_clouds import NOBODY, message_of, point_to
from helpers_fault_proxy import FaultProxy

import shardify.storage.object_store
import shardify.storage.retrying
from shardify.errors import UsageError, WorkError
from shardify.storage import open_store
from shardify.storage.retrying import RETRY_VARIABLE, trust_addresses
from shardify.storage.traffic import take

pytestmark = pytest.mark.usefixtures("clouds")


class TestFirstContact:
    """A server that has never answered is misspelt more often than it is down."""

    @pytest.fixture(autouse=True)
    def short(self, clouds: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG002 - sets what this changes
        monkeypatch.setattr(shardify.storage.retrying, "FIRST_CONTACT_SECONDS", 0.5)
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
        monkeypatch.setattr(shardify.storage.object_store, "CONNECT_TIMEOUT", timedelta(seconds=0.2))
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
        self, cloud_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, outage: Callable[[], float], status: int
    ) -> None:
        cloud_proxy.fail(status)
        with pytest.raises((FileNotFoundError, UsageError)):
            open_store("s3://bucket/y").read("b")
        point_to(NOBODY, monkeypatch)
        assert outage() >= 1.5

    def test_another_bucket_s_answer_says_nothing(
        self, cloud_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, outage: Callable[[], float]
    ) -> None:
        cloud_proxy.fail(404)
        with pytest.raises(FileNotFoundError):
            open_store("s3://other/y").read("b")
        point_to(NOBODY, monkeypatch)
        assert outage() < 1.4

    def test_trouble_of_a_server_that_is_there_is_waited_for(self, cloud_proxy: FaultProxy) -> None:
        cloud_proxy.refuse(times=100)
        start = time.monotonic()
        message_of("s3://bucket/x")
        assert time.monotonic() - start >= 1.5

    def test_a_server_that_starts_late_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shardify.storage.retrying, "FIRST_CONTACT_SECONDS", 10)
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
    shardify.storage.retrying.FIRST_CONTACT_SECONDS = 0.5
    start = time.monotonic()
    with pytest.raises(WorkError, match="cannot be reached"):
        open_store("s3://bucket/x").read("a")
    return time.monotonic() - start
