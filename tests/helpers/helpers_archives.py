"""Videos in tar archives, and builds of them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers_shards import build_config, make_source

from shardify.build.config import BuildConfig
from shardify.shards.index import read_index
from shardify.shards.manifest import read_manifest
from shardify.storage import open_store


def write_tar(path: Path, members: Mapping[str, bytes], *, padding: bool = True) -> Path:
    """A tar, gzipped if its name says so, of files by name; `padding=False` leaves out the tape's trailing zeros."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    if not padding:
        path.write_bytes(path.read_bytes().rstrip(b"\0") + bytes(1536))
    return path


def files_below(folder: Path) -> dict[str, bytes]:
    """Contents by path relative to the folder, sorted by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def pack_classes(videos: Path, archives: Path) -> Path:
    """A folder of class folders -> an archive a class, in three of the layouts that are found; returns `archives`."""
    by_class: dict[str, dict[str, bytes]] = {}
    for name, data in files_below(videos).items():
        by_class.setdefault(name.partition("/")[0], {})[name] = data
    fall, spin, zoom = (by_class[name] for name in ("Fall", "Spin", "Zoom"))
    write_tar(archives / "a.tar", {f"./UCF-101/{name}": data for name, data in fall.items()})
    write_tar(archives / "b.tgz", spin)
    write_tar(archives / "more" / "Zoom.tar.gz", {name.partition("/")[2]: data for name, data in zoom.items()})
    return archives


def archived_config(archives: Path | str, out: Path | str, /, **changes: Any) -> BuildConfig:
    """A quick build of archives, with UCF101's lists beside them; keys of `source` have the prefix `source__`."""
    source = {"kind": "ucf101", "videos": str(archives), "lists": str(Path(archives).parent / "lists")}
    names = [name for name in changes if name.startswith("source__")]
    source |= {name.removeprefix("source__"): changes.pop(name) for name in names}
    return build_config(Path("unused"), Path("unused"), out=str(out), source=source, **changes)


def make_archived_source(root: Path) -> Path:
    """`videos` loose, the same in `archives`, and `lists`; one listed video is not there, one there is not listed."""
    make_source(root)
    (root / "videos" / "Spin" / "v_Spin_g04_c02.avi").rename(root / "videos" / "Spin" / "extra.avi")
    pack_classes(root / "videos", root / "archives")
    return root


def samples(out: Path) -> dict[str, tuple[Any, ...]]:
    """What a data set holds of each video, by the video's file name."""
    store = open_store(out)
    found = {}
    for shard in read_manifest(store).shards:
        index = read_index(store, shard)
        tar = store.read(f"shard-{shard.number:06d}.tar")
        for entry in index:
            start = tar.index(f"{entry.key}.json".encode()) + 512
            about = json.loads(tar[start : tar.index(b"\n", start)])
            frames = tar[entry.offset : entry.offset + int(entry.frame_bytes.sum())]
            path = about.pop("path")
            assert path.rpartition("/")[2] not in found
            found[path.rpartition("/")[2]] = (about, frames, shard.splits, entry.label)
    return found
