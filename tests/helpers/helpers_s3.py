"""An S3 server for tests: the one named by AWS_ENDPOINT_URL, or moto's, started for the session.

Use the fixtures of conftest.py: `s3_url` is a fresh prefix with the environment set for this process and its children;
`real_s3_url` insists on a server that checks credentials.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from shardify.storage import open_store
from shardify.storage.object_store import ObjectStore

START_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A server's address and credentials."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    is_real: bool
    """Whether it checks signatures; moto's does not."""

    def set_environment(self, monkeypatch: pytest.MonkeyPatch, endpoint: str | None = None) -> None:
        """Use this server in this process and its children; through a proxy if an endpoint is given."""
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "S3_BUCKET": self.bucket,
        }.items():
            monkeypatch.setenv(name, value)


def given_server() -> S3Server | None:
    """The server that the environment names, if any."""
    if "AWS_ENDPOINT_URL" not in os.environ:
        return None
    return S3Server(
        endpoint=os.environ["AWS_ENDPOINT_URL"],
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        bucket=os.environ.get("S3_BUCKET", "test-bucket"),
        is_real=True,
    )


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """moto's server with one bucket, in its own process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _make_bucket(f"{endpoint}/test-bucket", process)
        yield S3Server(
            endpoint=endpoint, access_key="testing", secret_key="testing", bucket="test-bucket", is_real=False
        )
    finally:
        process.kill()
        process.wait()


def _make_bucket(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=5).close()
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, "moto's server ended"
            assert time.monotonic() < deadline, "moto's server does not answer"
            time.sleep(0.1)
        else:
            return


def remove_all(url: str) -> None:
    """Delete every object below a URL."""
    store = open_store(url)
    assert isinstance(store, ObjectStore)
    for name in store.tree():
        store.delete(name)
