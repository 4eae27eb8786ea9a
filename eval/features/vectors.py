"""Feature vectors of videos, and their file for other programs.

In: names, labels and one vector per video. Out: `.npz` for `numpy.load`, or `.safetensors` for any framework. Equal
contents give equal bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save as serialise

from shardify.arrays import IntArray
from shardify.errors import UsageError, WorkError
from shardify.shards.format import NO_LABEL
from shardify.storage.folder_store import whole_file
from stream_train.training.exports import METADATA_KEY

VectorArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """One feature vector for each of V videos.

    Raises:
        ValueError: if the fields do not fit together.
        WorkError: if a vector holds NaN or infinity: the network's training diverged.
    """

    keys: tuple[str, ...]
    """Unique names of the videos."""
    labels: IntArray
    """int64 (V,): index into classes, -1 where there is none."""
    values: VectorArray
    """float32 (V, D), D >= 1."""
    classes: tuple[str, ...] = ()
    """Class names by label; empty for data without classes."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """How the vectors were made, as JSON values: network, sha256 of its weights, clip settings, data set ..."""

    def __post_init__(self) -> None:
        num_videos = len(self.keys)
        if len(set(self.keys)) != num_videos or "" in self.keys:
            raise ValueError("keys must be unique and not empty")
        if self.labels.dtype != np.int64 or self.labels.shape != (num_videos,):
            raise ValueError(f"labels must be int64 ({num_videos},), not {self.labels.dtype} {self.labels.shape}")
        if self.values.dtype != np.float32 or self.values.ndim != 2 or len(self.values) != num_videos:
            raise ValueError(f"values must be float32 ({num_videos}, D), not {self.values.dtype} {self.values.shape}")
        if self.values.shape[1] < 1:
            raise ValueError("values must have at least one dimension")
        if num_videos and not NO_LABEL <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(
                f"labels must lie in [{NO_LABEL}, {len(self.classes)}), the range of the classes, "
                f"not in [{self.labels.min()}, {self.labels.max()}]"
            )
        broken = np.flatnonzero(~np.isfinite(self.values).all(axis=1))
        if len(broken):
            raise WorkError(
                f"the features of {len(broken)} of {num_videos} videos hold NaN or infinity, the first: "
                f"{self.keys[broken[0]]}; the network's weights have diverged, give other ones"
            )

    def __len__(self) -> int:
        return len(self.keys)


def check_file_name(path: str | Path) -> str:
    """The ending of a file of vectors. Raises UsageError if it is no known format."""
    ending = PurePosixPath(path).suffix
    if ending not in _WRITERS:
        raise UsageError(f"{path}: features are files that end in {' or '.join(_WRITERS)}; name it accordingly")
    return ending


def write_vectors(path: Path, vectors: Vectors) -> None:
    """Write vectors atomically, and create missing folders.

    `.npz` holds the arrays `names` (text), `labels` (int64), `vectors` (float32), `classes` (text) and `metadata` (one
    JSON text), none pickled. `.safetensors` holds the tensors `labels` and `vectors`, and the rest as one JSON text in
    its header.

    Raises:
        UsageError: if the ending is no known format, or the file cannot be created.
        WorkError: if the disk is full.
    """
    write = _WRITERS[check_file_name(path)]
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path.parent}: {error.strerror}") from None
    with whole_file(path) as temporary:
        write(temporary, vectors)


def _write_npz(path: Path, vectors: Vectors) -> None:
    with path.open("wb") as file:  # np.savez gives all members the date 1980
        np.savez(
            file,
            names=np.array(vectors.keys, dtype=np.str_),
            labels=np.ascontiguousarray(vectors.labels, dtype="<i8"),
            vectors=np.ascontiguousarray(vectors.values, dtype="<f4"),
            classes=np.array(vectors.classes, dtype=np.str_),
            metadata=np.array(_as_json(vectors.metadata)),
        )


def _write_safetensors(path: Path, vectors: Vectors) -> None:
    # One JSON text, because safetensors does not keep the order of several.
    text = _as_json({"names": vectors.keys, "classes": vectors.classes, "metadata": vectors.metadata})
    tensors = {
        "labels": np.ascontiguousarray(vectors.labels, dtype="<i8"),
        "vectors": np.ascontiguousarray(vectors.values, dtype="<f4"),
    }
    path.write_bytes(serialise(tensors, metadata={METADATA_KEY: text}))


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


_WRITERS = {".npz": _write_npz, ".safetensors": _write_safetensors}
