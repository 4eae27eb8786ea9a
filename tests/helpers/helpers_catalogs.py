"""Small data sets on disk, and their catalogs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from shardify.catalogs import SourceConfig, read_catalog
from shardify.catalogs.base import Catalog

UCF_LISTS = {
    "classInd.txt": "1 Punch\r\n2 YoYo\r\n",
    "trainlist01.txt": "Punch/v_Punch_g02_c01.avi 1\r\nYoYo/v_YoYo_g02_c01.avi 2\r\n",
    "testlist01.txt": "Punch/v_Punch_g01_c01.avi\r\nYoYo/v_YoYo_g01_c01.avi\r\n\r\n",
    "trainlist02.txt": "Punch/v_Punch_g01_c01.avi 1\r\nYoYo/v_YoYo_g01_c01.avi 2\r\n",
    "testlist02.txt": "Punch/v_Punch_g02_c01.avi\r\n",
}


def catalog_of(**source: Any) -> Catalog:
    config: SourceConfig = TypeAdapter(SourceConfig).validate_python(source)
    return read_catalog(config)


def by_path(catalog: Catalog) -> dict[str, tuple[str, int, tuple[str, ...]]]:
    return {video.path: (video.key, video.label, video.splits) for video in catalog.videos}


def put(root: Path, files: Mapping[str, str] | list[str]) -> Path:
    """Write text files below a folder; a list of names gives files that stand for videos."""
    contents = files if isinstance(files, Mapping) else dict.fromkeys(files, "video")
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return root


def ucf101(root: Path, **lists: str) -> Catalog:
    """A small UCF101 with some of its lists replaced (named without `.txt`; "" leaves one out)."""
    contents = UCF_LISTS | {f"{name}.txt": text for name, text in lists.items()}
    put(root / "lists", {name: text for name, text in contents.items() if text})
    videos = ["Punch/v_Punch_g01_c01.avi", "Punch/v_Punch_g02_c01.avi", "YoYo/v_YoYo_g02_c01.avi"]
    put(root / "videos", [*videos, "YoYo/v_YoYo_g09_c09.avi", "YoYo/notes.txt", "YoYo/._v_YoYo_g01_c01.avi"])
    return catalog_of(kind="ucf101", videos=root / "videos", lists=root / "lists")
