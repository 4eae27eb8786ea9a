"""Files of vectors: other programs read what is written; what cannot be written is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_video_eval import read_vectors
from safetensors import safe_open
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression

from eval.features.vectors import Vectors, check_file_name, write_vectors
from shardify.errors import UsageError, WorkError

every_format = pytest.mark.parametrize("ending", [".npz", ".safetensors"])
METADATA = {"weights": "ab" * 32, "clip": {"stride": 4, "num_clips": 10}, "note": "naïve"}


def vectors(**changes: Any) -> Vectors:
    fields = {
        "keys": ("walk_g01", "crème_g02", "unknown"),
        "labels": np.array([1, 0, -1]),
        "values": np.array([[0.1, -2.5], [1e-30, 3e30], [0, 7]], dtype=np.float32),
        "classes": ("brûlée", "walk"),
        "metadata": METADATA,
    }
    return Vectors(**{**fields, **changes})


def separable() -> Vectors:
    """Two classes that the first dimension tells apart."""
    values = np.array([[-3, 1], [-2, 5], [2, 4], [3, 0]], dtype=np.float32)
    return Vectors(keys=tuple("abcd"), labels=np.array([0, 0, 1, 1]), values=values, classes=("left", "right"))


@pytest.mark.parametrize(
    "written", [vectors(), Vectors(keys=(), labels=np.empty(0, np.int64), values=np.empty((0, 5), np.float32))]
)
def test_numpy_and_safetensors_read_what_is_written(tmp_path: Path, written: Vectors) -> None:
    folder = tmp_path / "new" / "folder"
    for name in ("x.npz", "x.safetensors"):
        write_vectors(folder / name, written)
    read = read_vectors(folder / "x.npz")
    assert (read.keys, read.classes, read.metadata) == (written.keys, written.classes, written.metadata)
    tensors = load_file(folder / "x.safetensors")
    for labels, values in ((read.labels, read.values), (tensors["labels"], tensors["vectors"])):
        assert (labels.dtype.name, values.dtype.name, values.shape) == ("int64", "float32", written.values.shape)
        assert labels.tolist() == written.labels.tolist()
        assert values.tolist() == written.values.tolist()
    with safe_open(folder / "x.safetensors", framework="numpy") as file:
        header = json.loads(file.metadata()["temporal_ssl"])
    assert header == {"names": list(written.keys), "classes": list(written.classes), "metadata": written.metadata}
    assert sorted(entry.name for entry in folder.iterdir()) == ["x.npz", "x.safetensors"]


@every_format
def test_equal_vectors_give_equal_bytes_whatever_their_memory_layout(tmp_path: Path, ending: str) -> None:
    first, second = tmp_path / f"first{ending}", tmp_path / f"second{ending}"
    write_vectors(first, vectors())
    reordered = dict(reversed(METADATA.items()))
    write_vectors(second, vectors(values=np.asfortranarray(vectors().values), metadata=reordered))
    assert first.read_bytes() == second.read_bytes()
    write_vectors(second, vectors(keys=("walk_g01", "crème_g02", "other")))  # replaces
    assert first.read_bytes() != second.read_bytes()


def test_an_npz_carries_no_clock(tmp_path: Path) -> None:
    path = tmp_path / "features.npz"
    write_vectors(path, vectors())
    with np.load(path) as file:
        assert {info.date_time for info in file.zip.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_scikit_learn_fits_an_npz_in_three_lines(tmp_path: Path) -> None:
    path = tmp_path / "features.npz"
    write_vectors(path, separable())
    file = np.load(path, allow_pickle=False)
    model = LogisticRegression().fit(file["vectors"], file["labels"])
    assert file["classes"][model.predict(file["vectors"])].tolist() == ["left", "left", "right", "right"]
    file.close()


@pytest.mark.parametrize("name", ["features.csv", "features", "features.npz.gz", "features.NPZ"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="safetensors"):
        write_vectors(tmp_path / name, vectors())
    with pytest.raises(UsageError, match="safetensors"):
        check_file_name(Path(name))
    assert not list(tmp_path.iterdir())


@every_format
def test_places_where_no_file_can_be_are_refused(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / f"folder{ending}"
    folder.mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        write_vectors(folder, vectors())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot make the folder"):
        write_vectors(tmp_path / "file" / f"features{ending}", vectors())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": ("a", "b", "a")}, "unique"),
        ({"keys": ("a", "", "c")}, "not empty"),
        ({"keys": ("a", "b")}, r"labels must be int64 \(2,\)"),
        ({"labels": np.array([1, 0, -1], dtype=np.int32)}, "not int32"),
        ({"labels": np.array([2, 0, -1])}, r"lie in \[-1, 2\), the range of the classes, not in \[-1, 2\]"),
        ({"labels": np.array([1, 0, -2])}, r"not in \[-2, 1\]"),
        ({"values": np.zeros((3, 2))}, "not float64"),
        ({"values": np.zeros((2, 2), np.float32)}, r"float32 \(3, D\)"),
        ({"values": np.zeros(3, np.float32)}, r"float32 \(3, D\)"),
        ({"values": np.zeros((3, 0), np.float32)}, "at least one dimension"),
    ],
)
def test_fields_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vectors(**changes)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_of_a_diverged_network_are_refused(value: float) -> None:
    values = vectors().values.copy()
    values[1:, 0] = value
    with pytest.raises(WorkError, match=r"2 of 3 videos hold NaN or infinity, the first: crème_g02; .*diverged"):
        vectors(values=values)
