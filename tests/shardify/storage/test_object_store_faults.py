"""Failures on the way to an object store are retried, or reported at once if they are final."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from helpers_clouds import shorten_pauses
from helpers_fault_proxy import FaultProxy
from helpers_s3 import S3Server

from shardify.errors import UsageError, WorkError
from shardify.storage import open_store
from shardify.storage.object_store import CHUNK_BYTES, ObjectStore
from shardify.storage.retrying import RETRY_VARIABLE
from shardify.storage.store import Store
from shardify.storage.traffic import Traffic, take


@pytest.fixture
def proxy(s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """In front of the server, whose environment it takes over; failing requests are tried again for 20 s."""
    with FaultProxy(s3_server.endpoint) as proxy:
        s3_server.set_environment(monkeypatch, proxy.endpoint)
        monkeypatch.setenv(RETRY_VARIABLE, "20")
        shorten_pauses(monkeypatch)
        yield proxy


class TestPassingFaults:
    """Each is retried and counted, and the bytes are the same."""

    def put(self, url: str) -> Store:
        store = open_store(url)
        store.write("shard.tar", b"0123456789" * 1000)
        take()
        return store

    @pytest.mark.parametrize(("status", "code"), [(429, ""), (502, ""), (503, "NoSuchBucket")])
    def test_servers_in_trouble(self, proxy: FaultProxy, s3_url: str, status: int, code: str) -> None:
        store = self.put(s3_url)
        proxy.fail(status, code=code, times=2, path="*.tar")
        assert store.read("shard.tar") == b"0123456789" * 1000
        assert proxy.counts == {"fail": 2}
        assert take() == Traffic(requests=3, retries=2, bytes_read=10_000)

    def test_answers_cut_short(self, proxy: FaultProxy, s3_url: str) -> None:
        store = self.put(s3_url)
        proxy.cut(after_bytes=500, times=2, path="*.tar")
        assert store.read_range("shard.tar", 5, 5000) == b"5678901234" * 500
        assert proxy.counts == {"cut": 2}
        assert take() == Traffic(requests=3, retries=2, bytes_read=5000)

    def test_slow_answers_are_waited_for(self, proxy: FaultProxy, s3_url: str) -> None:
        store = self.put(s3_url)
        proxy.delay(0.3)
        start = time.monotonic()
        assert store.read("shard.tar") == b"0123456789" * 1000
        assert time.monotonic() - start >= 0.3
        assert take().retries == 0

    def test_writes_listings_and_deletes_too(self, proxy: FaultProxy, s3_url: str) -> None:
        store = self.put(s3_url)
        proxy.fail(503, times=1, method="PUT")
        store.write("b", b"1")
        proxy.fail(503, times=1, method="GET")
        assert store.names() == ["b", "shard.tar"]
        proxy.fail(503, times=1, method="HEAD")
        assert store.size("b") == 1
        proxy.fail(503, times=1, method="*")
        store.delete("b")
        assert not store.exists("b")
        assert take().retries == 4

    def test_a_create_in_conflict_with_another_is_sent_again(self, proxy: FaultProxy, s3_url: str) -> None:
        """The other may yet fail: only an object that is there is an answer."""
        store = open_store(s3_url)
        take()
        proxy.fail(409, code="ConditionalRequestConflict", times=2, method="PUT")
        assert store.create("a", b"1")
        assert take() == Traffic(requests=3, retries=2, bytes_written=1)
        assert not store.create("a", b"2")
        assert store.read("a") == b"1"

    def test_large_objects_are_uploaded_again_where_a_part_fails(
        self, proxy: FaultProxy, s3_url: str, tmp_path: Path
    ) -> None:
        data = bytes(range(256)) * 70_000
        (tmp_path / "big").write_bytes(data)
        store = open_store(s3_url)
        proxy.fail(503, times=1, method="PUT", path="*big")
        store.write_file("big", tmp_path / "big")
        assert proxy.counts == {"fail": 1}
        assert proxy.num_requests("*big", "PUT") > 2, "several parts"
        assert store.read("big") == data
        assert store.names() == ["big"]

    def test_each_piece_of_a_large_object_is_retried(self, proxy: FaultProxy, s3_url: str) -> None:
        data = bytes(range(256)) * 70_000
        store = open_store(s3_url)
        assert isinstance(store, ObjectStore)
        store.write("big", data)
        take()
        proxy.cut(after_bytes=1_000_000, path="*big")
        pieces = list(store.stream("big", len(data)))
        assert [len(piece) for piece in pieces] == [CHUNK_BYTES, CHUNK_BYTES, len(data) - 2 * CHUNK_BYTES]
        assert b"".join(pieces) == data
        assert take() == Traffic(requests=4, retries=1, bytes_read=len(data))

    def test_a_deadline_ends_it(self, proxy: FaultProxy, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        store = self.put(s3_url)
        monkeypatch.setenv(RETRY_VARIABLE, "0.3")
        proxy.is_out = True
        with pytest.raises(WorkError, match=r"/shard.tar: .*: connection reset\); it was retried for 0.3 s "):
            store.read("shard.tar")
        assert proxy.counts["refuse"] >= 2
        proxy.is_out = False
        assert store.size("shard.tar") == 10_000


class TestHopelessFaults:
    """One request, one clear error."""

    @pytest.mark.parametrize("verb", ["read", "names", "write"])
    def test_a_missing_bucket(self, proxy: FaultProxy, verb: str) -> None:
        store = open_store("s3://no-such-bucket/x")
        calls: dict[str, Callable[[], object]] = {
            "read": lambda: store.read("a"),
            "names": store.names,
            "write": lambda: store.write("a", b""),
        }
        with pytest.raises(UsageError, match=r"s3://no-such-bucket/x.*: there is no such bucket; check the URL"):
            calls[verb]()
        assert len(proxy.requests) == 1

    def test_wrong_credentials(self, real_s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        take()
        store = open_store(real_s3_url)
        calls: list[Callable[[], object]] = [store.names, lambda: store.read("a"), lambda: store.write("a", b"")]
        for call in calls:
            with pytest.raises(UsageError, match=r"access is denied .*SignatureDoesNotMatch.*check the credentials"):
                call()
        assert take().retries == 0


def test_uploads_may_take_longer_than_a_stalled_download(
    proxy: FaultProxy, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that is on its way for long is no stall; an answer that does not come is one."""
    monkeypatch.setattr("shardify.storage.object_store.STALL_TIMEOUT", timedelta(seconds=0.5))
    store = open_store(s3_url)
    take()
    proxy.delay(0.8, method="PUT")
    store.write("a", b"slow")
    assert (proxy.counts["delay"], take().retries) == (1, 0)
    proxy.delay(0.8, method="GET")
    assert store.read("a") == b"slow"
    assert take().retries == 1


@pytest.mark.parametrize("verb", ["write", "create"])
def test_a_404_without_a_name_means_an_unknown_bucket(proxy: FaultProxy, s3_url: str, verb: str) -> None:
    """Some answer 404 without S3's name for it; that is no missing object."""
    store = open_store(s3_url)
    proxy.fail(404)
    calls: dict[str, Callable[[], object]] = {
        "write": lambda: store.write("a", b""),
        "create": lambda: store.create("a", b""),
    }
    with pytest.raises(UsageError, match=r"the server answered 404"):
        calls[verb]()
