"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers_datasets import write_dataset

PROJECT_ROOT = Path(__file__).resolve().parent.parent


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
