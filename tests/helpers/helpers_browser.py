"""A headless Chromium, spoken to over a pair of pipes: what a page looks like, and what it asks the network for.

The protocol is Chrome's DevTools, one JSON message after another, each ended by a zero byte.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

BINARIES = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_SECONDS = 120.0
"""Far more than any answer takes; a browser that hangs fails the test instead of stopping all of them."""
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
    *("--remote-debugging-pipe", "about:blank"),
)
_READ_FD, _WRITE_FD = 3, 4
"""Where Chromium expects the pipes, seen from its side."""
_FREE_FD = 10
"""Our own ends lie above this, so that none of them is one of those two."""


def find_browser() -> str | None:
    """Path of a Chromium, or None."""
    return next((path for path in map(shutil.which, BINARIES) if path is not None), None)


class Browser:
    """One tab."""

    def __init__(self, send_fd: int, receive_fd: int) -> None:
        self._send_fd, self._receive_fd = send_fd, receive_fd
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.requests: list[str] = []
        """Every URL that the tab asked for since it was opened."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, /, **parameters: Any) -> dict[str, Any]:
        """Run a command of the protocol and wait for its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._send_fd, data) :]
        while True:
            answer = self._receive(method)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, path: Path, width: int, height: int) -> None:
        """Show a local page in a window of this many CSS pixels, and wait until all of it is there."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=True)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.evaluate(
            "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))"
            ".then(() => Promise.all([...document.images].map(image => image.decode().catch(() => null))))"
            ".then(() => true)"
        )

    def evaluate(self, script: str) -> Any:
        """Value of a JavaScript expression in the page; promises are waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def media(self, kind: str, **features: str) -> None:
        """Lay the page out for "print" or "screen"; features such as prefers_color_scheme="dark"."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", media=kind, features=named)

    def screenshot(self, path: Path) -> None:
        """The whole page, as PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _receive(self, waiting_for: str) -> dict[str, Any]:
        """The next message; requests are noted on the way."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._receive_fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"the browser did not answer {waiting_for} within {TIMEOUT_SECONDS:.0f} s"
            data = os.read(self._receive_fd, 1 << 20)
            assert data, f"the browser ended during {waiting_for}"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message


@contextmanager
def started_browser(binary: str, folder: Path) -> Iterator[Browser]:
    """A browser with a fresh profile in `folder`; it has ended when the block has."""
    folder.mkdir(parents=True, exist_ok=True)
    theirs_in, ours_out = _pipe()
    ours_in, theirs_out = _pipe()
    log = str(folder / "browser.log")
    pid = os.posix_spawn(
        binary,
        [binary, f"--user-data-dir={folder / 'profile'}", *_OPTIONS],
        os.environ | {"HOME": str(folder)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, theirs_in, _READ_FD),
            (os.POSIX_SPAWN_DUP2, theirs_out, _WRITE_FD),
        ],
        setpgroup=0,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        os.close(ours_out)
        os.close(ours_in)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _pipe() -> tuple[int, int]:
    """Read and write end, closed in other children, both above _FREE_FD."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _FREE_FD) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
