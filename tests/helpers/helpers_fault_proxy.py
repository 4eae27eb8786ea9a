"""A proxy in front of an HTTP server that does, on request, what networks and servers do on bad days.

    with FaultProxy(s3.endpoint) as proxy:
        s3.set_environment(monkeypatch, proxy.endpoint)
        proxy.fail(503, times=2, path="*.tar")      # the next two matching requests are answered 503
        proxy.cut(after_bytes=1000, path="*.tar")   # the next matching answer ends in the middle of its body
        proxy.delay(0.5) ; proxy.flip() ; proxy.refuse(times=3)
        ...
        assert proxy.counts == {"fail": 2, "cut": 1}

Faults apply in the order in which they were asked for, each to the next matching requests. Everything else passes
unchanged, the Host header too, which signatures cover.
"""

from __future__ import annotations

import fnmatch
import http.client
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import urlsplit

Kind = Literal["fail", "cut", "delay", "flip", "refuse"]


@dataclass(kw_only=True)
class Fault:
    """One thing to go wrong, some times."""

    kind: Kind
    amount: float
    """A status, a number of bytes, or seconds."""
    code: str = ""
    times: int
    method: str
    path: str


class FaultProxy:
    """Listens on loopback in front of `upstream`, an `http://host:port`."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self.upstream = (parts.hostname or "", parts.port or 80)
        self.counts: Counter[str] = Counter()
        """Faults that happened, by kind."""
        self.requests: list[tuple[str, str]] = []
        """Method and path of everything that was asked."""
        self.is_out = False
        """While set, every connection is reset: an outage."""
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(self, status: int, *, code: str = "", times: int = 1, method: str = "*", path: str = "*") -> None:
        """Answer with an HTTP status, and S3's name for the error if given, without asking the server."""
        self._add("fail", status, times, method, path, code)

    def cut(self, after_bytes: int, *, times: int = 1, method: str = "GET", path: str = "*") -> None:
        """Close the connection in the middle of the body."""
        self._add("cut", after_bytes, times, method, path)

    def delay(self, seconds: float, *, times: int = 1, method: str = "*", path: str = "*") -> None:
        """Answer later."""
        self._add("delay", seconds, times, method, path)

    def flip(self, *, times: int = 1, method: str = "GET", path: str = "*") -> None:
        """Change the first byte of the body."""
        self._add("flip", 0, times, method, path)

    def refuse(self, *, times: int = 1, method: str = "*", path: str = "*") -> None:
        """Reset the connection without an answer."""
        self._add("refuse", 0, times, method, path)

    def num_requests(self, path: str, method: str = "*") -> int:
        """How often a matching path was asked for."""
        with self._lock:
            return sum(_matches(path, method, *request) for request in self.requests)

    def take(self, method: str, path: str) -> Fault | None:
        """Record a request; returns the fault for it."""
        with self._lock:
            self.requests.append((method, path))
            if self.is_out:
                self.counts["refuse"] += 1
                return Fault(kind="refuse", amount=0, times=1, method=method, path=path)
            for fault in self._faults:
                if fault.times and _matches(fault.path, fault.method, method, path):
                    fault.times -= 1
                    self.counts[fault.kind] += 1
                    return fault
        return None

    def _add(self, kind: Kind, amount: float, times: int, method: str, path: str, code: str = "") -> None:
        with self._lock:
            self._faults.append(Fault(kind=kind, amount=amount, times=times, method=method, path=path, code=code))


def _matches(pattern: str, methods: str, method: str, path: str) -> bool:
    return fnmatch.fnmatch(path.partition("?")[0], pattern) and fnmatch.fnmatch(method, methods)


class _Server(ThreadingHTTPServer):
    proxy: FaultProxy
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may close their connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.proxy.take(self.command, self.path)
        if fault is not None and fault.kind == "refuse":
            self._reset()
            return
        if fault is not None and fault.kind == "fail":
            body = f"<Error><Code>{fault.code}</Code></Error>".encode() if fault.code else b""
            self._answer(int(fault.amount), [("Content-Type", "application/xml")], body, None)
            return
        if fault is not None and fault.kind == "delay":
            time.sleep(fault.amount)
        connection = http.client.HTTPConnection(*self.server.proxy.upstream, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            data = response.read()
            self._answer(response.status, response.getheaders(), data, fault)
        except OSError:
            self._reset()
        finally:
            connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - the names that http.server looks for

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, fault: Fault | None) -> None:
        self.send_response_only(status)
        names = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() not in {"transfer-encoding", "connection"}:
                self.send_header(name, value)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if fault is not None and fault.kind == "flip" and data:
            data = bytes([data[0] ^ 1]) + data[1:]
        if fault is not None and fault.kind == "cut":
            self.wfile.write(data[: int(fault.amount)])
            self.wfile.flush()
            self._reset()
        elif self.command != "HEAD":
            self.wfile.write(data)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
