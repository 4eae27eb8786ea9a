"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from helpers_archives import archived_config, make_archived_source
from helpers_clouds import NOBODY, point_to, set_clouds
from helpers_datasets import write_dataset
from helpers_fault_proxy import FaultProxy
from helpers_s3 import S3Server, given_server, moto_server, remove_all
from helpers_shards import NUM_VIDEOS, build_config, contents, make_source

import shardify.build.archives.writer
import shardify.build.shard_writer
from shardify.build.run import build
from shardify.build.shard_writer import decode_source
from shardify.frames.decoding import Frames, VideoError, decode_video
from shardify.frames.ffmpeg_command import FramesConfig
from shardify.frames.memory_file import MemoryFile

PROJECT_ROOT = Path(__file__).resolve().parent.parent
Decode = Callable[[Path | MemoryFile, FramesConfig], Frames]
Decoded = dict[tuple[str, bytes, FramesConfig], Frames]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # OpenMP's threads spin while they wait for a core that others use
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in its background jobs
gc.disable()  # until all is collected: the many imports are no garbage


def pytest_collection_finish() -> None:
    """Later collections of garbage pass over what was imported."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Or modules in C++ complain at the end that they leak."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real clips: TEMPORAL_SSL_TEST_DATA, or `shared/data` beside the checkout.

    Tests that need it skip where it is absent; with TEMPORAL_SSL_REQUIRE_DATA=1 they fail instead.
    """
    folder = Path(os.environ.get("TEMPORAL_SSL_TEST_DATA", PROJECT_ROOT.parent / "shared" / "data"))
    if not (folder / "README.md").is_file():
        message = f"no real clips at {folder}; set TEMPORAL_SSL_TEST_DATA to the folder that holds them"
        if os.environ.get("TEMPORAL_SSL_REQUIRE_DATA") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five shards of 23 videos with 5 to 150 frames, all in train1; read-only."""
    shards = [[20, 16, 31, 61, 125], [130, 17, 40, 45], [5, 150, 33, 34, 35, 36], [64, 65, 66], [70, 71, 72, 121, 16]]
    return write_dataset(tmp_path_factory.mktemp("small"), shards)


@pytest.fixture(scope="session")
def whole_run(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted tiny training run; read-only."""
    from helpers_training import run_tiny

    out = tmp_path_factory.mktemp("runs") / "whole"
    run_tiny(small_dataset, out, rendered=True)
    return out


@pytest.fixture(scope="session")
def validated_run(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, validated after each epoch; read-only."""
    from helpers_training import VALIDATED, run_tiny

    out = tmp_path_factory.mktemp("runs") / "validated"
    run_tiny(small_dataset, out, validation=VALIDATED)
    return out


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The S3 server of this session; with TEMPORAL_SSL_REQUIRE_S3=1 it must be a real one."""
    server = given_server()
    if server is not None:
        yield server
        return
    if os.environ.get("TEMPORAL_SSL_REQUIRE_S3") == "1":
        pytest.fail("TEMPORAL_SSL_REQUIRE_S3=1, but AWS_ENDPOINT_URL names no server")
    with moto_server() as server:
        yield server


@pytest.fixture
def s3_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh URL on the session's S3 server, known to this process and its children; emptied afterwards."""
    s3_server.set_environment(monkeypatch)
    url = f"s3://{s3_server.bucket}/test-{uuid4().hex}"
    yield url
    s3_server.set_environment(monkeypatch)
    remove_all(url)


@pytest.fixture
def real_s3_url(s3_server: S3Server, s3_url: str) -> str:
    """The same, on a server that checks credentials; skips where there is none."""
    if not s3_server.is_real:
        pytest.skip("moto's server checks no credentials; name a real S3 server in AWS_ENDPOINT_URL")
    return s3_url


@pytest.fixture
def clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for every cloud, whatever this machine's own variables are."""
    set_clouds(monkeypatch)


@pytest.fixture
def cloud_proxy(clouds: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """All clouds, which answer 404 after the faults that a test asks for."""
    with FaultProxy(NOBODY) as proxy:
        point_to(proxy.endpoint, monkeypatch)
        yield proxy


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 videos with lists; read-only."""
    return make_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def built_folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of `source`; read-only."""
    out = tmp_path_factory.mktemp("shards") / "built"
    build(build_config(source, out))
    return out


@pytest.fixture(scope="session")
def built(built_folder: Path) -> dict[str, bytes]:
    """The contents of `built_folder`."""
    return contents(built_folder)


@pytest.fixture(scope="session")
def archived_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archives of videos, their lists, and the same videos loose; read-only."""
    return make_archived_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def archived_shards(archived_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of `archived_source`; read-only."""
    out = tmp_path_factory.mktemp("shards") / "built"
    summary = build(archived_config(archived_source / "archives", out))
    assert (summary.num_samples, summary.num_missing, summary.num_unlisted) == (NUM_VIDEOS - 1, 1, 1)
    return out


@pytest.fixture
def archives(archived_source: Path, tmp_path: Path) -> Path:
    """A copy of `archived_source`'s archives, to be changed, with the lists beside it."""
    (tmp_path / "lists").symlink_to(archived_source / "lists")
    return Path(shutil.copytree(archived_source / "archives", tmp_path / "archives"))


@pytest.fixture(scope="session")
def decoded_before() -> Decoded:
    """The frames of each video that a build of this session decoded, by ending, contents and settings."""
    return {}


@pytest.fixture(autouse=True)
def decode_once(decoded_before: Decoded) -> Iterator[Decode]:
    """Builds in this process decode equal files once: most of a build's time goes into starting ffmpeg.

    Their worker processes, and the builds of the fixtures that tests compare with, decode as ever.
    """

    def decode(video: Path | MemoryFile, config: FramesConfig) -> Frames:
        if isinstance(video, MemoryFile):
            suffix, data = "memory", os.pread(video.fileno(), video.num_bytes, 0)
        elif video.is_file() and os.access(video, os.R_OK):
            suffix, data = video.suffix, video.read_bytes()
        else:
            return decode_video(video, config)
        key = (suffix, data, config)
        if key not in decoded_before:
            decoded_before[key] = decode_video(video, config)
        return decoded_before[key]

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(shardify.build.shard_writer, "decode_video", decode)
        yield decode


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the videos out of archives that are decoded in this process."""
    sizes: list[int] = []
    real = decode_source

    def decode(memory: Any, recipe: Any) -> Frames | VideoError:
        sizes.append(memory.num_bytes)
        return real(memory, recipe)

    monkeypatch.setattr(shardify.build.archives.writer, "decode_source", decode)
    return sizes


@pytest.fixture(scope="module")
def blank_charts() -> Iterator[None]:
    """Figures are built, but saved as one pixel: most of an evaluation's time goes into drawing."""
    from helpers_training import without_rendering

    with without_rendering():
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small data set and a pre-training run on it, for tests of evaluations; read-only."""
    from helpers_video_eval import make_world

    return make_world(tmp_path_factory.mktemp("world"))
