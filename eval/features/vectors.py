"""Feature vectors of videos on disk: one file that NumPy, scikit-learn and safetensors read without this program.

In: names, labels and one vector a video. Out: `.npz`, which `numpy.load` opens, or `.safetensors`, which any framework
does; and back. Equal contents give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from shardify.arrays import IntArray
from shardify.catalogs.base import NO_LABEL
from shardify.errors import UsageError, WorkError, one_line
from shardify.storage.folder_store import FolderStore
from stream_train.training.exports import METADATA_KEY

VectorArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """One feature vector for each of V videos.

    Raises:
        ValueError: if the fields do not fit together.
        WorkError: if a vector holds NaN or infinity, as a network does whose training diverged.
    """

    keys: tuple[str, ...]
    """Names of the videos, unique."""
    labels: IntArray
    """int64 (V,) index into classes, -1 where there is none."""
    values: VectorArray
    """float32 (V, D), D >= 1."""
    classes: tuple[str, ...] = ()
    """Class names by label; empty for data without classes."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """How the vectors came about, in plain JSON values: network, sha256 of its weights, clip settings, data set ..."""

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


def check_file_name(path: str | Path) -> None:
    """Raise UsageError if the ending names no format, before anything is worked out for it."""
    _format_of(path)


def write_vectors(path: Path, vectors: Vectors) -> None:
    """Write vectors atomically; equal vectors give equal bytes.

    Args:
        path: its ending chooses the format. `.npz` holds the arrays `names` (text), `labels` (int64), `vectors`
            (float32), `classes` (text) and `metadata` (one JSON text), none of them pickled. `.safetensors` holds the
            tensors `labels` and `vectors`, and the rest as one JSON text in its header. Missing folders are made.
        vectors: what to write.

    Raises:
        UsageError: if the ending names no format, or there can be no file of that name.
        WorkError: if the disk is full.
    """
    write = _format_of(path).write
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path.parent}: {error.strerror}") from None
    store = FolderStore(path.parent)
    with store.temporary(path.name) as temporary:
        write(temporary, vectors)
        store.write_file(path.name, temporary)


def read_vectors(path: Path) -> Vectors:
    """Read what :func:`write_vectors` wrote, checking its checksums.

    Raises:
        UsageError: if the ending names no format, or there is no such file.
        WorkError: if the file is damaged, or was not written by this program.
    """
    read = _format_of(path).read
    if not path.is_file():
        raise UsageError(f"there is no file {path}; give the features that an extraction wrote")
    try:
        return read(path)
    except _DAMAGE as error:
        raise WorkError(
            f"{path} is damaged, or was not written by this program ({one_line(error)[:200]}); extract it again"
        ) from None


_DAMAGE = (
    *(OSError, EOFError, LookupError, ValueError, TypeError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, SafetensorError),
)
"""What zipfile, numpy, safetensors and json raise on bytes that are not what they expect."""


@dataclass(frozen=True, kw_only=True)
class _Format:
    write: Callable[[Path, Vectors], None]
    read: Callable[[Path], Vectors]


def _format_of(path: str | Path) -> _Format:
    try:
        return _FORMATS[PurePosixPath(path).suffix]
    except KeyError:
        allowed = " or ".join(_FORMATS)
        raise UsageError(f"{path}: features are files that end in {allowed}; name it accordingly") from None


def _write_npz(path: Path, vectors: Vectors) -> None:
    with path.open("wb") as file:  # np.savez dates all members 1980
        np.savez(
            file,
            names=np.array(vectors.keys, dtype=np.str_),
            labels=np.ascontiguousarray(vectors.labels, dtype="<i8"),
            vectors=np.ascontiguousarray(vectors.values, dtype="<f4"),
            classes=np.array(vectors.classes, dtype=np.str_),
            metadata=np.array(_as_json(vectors.metadata)),
        )


def _read_npz(path: Path) -> Vectors:
    if not zipfile.is_zipfile(path):  # numpy would take it for a pickle, and advise to trust it
        raise zipfile.BadZipFile("it is not a zip archive")
    # zipfile checks each member's checksum; numpy leaves a file that it opens itself open if it is damaged
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Vectors(
            keys=_texts(arrays["names"]),
            labels=arrays["labels"],
            values=arrays["vectors"],
            classes=_texts(arrays["classes"]),
            metadata=json.loads(_texts(arrays["metadata"].reshape(1))[0]),
        )


def _write_safetensors(path: Path, vectors: Vectors) -> None:
    tensors = {
        "labels": np.ascontiguousarray(vectors.labels, dtype="<i8"),
        "vectors": np.ascontiguousarray(vectors.values, dtype="<f4"),
    }
    header = {"names": vectors.keys, "classes": vectors.classes, "metadata": vectors.metadata}
    # One JSON text: safetensors keeps several in no particular order. It has no checksum of its own.
    text = _as_json(header | {"sha256": _digest(tensors, header)})
    path.write_bytes(serialise(tensors, metadata={METADATA_KEY: text}))


def _read_safetensors(path: Path) -> Vectors:
    with safe_open(path, framework="numpy") as file:
        header = json.loads((file.metadata() or {})[METADATA_KEY])
        tensors = {name: file.get_tensor(name) for name in ("labels", "vectors")}
    if header.pop("sha256") != _digest(tensors, header):
        raise ValueError("its contents do not match their checksum")
    return Vectors(
        keys=tuple(header["names"]),
        labels=tensors["labels"],
        values=tensors["vectors"],
        classes=tuple(header["classes"]),
        metadata=header["metadata"],
    )


def _digest(tensors: dict[str, npt.NDArray[Any]], header: dict[str, Any]) -> str:
    digest = hashlib.sha256(_as_json(header).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype.str} {tensors[name].shape}".encode())
        digest.update(tensors[name].data)
    return digest.hexdigest()


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _texts(array: npt.NDArray[Any]) -> tuple[str, ...]:
    if array.dtype.kind != "U" or array.ndim != 1:
        raise ValueError(f"text was expected, not {array.dtype} {array.shape}")
    return tuple(array.tolist())


_FORMATS = {
    ".npz": _Format(write=_write_npz, read=_read_npz),
    ".safetensors": _Format(write=_write_safetensors, read=_read_safetensors),
}
