"""A command finds out soon that a store's address is wrong; other processes retry for the full deadline."""

from __future__ import annotations

import http.server
import multiprocessing
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta

import click
import pytest
from click.testing import CliRunner
from helpers_clouds import NOBODY, message_of, point_to
from helpers_fault_proxy import FaultProxy

import shardify.storage.object_store
import shardify.storage.retrying
from shardify.command import CommandGroup
from shardify.errors import UsageError, WorkError
from shardify.process import as_command
from shardify.storage import open_store
from shardify.storage.retrying import RETRY_VARIABLE
from shardify.storage.traffic import take

PING, FULL = 0.3, 0.5
"""How long a command's first request, and any other request, is retried; test_retrying.py measures the time."""


@pytest.fixture(autouse=True)
def short(clouds: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shardify.storage.retrying, "PING_SECONDS", PING)
    monkeypatch.setenv(RETRY_VARIABLE, str(FULL))


@pytest.fixture
def command() -> Iterator[None]:
    with as_command():
        yield


def seconds_of_an_outage() -> float:
    """How long a request was retried, as its error says."""
    kind, message = message_of("s3://bucket/x")
    assert kind is WorkError
    assert "the server cannot be reached (" in message
    (seconds,) = re.findall(r"it was retried for ([\d.]+) s ", message)
    return float(seconds)


@pytest.mark.usefixtures("command")
class TestFirstRequestOfACommand:
    @pytest.mark.parametrize(
        ("scheme", "variable", "endpoint"),
        [("s3", "AWS_ENDPOINT_URL", NOBODY), ("gs", "GOOGLE_BASE_URL", "http://no-such-host.invalid")],
    )
    def test_it_gives_up_soon_and_names_the_variable(
        self, monkeypatch: pytest.MonkeyPatch, scheme: str, variable: str, endpoint: str
    ) -> None:
        point_to(endpoint, monkeypatch)
        kind, message = message_of(f"{scheme}://bucket/x")
        assert kind is WorkError
        assert f"it was retried for {PING:g} s" in message
        assert f"check {variable}={endpoint}" in message
        assert ("its name is not known" if "invalid" in endpoint else "connection refused") in message

    def test_it_names_a_forgotten_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.setenv("AWS_REGION", "no-such-region.invalid")
        assert "AWS_ENDPOINT_URL is not set" in message_of("s3://bucket/x")[1]

    def test_it_names_a_proxy_without_its_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:2")
        point_to("http://no-such-host.invalid", monkeypatch)
        message = message_of("s3://bucket/x")[1]
        assert "the proxy of HTTP_PROXY" in message
        assert "secret" not in message

    def test_it_gives_up_on_a_host_that_swallows_packets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shardify.storage.object_store, "CONNECT_TIMEOUT", timedelta(seconds=0.2))
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            with socket.socket() as fills:
                fills.connect(full.getsockname())  # further connections get no answer
                point_to(f"http://127.0.0.1:{full.getsockname()[1]}", monkeypatch)
                _, message = message_of("s3://bucket/x")
        assert f"it was retried for {PING:g} s" in message
        assert "check AWS_ENDPOINT_URL=http://127.0.0.1:" in message

    def test_it_gives_up_on_a_server_that_takes_requests_and_stays_silent(
        self, cloud_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shardify.storage.object_store, "STALL_TIMEOUT", timedelta(seconds=2))
        cloud_proxy.delay(3, times=100)
        kind, message = message_of("s3://bucket/x")
        assert f"it was retried for {PING:g} s" in message
        assert kind is WorkError
        assert "it does not answer" in message
        assert "check AWS_ENDPOINT_URL=http://127.0.0.1:" in message

    def test_a_shorter_deadline_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(RETRY_VARIABLE, "0.05")
        assert seconds_of_an_outage() == 0.05

    @pytest.mark.parametrize("status", [404, 403])
    def test_after_any_answer_an_outage_is_retried_for_the_full_deadline(
        self, cloud_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, status: int
    ) -> None:
        cloud_proxy.fail(status, times=2)
        with pytest.raises((FileNotFoundError, UsageError)):
            open_store("s3://bucket/y").read("b")
        point_to(NOBODY, monkeypatch)
        assert seconds_of_an_outage() == FULL

    def test_an_answer_of_another_bucket_does_not_count(
        self, cloud_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cloud_proxy.fail(404, times=2)
        with pytest.raises(FileNotFoundError):
            open_store("s3://other/y").read("b")
        assert len(cloud_proxy.requests) == 2
        point_to(NOBODY, monkeypatch)
        assert seconds_of_an_outage() == PING

    def test_a_server_that_resets_connections_is_retried_for_the_full_deadline(self, cloud_proxy: FaultProxy) -> None:
        cloud_proxy.refuse(times=100)
        assert seconds_of_an_outage() == FULL

    def test_it_waits_for_a_server_that_starts_late(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shardify.storage.retrying, "PING_SECONDS", 10)
        monkeypatch.setenv(RETRY_VARIABLE, "20")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        point_to(f"http://127.0.0.1:{port}", monkeypatch)
        late: list[http.server.HTTPServer] = []

        def start() -> None:
            late.append(http.server.HTTPServer(("127.0.0.1", port), NotFound))
            late[0].serve_forever(poll_interval=0.05)

        timer = threading.Timer(0.3, start)
        timer.start()
        try:
            with pytest.raises(FileNotFoundError):
                open_store("s3://bucket/x").read("a")
        finally:
            late[0].shutdown()
            timer.join()
            late[0].server_close()
        assert take().retries > 0

    def test_child_processes_retry_for_the_full_deadline(self) -> None:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            assert pool.submit(seconds_of_an_outage).result() == FULL


def test_processes_that_run_no_command_retry_for_the_full_deadline() -> None:
    assert seconds_of_an_outage() == FULL


def test_every_command_pings() -> None:
    @click.group(cls=CommandGroup)
    def main() -> None:
        """Holds one command."""

    @main.command()
    def read() -> None:
        open_store("s3://bucket/x").read("a")

    result = CliRunner().invoke(main, ["read"])
    assert (result.exit_code, f"it was retried for {PING:g} s" in result.output) == (1, True)


class NotFound(http.server.BaseHTTPRequestHandler):
    """A server that holds nothing."""

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self.send_error(404)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for
