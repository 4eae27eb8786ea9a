"""Reading from afar: the same clips by every access, any ranks and workers, any stops; damage; what is moved."""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers_datasets import write_dataset
from helpers_remote import LOCATION, RemoteFolder, put_afar

from shardify.errors import WorkError
from shardify.storage.traffic import take
from stream_train.data import reading_line
from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.fetching import BatchRequest, look_ahead
from stream_train.data.loader import ClipStream, VideoClips
from stream_train.data.reader import FrameReader, ShardSet, open_shard_set
from stream_train.data.survey import each_sample_once, sample_lengths
from stream_train.draws import Domain
from stream_train.transformations.sampling import SamplingConfig, draw_clips

DRAW = functools.partial(draw_clips, config=SamplingConfig())
NUM_BATCHES = 12
LENGTHS = [[40, 16, 150, 17, 60], [33, 61, 35], [130, 20, 16, 90, 31, 48], [18, 64, 22], [140, 16]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("afar") / "set", LENGTHS)


@pytest.fixture
def afar(monkeypatch: pytest.MonkeyPatch, folder: Path) -> RemoteFolder:
    return put_afar(monkeypatch, folder)


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path) -> RemoteFolder:
    """Frame 7 of the second sample has a flipped byte."""
    copy = shutil.copytree(folder, tmp_path / "damaged")
    entry = FrameReader(open_shard_set(copy, None)).entry(1)
    tar = bytearray((copy / "shard-000000.tar").read_bytes())
    tar[int(entry.frame_offsets("mjpg")[7]) + 30] ^= 1
    (copy / "shard-000000.tar").write_bytes(tar)
    return put_afar(monkeypatch, copy)


def config(folder: Path, access: str, num_workers: int = 0, **reader: object) -> DataConfig:
    kind = {"kind": "indexed", "window_shards": 2, "access": access, "cache": {"folder": str(folder)}}
    return DataConfig.model_validate(
        {"crop": 32, "videos_per_batch": 5, "num_workers": num_workers, "reader": kind | reader}
    )


def stream_hash(batches: Sequence[Batch]) -> str:
    """One hash of everything that the network would see."""
    digest = hashlib.sha256()
    for batch in batches:
        for tensor in (batch.frames, batch.indices, batch.motion, batch.speed, batch.flip, batch.label, batch.sample):
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def simulate(data: ShardSet, settings: DataConfig, stops: Sequence[int], world: Sequence[tuple[int, int]]) -> str:
    """Hash of the clip stream of a run that stops at some batches, each time continued by (ranks, workers)."""
    seen: list[Batch] = []
    for (start, stop), (ranks, workers) in zip(
        itertools.pairwise([0, *stops, NUM_BATCHES]), itertools.cycle(world), strict=False
    ):
        parts = [list(rank_batches(data, settings, start, stop, rank, ranks, workers)) for rank in range(ranks)]
        seen += [batch for step in zip(*parts, strict=True) for batch in step]
    return stream_hash(merged(seen))


def merged(batches: Sequence[Batch]) -> list[Batch]:
    """The batches cut into videos, so that how they were dealt to ranks does not show in the hash."""
    return [
        Batch(
            **{name: getattr(batch, name)[first : first + 4] for name in Batch.__dataclass_fields__ if name != "colour"}
        )
        for batch in batches
        for first in range(0, len(batch), 4)
    ]


def rank_batches(
    data: ShardSet, settings: DataConfig, start: int, stop: int, rank: int, ranks: int, workers: int
) -> Iterator[Batch]:
    """What a rank's loader gives, with its workers played by as many objects in this process."""
    stream = ClipStream(
        data,
        settings,
        DRAW,
        seed=5,
        rank=rank,
        world_size=ranks,
        start_sample=start * settings.videos_per_batch,
        num_batches=stop - start,
    )
    requests = look_ahead(stream.requests(), data, num_workers=workers, ahead_batches=3)
    pool = [VideoClips(data, settings, DRAW, 5, Domain.TRAINING) for _ in range(max(workers, 1))]
    for number, request in enumerate(requests):
        item = pool[number % len(pool)][request].item
        assert isinstance(item, Batch), item
        yield item


def test_matrix_of_ranks_workers_and_accesses_gives_one_stream(folder: Path, tmp_path: Path) -> None:
    """1, 2, 3 ranks x 0, 1, 4 workers x local, cached, ranged, each stopped twice and continued by another pair."""
    local = open_shard_set(folder, None)
    expected = simulate(local, config(tmp_path, "ranged"), [], [(1, 0)])
    rng = random.Random(0)
    pairs = list(itertools.product((1, 2, 3), (0, 1, 4)))
    hashes = {}
    with pytest.MonkeyPatch.context() as patch:
        for access in ("local", "cached", "ranged"):
            data = local
            if access != "local":
                put_afar(patch, folder)
                data = open_shard_set(LOCATION, None)
            settings = config(tmp_path / "cache", "ranged" if access == "local" else access)
            for pair in pairs:
                stops = sorted(rng.sample(range(1, NUM_BATCHES), 2))
                hashes[access, pair, tuple(stops)] = simulate(data, settings, stops, [pair, rng.choice(pairs)])
    assert len(hashes) == 27
    assert {place: value for place, value in hashes.items() if value != expected} == {}


