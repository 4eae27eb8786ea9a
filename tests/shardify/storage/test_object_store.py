"""Folders and object stores keep one contract; URLs and names that stores accept."""

from __future__ import annotations

import http.server
import multiprocessing
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import boto3
import pytest
from helpers_web import web_server
from obstore.store import HTTPStore

from shardify.errors import ReplacedError, UsageError, WorkError
from shardify.storage import open_store
from shardify.storage.locations import check_url, join_location
from shardify.storage.object_store import ObjectStore
from shardify.storage.store import Store


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    location = tmp_path if request.param == "folder" else request.getfixturevalue("s3_url")
    return open_store(location)


class TestContract:
    def test_objects_are_read_whole_or_in_parts(self, store: Store) -> None:
        store.write("a", b"0123456789")
        assert store.read("a") == b"0123456789"
        assert store.read_range("a", 3, 4) == b"3456"
        assert store.read_range("a", 10, 0) == b""
        assert store.size("a") == 10
        for start in (8, 20):
            with pytest.raises(WorkError, match="/a"):
                store.read_range("a", start, 4)
        store.write("a", b"new")
        assert store.read("a") == b"new"

    def test_files_are_consumed(self, store: Store) -> None:
        with store.temporary("big") as path:
            path.write_bytes(bytes(range(256)) * 80_000)  # 20 MB: several parts
            store.write_file("big", path)
            assert not path.exists()
        assert store.size("big") == 20_480_000
        assert store.read_range("big", 256 * 79_999, 256) == bytes(range(256))
        assert not path.exists()

    def test_a_temporary_file_that_is_not_stored_is_gone(self, store: Store) -> None:
        with store.temporary("big") as path:
            path.write_bytes(b"half")
        assert not path.exists()
        assert not store.exists("big")

    def test_create_does_not_replace(self, store: Store) -> None:
        assert store.create("a", b"first")
        assert not store.create("a", b"second")
        assert store.read("a") == b"first"
        assert store.names() == ["a"]

    def test_only_one_of_many_creators_succeeds(self, store: Store) -> None:
        with ThreadPoolExecutor(8) as pool:
            created = list(pool.map(lambda i: store.create("a", f"{i}".encode()), range(8)))
        assert created.count(True) == 1
        assert store.read("a") == f"{created.index(True)}".encode()

    def test_names_lists_whole_objects_directly_below(self, store: Store) -> None:
        assert store.sizes() == {}
        store.write("b", b"12")
        store.write("a.json", b"1")
        with store.temporary("c") as path:
            path.write_bytes(b"half")
            assert store.names() == ["a.json", "b"]
        assert store.sizes() == {"a.json": 1, "b": 2}
        assert (store.exists("b"), store.exists("c")) == (True, False)
        store.delete("b")
        store.delete("b")
        assert store.names() == ["a.json"]

    def test_missing_objects(self, store: Store) -> None:
        tries: list[Callable[[], object]] = [
            lambda: store.read("x"),
            lambda: store.read_range("x", 0, 1),
            lambda: store.size("x"),
        ]
        for attempt in tries:
            with pytest.raises(FileNotFoundError):
                attempt()
        assert not store.exists("x")


