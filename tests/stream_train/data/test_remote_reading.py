"""Reading from object stores: the same clips by every access, any ranks and workers, any stops; damage; traffic."""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers_datasets import write_dataset
from helpers_remote import LOCATION, RemoteFolder

from shardify.errors import WorkError
from shardify.storage.folder_store import FolderStore
from shardify.storage.traffic import take
from stream_train.data import reading_line
from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.evaluation_pass import each_sample_once, sample_lengths
from stream_train.data.loader import ClipStream, VideoClips
from stream_train.data.prefetching import BatchRequest, look_ahead
from stream_train.data.reader import FrameReader, ShardSet, open_shard_set, shard_set_of
from stream_train.draws import Domain
from stream_train.transformations.config import SamplingConfig
from stream_train.transformations.sampling import draw_clips

DRAW = functools.partial(draw_clips, config=SamplingConfig())
NUM_BATCHES = 9
LENGTHS = [[40, 16, 150, 17, 60], [33, 61, 35], [130, 20, 16, 90, 31, 48], [18, 64, 22], [140, 16]]

Config = Callable[..., DataConfig]
BOTH = pytest.mark.parametrize("access", ["ranged", "cached"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("remote") / "set", LENGTHS)


@pytest.fixture
def remote(folder: Path) -> RemoteFolder:
    return RemoteFolder(folder)


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> RemoteFolder:
    """Frame 7 of the second sample has a flipped byte."""
    copy = shutil.copytree(folder, tmp_path / "damaged")
    entry = FrameReader(open_shard_set(copy, None)).entry(1)
    tar = bytearray((copy / "shard-000000.tar").read_bytes())
    tar[int(entry.frame_offsets("mjpg")[7]) + 30] ^= 1
    (copy / "shard-000000.tar").write_bytes(tar)
    return RemoteFolder(copy)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Makes a config, with the cache in tmp_path."""

    def make(access: str, **reader: object) -> DataConfig:
        default = {"window_shards": 2, "access": access, "cache": {"folder": str(tmp_path / "cache")}}
        reader = {"kind": "indexed"} | default | reader
        return DataConfig.model_validate({"crop": 32, "videos_per_batch": 5, "num_workers": 0, "reader": reader})

    return make


def stream(data: ShardSet, settings: DataConfig, seed: int = 5, num_batches: int = NUM_BATCHES) -> list[Batch]:
    return list(ClipStream(data, settings, DRAW, seed=seed, num_batches=num_batches))


def stream_hash(batches: Sequence[Batch]) -> str:
    """One hash of everything that the network would see, video by video: it does not show how ranks shared batches."""
    digest = hashlib.sha256()
    for batch in batches:
        for first in range(0, len(batch), 4):
            video = slice(first, first + 4)
            for _, tensor in batch.tensors():
                digest.update(tensor[video].numpy().tobytes())
    return digest.hexdigest()


def simulate(data: ShardSet, settings: DataConfig, stops: Sequence[int], world: Sequence[tuple[int, int]]) -> str:
    """Hash of the clip stream of a run that stops at some batches, each time continued by (ranks, workers)."""
    seen: list[Batch] = []
    for (start, stop), (ranks, workers) in zip(
        itertools.pairwise([0, *stops, NUM_BATCHES]), itertools.cycle(world), strict=False
    ):
        parts = [list(rank_batches(data, settings, start, stop, rank, ranks, workers)) for rank in range(ranks)]
        seen += [batch for step in zip(*parts, strict=True) for batch in step]
    return stream_hash(seen)


def rank_batches(
    data: ShardSet, settings: DataConfig, start: int, stop: int, rank: int, ranks: int, workers: int
) -> Iterator[Batch]:
    """What a rank's loader gives; as many objects of this process stand for its workers."""
    clip_stream = ClipStream(
        data,
        settings,
        DRAW,
        seed=5,
        rank=rank,
        world_size=ranks,
        start_sample=start * settings.videos_per_batch,
        num_batches=stop - start,
    )
    requests = look_ahead(clip_stream.requests(), data, num_workers=workers, ahead_batches=3)
    pool = [VideoClips(data, settings, DRAW, 5, Domain.TRAINING) for _ in range(max(workers, 1))]
    for number, request in enumerate(requests):
        item = pool[number % len(pool)][request].item
        assert isinstance(item, Batch), item
        yield item


def test_matrix_of_ranks_workers_and_accesses_gives_one_stream(folder: Path, config: Config) -> None:
    """1, 2, 3 ranks, 0, 1, 4 workers, local, cached, ranged; each stopped twice and continued by another pair."""
    expected = simulate(open_shard_set(folder, None), config("ranged"), [], [(1, 0)])
    rng = random.Random(0)
    pairs = [(1, 0), (1, 4), (2, 1), (3, 4)]
    hashes = {}
    for access in ("local", "cached", "ranged"):
        settings = config("ranged" if access == "local" else access)
        store = FolderStore(folder) if access == "local" else RemoteFolder(folder)
        data = shard_set_of(store, None, settings)
        assert data.access.kind == access
        for pair in pairs:
            stops = sorted(rng.sample(range(1, NUM_BATCHES), 2))
            hashes[access, pair, tuple(stops)] = simulate(data, settings, stops, [pair, rng.choice(pairs)])
    assert len(hashes) == 12
    assert {place: value for place, value in hashes.items() if value != expected} == {}


def test_another_seed_gives_another_hash(folder: Path, config: Config) -> None:
    data = open_shard_set(folder, None)
    assert stream_hash(stream(data, config("ranged"), 5)) != stream_hash(stream(data, config("ranged"), 6))


def test_ranged_reads_move_no_more_than_the_clips_need(remote: RemoteFolder) -> None:
    reader = FrameReader(shard_set_of(remote, None))
    entry = reader.entry(2)
    remote.requests.clear()
    jpegs = reader.read(2, list(range(16, 32)))
    assert remote.bytes_read["shard-000000.tar"] == int(entry.frame_bytes[16:32].sum()) == sum(map(len, jpegs.values()))
    assert remote.requests == {"shard-000000.tar": 1}


def test_cached_reading_moves_each_shard_once(remote: RemoteFolder, config: Config) -> None:
    data = shard_set_of(remote, None, config("cached"))
    take()
    stream(data, config("cached"))
    assert take().cache_misses == len(LENGTHS)
    assert [remote.bytes_read[f"shard-{number:06d}.tar"] for number in range(5)] == [s.tar_bytes for s in data.shards]
    stream(data, config("cached"), seed=6)
    assert take().cache_misses == 0


def test_the_way_of_reading_is_chosen_once_and_told(remote: RemoteFolder, config: Config, tmp_path: Path) -> None:
    """`auto` is cached exactly if the whole split fits."""
    total = sum(shard.tar_bytes for shard in shard_set_of(remote, None).shards)
    cache, needed = tmp_path / "x", "ranged (only the bytes of the frames that are needed"

    def told(access: str, folder: Path, max_bytes: float = 1e9) -> str:
        settings = config(access, cache={"folder": str(folder), "max_gigabytes": max_bytes / 1e9})
        data = shard_set_of(remote, None, settings)
        assert data.access.kind in data.access.description
        start, told = reading_line(data).split(" MB, ")
        assert start.startswith(f"reading {LOCATION}, all samples: 19 videos in 5 shards, ")
        return told

    assert told("auto", cache) == told("cached", cache) == f"cached in {cache} (at most 1 GB)"
    assert told("ranged", cache) == f"{needed})"
    assert told("auto", cache, total).startswith("cached")
    assert told("auto", cache, total - 1).startswith(f"{needed}; the cache {cache} has room for ")
    (tmp_path / "file").touch()
    assert told("auto", tmp_path / "file" / "x") == f"{needed}; the cache {tmp_path / 'file' / 'x'} cannot be written)"


def test_shards_that_the_cache_cannot_hold_are_read_in_ranges(
    remote: RemoteFolder, config: Config, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    largest = max(shard.tar_bytes for shard in shard_set_of(remote, None).shards)
    settings = config("cached", cache={"folder": str(tmp_path / "small"), "max_gigabytes": (largest - 1) / 1e9})
    found = stream_hash(stream(shard_set_of(remote, None, settings), settings))
    assert found == stream_hash(stream(open_shard_set(folder, None), settings))
    assert capsys.readouterr().err.count("has no room for a shard of") == 1
    assert sum(path.stat().st_size for path in (tmp_path / "small").glob("*.tar")) < largest


@BOTH
def test_a_byte_damaged_on_the_way_is_read_once_more(
    remote: RemoteFolder, config: Config, folder: Path, access: str
) -> None:
    remote.flips = {"shard-000000.tar": 1, "shard-000002.tar": 1, "shard-000003.idx.npz": 1}
    data = shard_set_of(remote, None, config(access))
    take()
    found = stream_hash(stream(data, config(access)))
    assert take().refetches == 3
    assert found == stream_hash(stream(open_shard_set(folder, None), config(access)))


@BOTH
def test_a_damaged_sample_is_named_with_its_place(damaged: RemoteFolder, config: Config, access: str) -> None:
    data = shard_set_of(damaged, None, config(access))
    with pytest.raises(WorkError, match=rf"{LOCATION}/shard-000000.tar: frame 7 of sample video0001 \(bytes \d+ to"):
        stream(data, config(access))


@BOTH
def test_a_substitute_is_chosen_by_arithmetic_and_counted(damaged: RemoteFolder, config: Config, access: str) -> None:
    settings = config(access, on_damage="substitute")
    data = shard_set_of(damaged, None, settings)
    take()
    samples = [int(sample) for batch in stream(data, settings, num_batches=8) for sample in batch.sample[::4]]
    assert take().substitutes == 2  # 40 videos are two epochs of 19 and a little
    assert 1 not in samples
    assert samples[:19].count(2) == 2  # its own turn, and in place of the sample before it
    assert simulate(data, settings, [3], [(3, 1), (2, 4)]) == simulate(data, settings, [7], [(1, 0)])


def test_substitutes_are_for_training_and_among_the_samples_that_take_part(
    damaged: RemoteFolder, config: Config
) -> None:
    settings = config("ranged", on_damage="substitute")
    data = shard_set_of(damaged, None, settings)
    with pytest.raises(WorkError, match="frame 7 of sample video0001"):
        list(each_sample_once(data, settings, DRAW, seed=0))
    (batch,) = ClipStream(data, settings, DRAW, seed=5, num_batches=1, positions=np.array([1, 4, 9]))
    assert sorted(set(batch.sample.tolist())) == [4, 9]


@BOTH
@pytest.mark.parametrize("name", ["shard-000001.tar", "shard-000001.idx.npz"])
def test_a_missing_object_is_named(folder: Path, config: Config, tmp_path: Path, access: str, name: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / name).unlink()
    settings = config(access, on_damage="substitute")
    with pytest.raises(WorkError, match=f"{LOCATION}/{name} is missing"):
        stream(shard_set_of(RemoteFolder(copy), None, settings), settings)


def test_lengths_are_known_from_the_indexes(remote: RemoteFolder) -> None:
    assert sample_lengths(shard_set_of(remote, None)).tolist() == [n for shard in LENGTHS for n in shard]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_requests_are_told_what_follows_them(folder: Path, config: Config, workers: int) -> None:
    data = open_shard_set(folder, None)
    plain = list(ClipStream(data, config("ranged"), DRAW, seed=5, num_batches=NUM_BATCHES).requests())
    told = list(look_ahead(iter(plain), data, num_workers=workers, ahead_batches=2))
    assert [(request.number, request.slots) for request in told] == [
        (request.number, request.slots) for request in plain
    ]
    step = max(workers, 1)
    assert [request.following for request in told] == [*plain[step:], *[None] * step]

    def used(request: BatchRequest) -> set[int]:
        return {data.shard_of(slot.position) for slot in request.slots}

    named: set[int] = set()
    for number, request in enumerate(told):
        named |= set(request.new_shards)
        assert used(request) <= named  # named before, or at the latest when it is needed
        assert named <= set().union(*map(used, plain[: number + max(step, 2) + 1]))
