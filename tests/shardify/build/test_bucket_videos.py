"""Videos and lists in a bucket: the data set of the same files in a folder, no video on disk, faults told apart."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers_archives import files_below
from helpers_catalogs import catalog_of
from helpers_fault_proxy import FaultProxy
from helpers_s3 import S3Server
from helpers_shards import NUM_VIDEOS, build_config, contents, make_video

from shardify.build.config import BuildConfig
from shardify.build.run import build
from shardify.build.sources import open_videos
from shardify.errors import UsageError, WorkError
from shardify.frames.decoding import VideoError, decode_video, stop_decoding
from shardify.frames.ffmpeg_command import FramesConfig
from shardify.frames.memory_file import MemoryFile
from shardify.storage import open_store
from shardify.storage.object_store import ObjectStore
from shardify.storage.retrying import RETRY_VARIABLE
from shardify.storage.streams import prefetch
from shardify.storage.traffic import take

SMALL = FramesConfig(height=32, width=48)


@pytest.fixture
def bucket(source: Path, s3_url: str) -> str:
    """URL of the source in a bucket."""
    store = open_store(s3_url)
    for name, data in files_below(source).items():
        store.write(name, data)
    return s3_url


def in_bucket(url: str, out: Path, **changes: Any) -> BuildConfig:
    return build_config(
        Path("unused"),
        out,
        source={"kind": "ucf101", "videos": f"{url}/videos", "lists": f"{url}/lists/"},
        **changes,
    )


# Files in memory


def memory_of(path: Path) -> MemoryFile:
    memory = MemoryFile(path.name)
    memory.write(path.read_bytes())
    return memory


def decode(video: Path | MemoryFile) -> object:
    """The frames, or what is said of them."""
    try:
        return decode_video(video, SMALL)
    except VideoError as error:
        return (error.status, error.reason, error.ffmpeg)


def test_a_file_in_memory_is_a_file_with_the_ending_of_its_name(tmp_path: Path) -> None:
    with MemoryFile("a/b.c.Mp4") as memory:
        memory.write(b"01234")
        memory.write(b"56789")
        with memory.path() as path:
            assert (path.name, path.read_bytes(), memory.num_bytes) == ("video.Mp4", b"0123456789", 10)
            with path.open("rb") as file:
                file.seek(7)
                assert file.read() == b"789"
        assert not path.parent.exists()
    for name in ("none", "odd.m p4", "odd.%03d", "long." + "x" * 20, ""):
        with MemoryFile(name) as memory, memory.path() as path:
            assert path.name == "video"


def test_memory_is_freed() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    memory = MemoryFile("a")
    other = MemoryFile("b")
    assert descriptors() == before + 2
    memory.close()
    memory.close()
    del other
    assert descriptors() == before


def test_an_mp4_whose_index_is_at_its_end_is_decoded_from_memory(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", num_frames=20)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") > data.index(b"mdat")
    with memory_of(tmp_path / "a.mp4") as memory:
        assert decode(memory) == decode_video(tmp_path / "a.mp4", SMALL)


def test_an_ending_decides_about_a_container_as_it_does_on_disk(tmp_path: Path) -> None:
    """Bytes of no container: ffmpeg guesses by the ending, and its words differ."""
    words = set()
    for ending in (".dv", ".mp4", ".mjpg"):
        path = tmp_path / f"noise{ending}"
        path.write_bytes(bytes(range(255, 0, -1)) * 20)
        with memory_of(path) as memory:
            result = decode(memory)
        assert result == decode(path)
        words.add(result)
    assert all("/" not in str(word) for word in words)


@pytest.mark.slow
def test_odd_videos_are_decoded_and_refused_as_on_disk(data_dir: Path) -> None:
    paths = sorted((data_dir / "odd").iterdir())
    assert len(paths) > 30
    for path in paths:
        with memory_of(path) as memory:
            assert decode(memory) == decode(path), path


def test_decoding_in_other_threads_can_be_stopped(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text('#!/bin/sh\ncase "$*" in *-version*) echo "ffmpeg version 7.0" ;; *) exec sleep 60 ;; esac\n')
    slow.chmod(0o755)
    (tmp_path / "a.avi").write_bytes(b"video")
    results: list[object] = []

    def run() -> None:
        try:
            decode_video(tmp_path / "a.avi", FramesConfig(ffmpeg=str(slow)))
        except VideoError as error:
            results.append(error.status)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 300
    while thread.is_alive():
        assert time.monotonic() < deadline
        stop_decoding()
        time.sleep(0.02)
    assert results == ["transient"]


# Drawing ahead


def test_items_are_drawn_ahead_in_order_and_errors_come_in_their_turn() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for i in range(5):
            drawn.append(i)
            yield i
        raise WorkError("the end")

    taken = prefetch(items(), num_items=1)
    assert next(taken) == 0
    deadline = time.monotonic() + 300
    while len(drawn) < 3:  # one waits, one is held
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.05)
    assert drawn == [0, 1, 2]
    assert [next(taken) for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(WorkError, match="the end"):
        next(taken)


def test_drawing_ends_with_its_taker() -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            ended.set()

    taken = prefetch(items(), num_items=1)
    next(taken)
    taken.close()
    assert ended.wait(5)


# Builds


def test_a_bucket_gives_the_data_set_of_a_folder(
    bucket: str, built: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = tmp_path / "temporary"
    places.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(places))
    largest = 0
    real = MemoryFile.write

    def write(self: MemoryFile, data: bytes) -> None:
        nonlocal largest
        largest = max(largest, sum(path.lstat().st_size for path in places.rglob("*") if not path.is_dir()))
        real(self, data)

    monkeypatch.setattr(MemoryFile, "write", write)
    take()
    build(in_bucket(bucket, tmp_path / "out"))
    sizes = ObjectStore(bucket).tree()
    assert take().bytes_read == sum(sizes.values())  # every list and every video once
    assert contents(tmp_path / "out") == built
    assert largest < 100  # links, no video
    assert not list(places.iterdir())


def test_workers_fetch_too(bucket: str, built: dict[str, bytes], tmp_path: Path) -> None:
    build(in_bucket(bucket, tmp_path / "out", workers=2))
    assert contents(tmp_path / "out") == built
    assert build(in_bucket(bucket, tmp_path / "out")).num_shards_written == 0


def test_names_in_any_script(source: Path, tmp_path: Path, s3_url: str) -> None:
    video = next((source / "videos").rglob("*.avi"))
    store = open_store(s3_url)
    for name in ("a b.avi", "ü/ñ.avi", "100%.avi", "%20.avi", "a+b#c?.avi", "[x]~.avi", ".hidden.avi", "notes.txt"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(video, tmp_path / "videos" / name)
        store.write(name, video.read_bytes())
    build(build_config(source, tmp_path / "a", source={"kind": "flat", "videos": tmp_path / "videos"}))
    summary = build(build_config(source, tmp_path / "b", source={"kind": "flat", "videos": s3_url}))
    assert summary.num_samples == 6
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_every_kind_of_list_may_lie_in_a_bucket(s3_url: str) -> None:
    store = open_store(s3_url)
    texts = {
        "videos/a/1.avi": "video",
        "videos/b/2.mp4": "video",
        "list.csv": "path,label,split\na/1.avi,b,train\n",
        "map.txt": "b\na\n",
        "k/val.csv": "label,youtube_id,time_start,time_end,split\nb,2,1,11,validate\n",
        "k/notes.txt": "nothing",
        "h/a_test_split1.txt": "1.avi 1\n",
    }
    for name, text in texts.items():
        store.write(name, text.encode())
    videos = f"{s3_url}/videos"
    listed = catalog_of(kind="csv", videos=videos, lists=f"{s3_url}/list.csv", label_map=f"{s3_url}/map.txt")
    assert [(video.path, video.label) for video in listed.videos] == [("a/1.avi", 0)]
    for lists in ("k", "k/val.csv"):
        kinetics = catalog_of(kind="kinetics", release=400, videos=videos, lists=f"{s3_url}/{lists}")
        assert [(video.path, video.splits) for video in kinetics.videos] == [("b/2.mp4", ("val",))]
    hmdb51 = catalog_of(kind="hmdb51", videos=videos, lists=f"{s3_url}/h")
    assert [(video.path, video.splits) for video in hmdb51.videos] == [("a/1.avi", ("train1",))]
    assert catalog_of(kind="folder", videos=videos).classes == ("a", "b")
    with pytest.raises(UsageError, match=r"cannot read list s3://.*/gone.csv: there is no such object"):
        catalog_of(kind="csv", videos=videos, lists=f"{s3_url}/gone.csv")
    for name, words in {
        "nothing": "no object lies there; give a folder or URL of videos, or of .tar",
        "videos.zip": "archives of this kind are not read",
        "videos/a/1.avi": "this names one video",
    }.items():
        with pytest.raises(UsageError, match=rf"^source.videos = s3://.*/{name}: {words}"):
            catalog_of(kind="flat", videos=f"{s3_url}/{name}")
    with pytest.raises(UsageError, match=r"^https://127.0.0.1:1/videos: "):
        catalog_of(kind="flat", videos="https://127.0.0.1:1/videos")
    with pytest.raises(UsageError, match=r"there is no archive s3://.*/nothing.tar; check the URL, and if it is a fol"):
        catalog_of(kind="flat", videos=f"{s3_url}/nothing.tar")


# Faults


def test_an_object_that_vanished_is_that_videos_matter(
    bucket: str, built: dict[str, bytes], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "videos/Spin/v_Spin_g03_c01.avi"
    real = open_videos

    def vanish(root: str, paths: list[str]) -> object:
        ObjectStore(bucket).delete(name)
        return real(root, paths)

    with monkeypatch.context() as patch:
        patch.setattr("shardify.build.shard_writer.open_videos", vanish)
        summary = build(in_bucket(bucket, tmp_path / "out", max_rejected_share=1))
    assert (summary.num_samples, summary.num_transient) == (NUM_VIDEOS - 1, 1)
    (line,) = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "cannot be read: No such file or directory"
    open_store(bucket).write(name, (source / name).read_bytes())
    build(in_bucket(bucket, tmp_path / "out", max_rejected_share=1), retry_failed=True)
    assert contents(tmp_path / "out") == built


def test_a_video_that_is_replaced_while_it_is_read_may_be_read_again(
    bucket: str, built: dict[str, bytes], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "videos/Spin/v_Spin_g03_c01.avi"
    whole = (source / name).read_bytes()
    monkeypatch.setattr("shardify.storage.object_store.CHUNK_BYTES", len(whole) // 2)
    real = ObjectStore.stream

    def replaced(self: ObjectStore, path: str, num_bytes: int) -> Iterator[bytes]:
        for piece in real(self, path, num_bytes):
            yield piece
            if self.url(path) == f"{bucket}/{name}":
                self.write(path, whole[:-1] + b"x")

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "stream", replaced)
        summary = build(in_bucket(bucket, tmp_path / "out", max_rejected_share=1))
    assert (summary.num_samples, summary.num_transient) == (NUM_VIDEOS - 1, 1)
    (line,) = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "it changed while it was read; wait until it is whole"
    open_store(bucket).write(name, whole)
    build(in_bucket(bucket, tmp_path / "out", max_rejected_share=1), retry_failed=True)
    assert contents(tmp_path / "out") == built


@pytest.fixture
def proxy(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.endpoint) as proxy:
        s3_server.set_environment(monkeypatch, proxy.endpoint)
        monkeypatch.setenv(RETRY_VARIABLE, "20")
        yield proxy


def test_faults_that_pass_leave_no_trace(
    proxy: FaultProxy, bucket: str, built: dict[str, bytes], tmp_path: Path
) -> None:
    proxy.fail(503, times=2, path="*.avi")
    proxy.cut(after_bytes=1000, path="*.avi")
    proxy.refuse(times=1)
    build(in_bucket(bucket, tmp_path / "out"))
    assert contents(tmp_path / "out") == built
    assert dict(proxy.counts) == {"fail": 2, "cut": 1, "refuse": 1}


def test_an_outage_stops_the_build_with_one_line_and_fills_no_ledger(
    proxy: FaultProxy, bucket: str, built: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RETRY_VARIABLE, "0.5")
    proxy.fail(503, times=10_000, path="*g04_c02.avi")
    with pytest.raises(WorkError, match=r"g04_c02.avi: the server answered 503.*run the same command again to contin"):
        build(in_bucket(bucket, tmp_path / "out"))
    assert not (tmp_path / "out" / "rejected.jsonl").exists()
    records = [json.loads(path.read_bytes()) for path in (tmp_path / "out").glob("shard-*.json")]
    assert all(record["rejected"] == [] for record in records)


def test_denied_access_stops_at_once(
    real_s3_url: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bucket == real_s3_url
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    start = time.monotonic()
    with pytest.raises(UsageError, match="access is denied"):
        build(in_bucket(bucket, tmp_path / "out"))
    assert time.monotonic() - start < 10
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "wrong"