def test_another_seed_gives_another_stream(folder: Path, tmp_path: Path) -> None:
    """The hash does see the clips."""
    data, settings = open_shard_set(folder, None), config(tmp_path, "ranged")
    hashes = {
        stream_hash(list(ClipStream(data, settings, DRAW, seed=seed, num_batches=NUM_BATCHES))) for seed in (5, 6)
    }
    assert len(hashes) == 2


def test_ranged_reads_move_no_more_than_the_clips_need(afar: RemoteFolder, tmp_path: Path) -> None:
    data = open_shard_set(LOCATION, None)
    entry = FrameReader(data).entry(2)
    afar.bytes_read.clear()
    afar.requests.clear()
    jpegs = FrameReader(data).read(2, list(range(16, 32)))
    assert afar.bytes_read["shard-000000.tar"] == int(entry.frame_bytes[16:32].sum()) == sum(map(len, jpegs.values()))
    assert afar.requests["shard-000000.tar"] == 1


def test_cached_reading_moves_each_shard_once(afar: RemoteFolder, tmp_path: Path) -> None:
    data, settings = open_shard_set(LOCATION, None), config(tmp_path / "cache", "cached")
    take()
    list(ClipStream(data, settings, DRAW, seed=5, num_batches=NUM_BATCHES))
    moved = take()
    assert moved.cache_misses == len(LENGTHS)
    assert [afar.bytes_read[f"shard-{number:06d}.tar"] for number in range(5)] == [s.tar_bytes for s in data.shards]
    list(ClipStream(data, settings, DRAW, seed=6, num_batches=NUM_BATCHES))
    assert take().cache_misses == 0


def test_auto_is_cached_if_the_split_fits_and_ranged_if_not(afar: RemoteFolder, tmp_path: Path) -> None:
    data = open_shard_set(LOCATION, None)
    total = sum(shard.tar_bytes for shard in data.shards)
    for limit, kept in ((total, 5), (total - 1, 0)):
        cache = {"folder": str(tmp_path / f"cache{kept}"), "max_gigabytes": limit / 1e9}
        list(ClipStream(data, config(tmp_path, "auto", cache=cache), DRAW, seed=5, num_batches=NUM_BATCHES))
        assert len(list((tmp_path / f"cache{kept}").glob("*.tar"))) == kept


