"""Files of nearly the name of a listed video: used where only one fits, else named."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from helpers_catalogs import catalog_of, put

from shardify.catalogs.base import Catalog
from shardify.catalogs.near_misses import find_near_misses
from shardify.catalogs.reasons import COPY, UNLISTED
from shardify.errors import UsageError


def near(listed: list[str], there: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What is used, and what is only named."""
    missing = [name for name in listed if name not in there]
    found = find_near_misses(listed, missing, [path for path in there if path not in listed])
    return dict(found.used), dict(found.hints)


@pytest.mark.parametrize(
    ("listed", "there"),
    [
        ("Push/v_PushUp_g01.avi", "push/v_Pushup_g01.AVI"),
        ("caf\u00e9.mp4", unicodedata.normalize("NFD", "caf\u00e9.mp4")),
        ("wave/a.avi", "wave/a.mp4"),
        ("wave/a.avi", "wave/a.qt"),
        ("wave/a.avi", "wave/a.mp4?dl=1"),
        ("wave/a", "wave/a.mp4"),
        ("wave/a.avi", "wave/a (1).avi"),
        ("wave/a.avi", "wave/wave/a.avi"),
        ("wave/a.avi", "HMDB51/Wave/a(2).webm"),
    ],
)
def test_harmless_differences_are_used(listed: str, there: str) -> None:
    assert near([listed, "other.avi"], [there, "b.avi"]) == ({listed: there}, {})


@pytest.mark.parametrize(
    ("listed", "there"),
    [
        ("c/v_g01_c1.avi", "c/v_g1_c01.avi"),
        ("cats/a.avi", "dogs/a.avi"),
        ("cats/a.avi", "a.avi"),
        ("train/yoga/abc_000001_000011", "yoga/abc_1_11.mp4"),
        ("a/wave (1).mp4", "a/wave (2).mp4"),
        ("a/wave (1).mp4", "a/wave.mp4"),
        ("C:\\data\\b\\x.mp4", "b/x.mp4"),
    ],
)
def test_what_may_be_another_video_is_only_named(listed: str, there: str) -> None:
    assert near([listed], [there]) == ({}, {listed: there})


def test_numbers_in_brackets_tell_clips_apart_where_the_list_has_them() -> None:
    listed = ["w/a (1).avi", "w/a (2).avi", "w/a.avi"]
    used = {"w/a (1).avi": "w/a (1).mp4", "w/a (2).avi": "w/a (2).mp4"}
    assert near(listed, list(used.values())) == (used, {})
    assert near(listed, [*used, "w/a (3).avi"]) == ({}, {"w/a.avi": "w/a (3).avi"})


def test_only_what_fits_alone_is_used() -> None:
    assert near(["a.avi"], ["a.mp4", "a.mkv"]) == ({}, {"a.avi": "a.mkv"})
    assert near(["x/a.avi", "x/a.mpg"], ["x/a.mp4"]) == ({}, {"x/a.avi": "x/a.mp4", "x/a.mpg": "x/a.mp4"})
    assert near(["x/a.avi", "x/A.avi"], ["x/A.avi", "x/a.mp4"]) == ({}, {"x/a.avi": "x/a.mp4"})
    assert near(["100.avi"], ["1.avi", "10.avi"]) == ({}, {})


def csv(root: Path, rows: list[str], there: list[str]) -> Catalog:
    put(root / "videos", there)
    put(root, {"list.csv": "path,label,split\n" + "\n".join(rows)})
    return catalog_of(kind="csv", videos=root / "videos", lists=root / "list.csv")


def test_catalogs_use_name_and_count_near_misses(tmp_path: Path) -> None:
    there = ["in/A/1.MP4", "a/1.avi", "B/2.mkv", "b/03.mp4", "c.mp4"]
    catalog = csv(tmp_path, ["a/1.mp4,x,train", "b/2.mp4,y,test", "b/3.mp4,y,test", "d.mp4,z,"], [*there, "a/1.mp4"])
    assert [(video.path, video.key, video.label, video.splits) for video in catalog.videos] == [
        ("B/2.mkv", "B__2", 1, ("test",)),
        ("a/1.mp4", "a__1", 0, ("train",)),
    ]
    assert [(video.name, video.did_you_mean) for video in catalog.missing] == [("b/3.mp4", "b/03.mp4"), ("d.mp4", "")]
    assert {part.reason: (part.count, part.example) for part in catalog.left_out} == {
        COPY: (2, "a/1.avi"),
        UNLISTED: (2, "b/03.mp4"),
    }
    (note,) = catalog.notes
    assert note.startswith("1 listed video found under nearly the same name")
    assert note.endswith(": b/2.mp4 is B/2.mkv (build.json names all)")
    assert catalog.renamed == {"b/2.mp4": "B/2.mkv"}
    assert catalog.missing[0].to_dict() == {"name": "b/3.mp4", "splits": ("test",), "did_you_mean": "b/03.mp4"}
    assert catalog.missing[1].to_dict() == {"name": "d.mp4", "splits": ()}


def test_a_folder_of_near_misses_alone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none of the 1 listed videos is there.* Did you mean 001.mp4\?"):
        csv(tmp_path, ["1.mp4,x,"], ["001.mp4"])


def test_hmdb51_with_doubled_folders_and_other_endings(tmp_path: Path) -> None:
    put(tmp_path / "lists", {"wave_test_split1.txt": "a.avi 1 \nb.avi 2 \n"})
    put(tmp_path / "videos", ["wave/wave/a.avi", "wave/wave/b.mp4"])
    source: dict[str, Any] = {"kind": "hmdb51", "videos": tmp_path / "videos", "lists": tmp_path / "lists"}
    catalog = catalog_of(**source)
    assert [(video.path, video.splits) for video in catalog.videos] == [
        ("wave/wave/a.avi", ("train1",)),
        ("wave/wave/b.mp4", ("test1",)),
    ]
    assert catalog.missing == ()