class TestUrls:
    @pytest.mark.parametrize("url", ["s3://b", "s3://b/x/y", "gs://b/x", "az://c/x", "https://h:1/x", "http://h/x"])
    def test_known_kinds(self, url: str) -> None:
        assert check_url(url) == url.partition(":")[0]
        assert open_store(url).url("a") == f"{url}/a"
        assert join_location(url, "below", "it") == f"{url}/below/it"
        assert join_location(f"{url}/", "below") == f"{url}/below"

    @pytest.mark.parametrize(
        "url",
        ["s3:///x", "s3://b/x//y", "s3://b/../y", "s3://b/x?y", "s3://b/x\ty", "s3://b/x ", " s3://b/x", "s3://my b/x"],
    )
    def test_malformed_urls_are_refused(self, url: str) -> None:
        with pytest.raises(UsageError, match="s3://"):
            open_store(url)

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("ftp://host/x", "use s3://bucket/path"),
            ("gcs://b/x", "for gcs:// write gs://bucket/path"),
            ("s3a://b/x", "for s3a:// write s3://bucket/path"),
            ("file:///data", "for file:// write the folder's path alone"),
        ],
    )
    def test_other_programs_schemes_are_refused_with_the_right_one(self, url: str, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            open_store(url)

    def test_a_store_goes_to_another_process(self, s3_url: str) -> None:
        store = open_store(s3_url)
        store.write("a", b"far")
        assert pickle.loads(pickle.dumps(store)).read("a") == b"far"
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(store.read, ("a",)) == b"far"


class TestHttp:
    @pytest.fixture
    def served(self, tmp_path: Path) -> Iterator[str]:
        """A plain web server over a folder; it knows no ranges."""
        (tmp_path / "a").write_bytes(b"0123456789")

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

            def log_message(self, *_: object) -> None:
                """Silence."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        server.server_close()

    def test_whole_objects_are_read(self, served: str) -> None:
        store = open_store(served)
        assert store.read("a") == b"0123456789"
        assert (store.exists("a"), store.exists("b")) == (True, False)

    def test_a_server_without_ranges_is_told(self, served: str) -> None:
        with pytest.raises(WorkError, match=r"/a: .*[Rr]ange"):
            open_store(served).read_range("a", 1, 2)

    def test_nothing_is_written_or_listed(self, served: str) -> None:
        store = open_store(served)
        with pytest.raises(UsageError, match=r"can only be read; write to s3://"):
            store.write("b", b"")
        with pytest.raises(UsageError, match=r"can only be read"):
            store.delete("a")
        with pytest.raises(UsageError, match=r"cannot list"):
            store.names()


@pytest.mark.parametrize("host", ["bucket.s3.amazonaws.com", "s3.us-east-1.amazonaws.com", "me.blob.core.windows.net"])
def test_web_addresses_of_clouds_are_read_as_web_servers(host: str) -> None:
    store = ObjectStore(f"https://{host}/x/y")
    assert isinstance(store.client, HTTPStore)
    assert store.client.url == f"https://{host}/x/y"


def test_azure_needs_the_name_of_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(UsageError, match=r"az://c/x .*name the storage account in AZURE_STORAGE_ACCOUNT_NAME"):
        open_store("az://c/x").read("a")


def test_trees_reach_all_depths(s3_url: str) -> None:
    for name in ("a", "b/c", "b/d/e"):
        outer, _, inner = name.rpartition("/")
        open_store(join_location(s3_url, outer) if outer else s3_url).write(inner, name.encode())
    store = open_store(s3_url)
    assert isinstance(store, ObjectStore)
    assert store.tree() == {"a": 1, "b/c": 3, "b/d/e": 5}
    assert store.names() == ["a"]
    assert store.read("b/d/e") == b"b/d/e"


@pytest.mark.parametrize("second", [b"9876543210", b"0123456789 and more", b"0123456"])
def test_pieces_of_two_objects_are_never_joined(s3_url: str, monkeypatch: pytest.MonkeyPatch, second: bytes) -> None:
    monkeypatch.setattr("shardify.storage.object_store.CHUNK_BYTES", 4)
    store = ObjectStore(s3_url)
    store.write("a", b"0123456789")
    pieces = store.stream("a", 10)
    assert next(pieces) == b"0123"
    store.write("a", second)
    with pytest.raises(ReplacedError, match=r"/a was replaced while it was read; run the same command again"):
        next(pieces)


def test_a_web_server_without_tags_is_asked_for_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardify.storage.object_store.CHUNK_BYTES", 4)
    (tmp_path / "a").write_bytes(b"0123456789")
    with web_server(tmp_path) as url:
        store = ObjectStore(url)
        assert b"".join(store.stream("a", 10)) == b"0123456789"
        pieces = store.stream("a", 10)
        next(pieces)
        os.utime(tmp_path / "a", (0, 0))
        with pytest.raises(ReplacedError, match="was replaced"):
            next(pieces)


def put_key(key: str, data: bytes) -> Callable[[], None]:
    """Store an object under a key that obstore itself would not write; returns what removes it."""
    server = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    place = {"Bucket": os.environ["S3_BUCKET"], "Key": key}
    server.put_object(**place, Body=data)
    return partial(server.delete_object, **place)


def test_folder_markers_are_no_objects(s3_url: str) -> None:
    """Consoles and sync tools leave empty objects whose keys end in a slash."""
    prefix = s3_url.split("/", 3)[3]
    for key, data in {"": b"", "sub/": b"", "sub/a.mp4": b"1", "b.mp4": b"1", "empty.mp4": b""}.items():
        put_key(f"{prefix}/{key}", data)
    store = open_store(s3_url)
    assert isinstance(store, ObjectStore)
    assert store.tree() == {"b.mp4": 1, "empty.mp4": 0, "sub/a.mp4": 1}
    assert store.sizes() == {"b.mp4": 1, "empty.mp4": 0}


def test_odd_names_are_read_back(s3_url: str) -> None:
    store = open_store(s3_url)
    prefix = s3_url.split("/", 3)[3]
    names = ["a b#?.mp4", "a%20b.mp4", "\u00fc.mp4"]
    for name in names:
        put_key(f"{prefix}/{name}", name.encode())
    assert store.names() == names
    assert [store.read(name).decode() for name in names] == names


@pytest.mark.parametrize("prefix", ["a b", "100%25 sure", "100%", "\u00fc"])
def test_odd_prefixes_are_not_escaped(s3_url: str, prefix: str) -> None:
    put_key(f"{s3_url.split('/', 3)[3]}/{prefix}/a", b"1")
    store = open_store(f"{s3_url}/{prefix}")
    assert (store.names(), store.read("a")) == (["a"], b"1")
    store.write("b", b"2")
    assert store.url("b") == f"{s3_url}/{prefix}/b"
    above = open_store(s3_url)
    assert isinstance(above, ObjectStore)
    assert above.tree() == {f"{prefix}/a": 1, f"{prefix}/b": 1}


def test_a_key_that_is_no_path_is_named(s3_url: str) -> None:
    remove = put_key(f"{s3_url.split('/', 3)[3]}/x//a.mp4", b"1")
    store = open_store(s3_url)
    assert isinstance(store, ObjectStore)
    with pytest.raises(WorkError, match=re.escape("x//a.mp4")):
        store.tree()
    remove()
