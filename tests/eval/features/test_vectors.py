"""Feature files: what is written is what is read, by this program and by stock readers; damage is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression

from eval.features.vectors import Vectors, check_file_name, read_vectors, write_vectors
from shardify.errors import UsageError, WorkError

ENDINGS = (".npz", ".safetensors")
every_format = pytest.mark.parametrize("ending", ENDINGS)
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


@every_format
def test_what_is_written_is_read_back(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "new" / "folder" / f"features{ending}"
    written = vectors()
    check_file_name(path)
    write_vectors(path, written)
    read = read_vectors(path)
    assert read.keys == written.keys
    assert read.classes == written.classes
    assert read.metadata == METADATA
    assert read.labels.dtype == np.int64
    assert read.labels.tolist() == [1, 0, -1]
    assert read.values.dtype == np.float32
    assert read.values.tolist() == written.values.tolist()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@every_format
def test_no_videos_and_no_classes_can_be_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"features{ending}"
    nothing = Vectors(keys=(), labels=np.empty(0, np.int64), values=np.empty((0, 5), np.float32))
    write_vectors(path, nothing)
    read = read_vectors(path)
    assert (len(read), read.values.shape, read.classes, read.metadata) == (0, (0, 5), (), {})


@every_format
def test_equal_vectors_give_equal_bytes_whatever_their_memory_looks_like(tmp_path: Path, ending: str) -> None:
    first, second = tmp_path / f"first{ending}", tmp_path / f"second{ending}"
    write_vectors(first, vectors())
    reordered = dict(reversed(METADATA.items()))
    write_vectors(second, vectors(values=np.asfortranarray(vectors().values), metadata=reordered))
    assert first.read_bytes() == second.read_bytes()
    write_vectors(second, vectors(keys=("walk_g01", "crème_g02", "other")))  # replaces
    assert read_vectors(second).keys[-1] == "other"
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
    assert file["names"].tolist() == ["a", "b", "c", "d"]
    file.close()


def test_scikit_learn_fits_safetensors_in_three_lines(tmp_path: Path) -> None:
    path = tmp_path / "features.safetensors"
    write_vectors(path, separable())
    tensors = load_file(path)
    model = LogisticRegression().fit(tensors["vectors"], tensors["labels"])
    assert model.predict(tensors["vectors"]).tolist() == [0, 0, 1, 1]
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["temporal_ssl"])
    assert (header["names"], header["classes"]) == (["a", "b", "c", "d"], ["left", "right"])


def refusal(path: Path) -> str | None:
    """Why a file cannot be read; None if it can, and then it holds what `vectors()` does."""
    try:
        read = read_vectors(path)
    except WorkError as error:
        return str(error)
    written = vectors()
    assert (read.keys, read.classes, read.metadata) == (written.keys, written.classes, written.metadata)
    assert read.values.tobytes() == written.values.tobytes()
    assert read.labels.tobytes() == written.labels.tobytes()
    return None


@every_format
def test_damage_is_found(tmp_path: Path, ending: str) -> None:
    """A changed byte is an error, but for the few that a zip archive has and no one needs; a missing one always is."""
    path = tmp_path / f"features{ending}"
    write_vectors(path, vectors())
    data = path.read_bytes()
    assert refusal(path) is None
    reasons = []
    for position in range(0, len(data), 3):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x21]) + data[position + 1 :])
        reasons.append(refusal(path))
    found = [reason for reason in reasons if reason is not None]
    assert len(found) > {".npz": 0.7, ".safetensors": 0.99}[ending] * len(reasons)
    for size in range(0, len(data), 37):
        path.write_bytes(data[:size])
        found.append(refusal(path) or "not found")
    start = f"{path} is damaged, or was not written by this program ("
    assert all(reason.startswith(start) and "\n" not in reason for reason in found)


@pytest.mark.parametrize(
    "arrays",
    [
        {"vectors": np.zeros((2, 3), np.float32)},
        {"names": np.array([b"a"]), "labels": np.array([-1]), "vectors": np.zeros((1, 3), np.float32)},
        {"names": np.array(["a"], dtype=object), "labels": np.array([-1]), "vectors": np.zeros((1, 3), np.float32)},
        {"names": np.array(["a"]), "labels": np.array([-1]), "vectors": np.zeros((1, 3))},
        {"names": np.array(["a"]), "labels": np.array([4]), "vectors": np.zeros((1, 3), np.float32)},
    ],
    ids=["arrays missing", "bytes for names", "pickled names", "float64", "label without class"],
)
def test_foreign_npz_files_are_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = tmp_path / "foreign.npz"
    filled = {"classes": np.array([], dtype=np.str_), "metadata": np.array("{}")} | arrays
    np.savez(path, allow_pickle=True, **filled)
    with pytest.raises(WorkError, match=r"foreign\.npz is damaged, or was not written by this program"):
        read_vectors(path)


def test_what_is_no_npz_at_all_is_refused_without_talk_of_pickles(tmp_path: Path) -> None:
    path = tmp_path / "text.npz"
    path.write_text("hello", encoding="utf-8")
    with pytest.raises(WorkError, match=r"\(it is not a zip archive\); extract it again$"):
        read_vectors(path)


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"labels": np.array([0]), "vectors": np.zeros((1, 3), np.float32)}, path)
    with pytest.raises(WorkError, match="was not written by this program"):
        read_vectors(path)


@pytest.mark.parametrize("name", ["features.csv", "features", "features.npz.gz", "features.NPZ"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"files that end in \.npz or \.safetensors"):
        write_vectors(tmp_path / name, vectors())
    with pytest.raises(UsageError, match=r"files that end in \.npz or \.safetensors"):
        read_vectors(tmp_path / name)
    with pytest.raises(UsageError, match=r"files that end in \.npz or \.safetensors"):
        check_file_name(Path(name))
    assert not list(tmp_path.iterdir())


@every_format
def test_files_that_cannot_be_are_refused(tmp_path: Path, ending: str) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read_vectors(tmp_path / f"absent{ending}")
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