def test_what_is_read_how_is_told_and_why(
    afar: RemoteFolder, monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr("stream_train.data.open_store", lambda _: afar)
    data = open_shard_set(LOCATION, None)

    def told(access: str, cache: Path, gigabytes: float = 1.0) -> str:
        settings = config(tmp_path, access, cache={"folder": str(cache), "max_gigabytes": gigabytes})
        beginning, told = reading_line(data, settings).split(" MB, ")
        assert beginning.startswith(f"reading {LOCATION}, all samples: 19 videos in 5 shards, ")
        return told

    place, needed = tmp_path / "cache", "ranged (only the bytes of the frames that are needed"
    assert told("auto", place) == told("cached", place) == f"cached in {place} (at most 1 GB)"
    assert told("ranged", place) == f"{needed})"
    assert told("auto", place, 0.0001) == f"{needed}; the cache {place} has room for 0.1 MB)"
    (tmp_path / "file").touch()
    assert told("auto", tmp_path / "file" / "x") == f"{needed}; the cache {tmp_path / 'file' / 'x'} cannot be written)"


def test_a_cache_without_room_is_passed_by(
    afar: RemoteFolder, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = open_shard_set(LOCATION, None)
    largest = max(shard.tar_bytes for shard in data.shards)
    cache = {"folder": str(tmp_path / "small"), "max_gigabytes": (largest - 1) / 1e9}
    settings = config(tmp_path, "cached", cache=cache)
    found = stream_hash(list(ClipStream(data, settings, DRAW, seed=5, num_batches=NUM_BATCHES)))
    local = ClipStream(open_shard_set(folder, None), config(tmp_path, "ranged"), DRAW, seed=5, num_batches=NUM_BATCHES)
    assert found == stream_hash(list(local))
    assert capsys.readouterr().err.count("has no room for a shard of") == 1
    assert sum(path.stat().st_size for path in (tmp_path / "small").glob("*.tar")) < largest


@pytest.mark.parametrize("access", ["ranged", "cached"])
def test_a_flip_on_the_way_is_read_once_more(afar: RemoteFolder, folder: Path, tmp_path: Path, access: str) -> None:
    data, settings = open_shard_set(LOCATION, None), config(tmp_path / "cache", access)
    afar.flips = {"shard-000000.tar": 1, "shard-000002.tar": 1, "shard-000003.idx.npz": 1}
    take()
    found = stream_hash(list(ClipStream(data, settings, DRAW, seed=5, num_batches=NUM_BATCHES)))
    assert take().refetches == 3
    local = ClipStream(open_shard_set(folder, None), settings, DRAW, seed=5, num_batches=NUM_BATCHES)
    assert found == stream_hash(list(local))


@pytest.mark.parametrize("access", ["ranged", "cached"])
def test_a_damaged_sample_is_named_with_its_place(damaged: RemoteFolder, tmp_path: Path, access: str) -> None:
    data, settings = open_shard_set(LOCATION, None), config(tmp_path / "cache", access)
    words = r"shard-000000.tar: frame 7 of sample video0001 \(bytes \d+ to \d+\) does not match its checksum"
    with pytest.raises(WorkError, match=f"s3://bucket/made-up/{words}"):
        list(ClipStream(data, settings, DRAW, seed=5, num_batches=NUM_BATCHES))


@pytest.mark.parametrize("access", ["ranged", "cached"])
def test_a_substitute_is_chosen_by_arithmetic_and_counted(damaged: RemoteFolder, tmp_path: Path, access: str) -> None:
    data, settings = open_shard_set(LOCATION, None), config(tmp_path / "cache", access, on_damage="substitute")
    take()
    whole = list(ClipStream(data, settings, DRAW, seed=5, num_batches=8))
    assert take().substitutes == 2  # 40 videos are two epochs of 19 and a little
    samples = [int(sample) for batch in whole for sample in batch.sample.view(-1, 4)[:, 0]]
    assert 1 not in samples
    assert samples[:19].count(2) == 2  # its own turn, and in place of the sample before it
    assert simulate(data, settings, [3], [(3, 1), (2, 4)]) == simulate(data, settings, [7], [(1, 0)])


def test_a_judgement_takes_no_substitutes(damaged: RemoteFolder, tmp_path: Path) -> None:
    data, settings = open_shard_set(LOCATION, None), config(tmp_path, "ranged", on_damage="substitute")
    with pytest.raises(WorkError, match="frame 7 of sample video0001"):
        list(each_sample_once(data, settings, DRAW, seed=0))


def test_a_substitute_takes_part(damaged: RemoteFolder, tmp_path: Path) -> None:
    """Where only some samples are trained on, none of the others comes in."""
    positions = np.array([1, 4, 9])
    data, settings = open_shard_set(LOCATION, None), config(tmp_path, "ranged", on_damage="substitute")
    (batch,) = ClipStream(data, settings, DRAW, seed=5, num_batches=1, positions=positions)
    assert sorted(set(batch.sample.tolist())) == [4, 9]


@pytest.mark.parametrize("access", ["ranged", "cached"])
@pytest.mark.parametrize(
    ("name", "words"), [("shard-000001.tar", "is missing"), ("shard-000001.idx.npz", "is missing")]
)
def test_a_missing_object_is_named(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path, access: str, name: str, words: str
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / name).unlink()
    put_afar(monkeypatch, copy)
    settings = config(tmp_path / "cache", access, on_damage="substitute")
    with pytest.raises(WorkError, match=f"s3://bucket/made-up/{name} {words}"):
        list(ClipStream(open_shard_set(LOCATION, None), settings, DRAW, seed=5, num_batches=NUM_BATCHES))


def test_lengths_are_known_from_afar(afar: RemoteFolder) -> None:
    assert sample_lengths(open_shard_set(LOCATION, None)).tolist() == [n for shard in LENGTHS for n in shard]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_requests_are_told_what_follows_them(folder: Path, tmp_path: Path, workers: int) -> None:
    data = open_shard_set(folder, None)
    plain = list(ClipStream(data, config(tmp_path, "ranged"), DRAW, seed=5, num_batches=NUM_BATCHES).requests())
    told = list(look_ahead(iter(plain), data, num_workers=workers, ahead_batches=2))
    assert [(request.number, request.slots) for request in told] == [
        (request.number, request.slots) for request in plain
    ]
    step = max(workers, 1)
    assert [request.following for request in told] == [*plain[step:], *[None] * step]

    def used(request: BatchRequest) -> set[int]:
        return {data.place(slot.position) for slot in request.slots}

    named: set[int] = set()
    for number, request in enumerate(told):
        named |= set(request.new_shards)
        assert used(request) <= named  # fetched before, or at the latest when it is needed
        ahead = plain[: number + max(step, 2) + 1]
        assert named <= set().union(*map(used, ahead))
