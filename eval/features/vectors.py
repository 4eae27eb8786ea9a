"""Feature vectors of videos, and their file for other programs.

In: names, labels and one vector per video or window. Out: `.npz` for `numpy.load`, `.safetensors` for any framework, or
`.parquet` for tables and databases. Equal contents give equal bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save as serialise

from shardify.arrays import FloatArray, IntArray
from shardify.errors import UsageError, WorkError
from shardify.shards.format import NO_LABEL
from shardify.storage.folder_store import whole_file
from stream_train.training.exports import METADATA_KEY

VectorArray = npt.NDArray[np.float32]
Dtype = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """One feature vector for each of V videos, or of V windows along videos.

    Raises:
        ValueError: if the fields do not fit together.
        WorkError: if a vector holds NaN or infinity: the network's training diverged.
    """

    keys: tuple[str, ...]
    """Names of the videos, unique unless there are windows."""
    labels: IntArray
    """int64 (V,): index into classes, -1 where there is none."""
    values: VectorArray
    """float32 (V, D), D >= 1."""
    classes: tuple[str, ...] = ()
    """Class names by label; empty for data without classes."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """How the vectors were made, as JSON values: network, sha256 of its weights, clip settings, data set ..."""
    seconds: FloatArray | None = None
    """float64 (V, 2): start and end of each window in its video; None for vectors of whole videos."""

    def __post_init__(self) -> None:
        num_videos = len(self.keys)
        names = self.keys if self.seconds is None else tuple(zip(self.keys, self.seconds[:, 0].tolist(), strict=True))
        if len(set(names)) != num_videos or "" in self.keys:
            raise ValueError("keys (with the windows' starts) must be unique and not empty")
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
        ends = (self.values.min(axis=1), self.values.max(axis=1))  # NaN if any is NaN; no mask as large as the values
        broken = np.flatnonzero(~np.isfinite(ends).all(axis=0))
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
    if ending == ".parquet":
        _pyarrow()
    return ending


def write_vectors(path: Path, vectors: Vectors, *, dtype: Dtype = "float32") -> None:
    """Write vectors atomically, and create missing folders.

    All formats hold names (text), labels (int64), vectors (`dtype`), classes (text) and metadata (one JSON text); with
    windows also start_seconds and end_seconds (float64). `.npz`: arrays, none pickled. `.safetensors`: tensors, the
    texts as one JSON text in the header. `.parquet`: a row for each vector; classes and metadata in the schema.

    Raises:
        UsageError: if the ending is no known format, the file cannot be created, or a library is missing.
        WorkError: if the disk is full, or a number is too large for float16.
    """
    write = _WRITERS[check_file_name(path)]
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path.parent}: {error.strerror}") from None
    arrays: dict[str, npt.NDArray[Any]] = {
        "labels": np.ascontiguousarray(vectors.labels, dtype="<i8"),
        "vectors": _narrowed(vectors.values, dtype),
    }
    if vectors.seconds is not None:
        arrays |= {
            name: np.ascontiguousarray(vectors.seconds[:, column], dtype="<f8")
            for column, name in enumerate(("start_seconds", "end_seconds"))
        }
    with whole_file(path) as temporary:
        write(temporary, vectors, arrays)


def _narrowed(values: VectorArray, dtype: Dtype) -> npt.NDArray[Any]:
    if dtype == "float16" and np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
        raise WorkError(f"a vector holds {np.abs(values).max():g}, too large for float16; write dtype=float32")
    return np.ascontiguousarray(values, dtype="<f2" if dtype == "float16" else "<f4")


def _write_npz(path: Path, vectors: Vectors, arrays: dict[str, npt.NDArray[Any]]) -> None:
    texts = {
        "names": np.array(vectors.keys, dtype=np.str_),
        "classes": np.array(vectors.classes, dtype=np.str_),
        "metadata": np.array(_as_json(vectors.metadata)),
    }
    first = {"names": texts.pop("names")}
    with path.open("wb") as file:  # np.savez gives all members the date 1980
        np.savez(file, allow_pickle=False, **first, **arrays, **texts)


def _write_safetensors(path: Path, vectors: Vectors, arrays: dict[str, npt.NDArray[Any]]) -> None:
    # One JSON text, because safetensors does not keep the order of several.
    text = _as_json({"names": vectors.keys, "classes": vectors.classes, "metadata": vectors.metadata})
    path.write_bytes(serialise(arrays, metadata={METADATA_KEY: text}))


def _write_parquet(path: Path, vectors: Vectors, arrays: dict[str, npt.NDArray[Any]]) -> None:
    pa = _pyarrow()
    values = arrays.pop("vectors")
    columns = {"names": pa.array(vectors.keys, pa.string())}
    columns |= {name: pa.array(array) for name, array in arrays.items()}
    columns["vectors"] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    texts = {"classes": json.dumps(vectors.classes), "metadata": _as_json(vectors.metadata)}
    pa.parquet.write_table(pa.table(columns).replace_schema_metadata(texts), path)


def _pyarrow() -> Any:
    """The library. Raises UsageError if it is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise UsageError(".parquet needs the package pyarrow: pip install 'temporal-ssl[parquet]'") from None
    return pa


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


_WRITERS = {".npz": _write_npz, ".safetensors": _write_safetensors, ".parquet": _write_parquet}
