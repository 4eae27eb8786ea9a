"""The Hugging Face Hub, at the level of HTTP: a small server takes an upload and gives it back."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")

ROOT = Path(__file__).resolve().parents[3]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
pytestmark = pytest.mark.slow


class FakeHub(ThreadingHTTPServer):
    """Repositories in memory."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FakeHubHandler)
        self.files: dict[str, bytes] = {}
        self.created: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class FakeHubHandler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self._send_file()

    def do_GET(self) -> None:
        self._send_file()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self._send_json({"url": f"{self.server.url}/me/net", "name": "me/net", "id": "1"})
        elif self.path.startswith("/api/models/me/net/preupload/"):
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for path in files]
            self._send_json({"files": modes})
        elif self.path.startswith("/api/models/me/net/commit/"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{self.server.url}/me/net/commit/{COMMIT}"
            self._send_json({"commitUrl": url, "commitOid": COMMIT, "success": True})
        else:
            self._send_json({"errors": [], "warnings": []})

    def _send_file(self) -> None:
        prefix = "/me/net/resolve/main/"
        data = self.server.files.get(self.path.removeprefix(prefix)) if self.path.startswith(prefix) else None
        if data is None:
            code = "EntryNotFound" if self.path.startswith(prefix) else "RepoNotFound"
            self._send_json({"error": code}, status=404, headers={"X-Error-Code": code})
            return
        self.send_response(200)
        for name, value in (("X-Repo-Commit", COMMIT), ("ETag", f'"{len(data)}"'), ("Content-Length", str(len(data)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def _send_json(self, values: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(values).encode()
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(data))} | (headers or {})
        ).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def python(hub: FakeHub, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A new process, because the library reads its variables when it is imported."""
    variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": "hf_none", "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False
    )


LOAD = """
import sys, torch
from stream_train import from_pretrained
there, here = from_pretrained(sys.argv[1]).state_dict(), from_pretrained(sys.argv[2]).state_dict()
assert all(torch.equal(here[name], there[name]) for name in here)
"""


def test_an_export_is_uploaded_and_loaded_again(hub: FakeHub, whole_run: Path, tmp_path: Path) -> None:
    words = ("export", str(whole_run), "--out", str(tmp_path / "out"), "--card", "--upload", "hf://me/net")
    uploaded = python(hub, tmp_path / "home", "-m", "stream_train", *words)
    assert uploaded.returncode == 0, uploaded.stderr
    assert uploaded.stdout.splitlines()[-1] == "hf://me/net"
    (repository,) = hub.created
    assert repository.get("private") or repository.get("visibility") == "private"
    assert hub.files["README.md"].startswith(b"---\nlibrary_name: temporal-ssl\n")
    assert hub.files["backbone.safetensors"] == (whole_run / "backbone.safetensors").read_bytes()
    loaded = python(hub, tmp_path / "home", "-c", LOAD, "hf://me/net", str(whole_run))
    assert loaded.returncode == 0, loaded.stderr


def test_a_repository_that_does_not_exist_is_one_clear_error(hub: FakeHub, tmp_path: Path) -> None:
    code = (
        "from stream_train import from_pretrained\n"
        "from shardify.errors import UsageError\n"
        "try:\n    from_pretrained('hf://me/other')\n"
        "except UsageError as error:\n    print(error)\n"
    )
    result = python(hub, tmp_path / "home", "-c", code)
    assert result.stdout.startswith("hf://me/other: "), result.stderr
    assert len(result.stdout.splitlines()) == 1
