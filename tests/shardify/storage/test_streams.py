"""A scan reads an object once, whatever parts are asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import shardify.storage.streams
from shardify.errors import WorkError
from shardify.storage.folder_store import FolderStore
from shardify.storage.streams import Scan

DATA = np.random.default_rng(0).integers(0, 256, 1000, dtype=np.uint8).tobytes()


class CountingStore(FolderStore):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.ranges: list[tuple[int, int]] = []

    def read_range(self, name: str, start: int, num_bytes: int) -> bytes:
        self.ranges.append((start, start + num_bytes))
        return super().read_range(name, start, num_bytes)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CountingStore:
    (tmp_path / "a").write_bytes(DATA)
    monkeypatch.setattr(shardify.storage.streams, "PIECE_BYTES", 64)
    return CountingStore(tmp_path)


@pytest.mark.parametrize("num_stretches", [0, 1, 5, 100])
def test_stretches_and_digest_cost_one_reading(store: CountingStore, num_stretches: int) -> None:
    generator = np.random.default_rng(num_stretches)
    bounds = np.sort(generator.choice(len(DATA) + 1, 2 * num_stretches, replace=False)).reshape(-1, 2).tolist()
    scan = Scan(store, "a", len(DATA))
    for start, stop in bounds:
        assert scan.stretch(start, stop) == DATA[start:stop]
    assert scan.sha256() == hashlib.sha256(DATA).hexdigest()
    assert store.ranges == [(start, min(start + 64, 1000)) for start in range(0, 1000, 64)]


def test_memory_holds_a_stretch_and_a_piece(store: CountingStore) -> None:
    scan = Scan(store, "a", len(DATA))
    for start in range(0, 900, 100):
        scan.stretch(start, start + 100)
        assert len(scan._held) <= 100 + 64
    scan.sha256()
    assert len(scan._held) <= 64


def test_stretches_end_with_the_object(store: CountingStore) -> None:
    scan = Scan(store, "a", 990)
    assert scan.stretch(980, 2000) == DATA[980:990]
    assert scan.stretch(995, 2000) == b""
    assert scan.sha256() == hashlib.sha256(DATA[:990]).hexdigest()
    assert Scan(store, "a", 0).sha256() == hashlib.sha256(b"").hexdigest()


def test_an_index_that_goes_back_gets_its_bytes(store: CountingStore) -> None:
    scan = Scan(store, "a", len(DATA))
    scan.stretch(500, 600)
    assert scan.stretch(10, 20) == DATA[10:20]
    assert scan.sha256() == hashlib.sha256(DATA).hexdigest()


def test_an_object_that_became_shorter_is_an_error(store: CountingStore) -> None:
    with pytest.raises(WorkError, match="/a ends at byte 1000"):
        Scan(store, "a", len(DATA) + 1).sha256()
