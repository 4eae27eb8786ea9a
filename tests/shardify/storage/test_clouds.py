"""Environment variables of clouds: which values are refused."""

from __future__ import annotations

import http.server
import threading

import pytest
from helpers_clouds import OWN_VARIABLES, message_of, point_to
from helpers_fault_proxy import FaultProxy

from shardify.errors import UsageError
from shardify.storage import open_store
from shardify.storage.clouds import CLOUDS
from shardify.storage.traffic import Traffic, take

pytestmark = pytest.mark.usefixtures("clouds")


class TestEndpoints:
    @pytest.mark.parametrize("value", ["127.0.0.1:7480", "localhost", "s3://host", "http://", ""])
    def test_what_is_no_address_is_told(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", value)
        with pytest.raises(UsageError, match=f"^AWS_ENDPOINT_URL={value}: give an address such as https://host or"):
            open_store("s3://bucket/x").read("a")

    @pytest.mark.parametrize("end", ["/bucket", "/bucket/"])
    def test_the_bucket_belongs_into_the_url(self, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://host{end}")
        with pytest.raises(UsageError, match=f"^AWS_ENDPOINT_URL=https://host{end} ends with the bucket"):
            open_store("s3://bucket/x").read("a")

    @pytest.mark.parametrize(("name", "value"), [("AWS_ENDPOINT_URL", "nonsense"), ("AWS_ACCESS_KEY_ID", "")])
    def test_one_clouds_variables_do_not_matter_to_another(
        self, cloud_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        monkeypatch.setenv(name, value)
        cloud_proxy.fail(404)
        with pytest.raises(FileNotFoundError):
            open_store("gs://bucket/x").read("a")

    def test_tls_to_a_server_without(self, cloud_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", cloud_proxy.endpoint.replace("http:", "https:"))
        kind, message = message_of("s3://bucket/x")
        assert kind is UsageError
        assert "it does not speak TLS" in message
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


class TestEmptyVariables:
    @pytest.mark.parametrize(
        ("scheme", "name"),
        [(scheme, name) for scheme, cloud in CLOUDS.items() for name in cloud.access if scheme in OWN_VARIABLES],
    )
    def test_they_are_named(self, monkeypatch: pytest.MonkeyPatch, scheme: str, name: str) -> None:
        monkeypatch.setenv(name, " ")
        kind, message = message_of(f"{scheme}://bucket/x")
        assert kind is UsageError
        assert message.startswith(f"{name} is empty")
        assert take().retries == 0

    @pytest.mark.parametrize(
        ("lacking", "there"),
        [("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")],
    )
    def test_half_a_key(self, monkeypatch: pytest.MonkeyPatch, lacking: str, there: str) -> None:
        monkeypatch.delenv(lacking)
        kind, message = message_of("s3://bucket/x")
        assert kind is UsageError
        assert message.startswith(f"{there} is set, but {lacking} is not")
