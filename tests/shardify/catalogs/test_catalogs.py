"""Catalogs: keys, folders, CSV lists, and what is said when any is wrong; published data sets have their own file."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers_catalogs import by_path, catalog_of, put, ucf101

from shardify.build.config import BuildConfig
from shardify.catalogs.archived import Listed, Member
from shardify.catalogs.base import Catalog, Missing
from shardify.catalogs.keys import MAX_KEY_LENGTH, make_keys
from shardify.config import load_config
from shardify.errors import UsageError
from shardify.shards.format import NO_LABEL
from shardify.synthetic.videos import SyntheticConfig

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "shards"

# Keys


def test_keys_are_the_paths_made_safe() -> None:
    paths = ["Punch/v_Punch_g01_c01.avi", "a b/ü.v2.mp4", "-Ab_1.mkv", "x.mp4"]
    assert make_keys(paths) == dict(zip(paths, ["Punch__v_Punch_g01_c01", "a_b____v2", "-Ab_1", "x"], strict=True))


def test_equal_keys_get_a_digest_each_and_keep_it_whatever_the_order() -> None:
    paths = ["a b.mp4", "a_b.mp4", "a.b.mkv", "other.mp4"]
    keys = make_keys(paths)
    assert len(set(keys.values())) == 4
    assert keys["other.mp4"] == "other"
    assert all(keys[path].startswith("a_b-") for path in paths[:3])
    assert make_keys(reversed(paths)) == keys
    assert make_keys(["a_b.mp4"]) == {"a_b.mp4": "a_b"}


def test_long_and_undecodable_names_get_short_ascii_keys() -> None:
    first, second = "c/" + "x" * 200 + "1.mp4", "c/" + "x" * 200 + "2.mp4"
    undecodable = os.fsdecode(b"caf\xe9.mp4")
    keys = make_keys([first, second, undecodable])
    assert keys[first] != keys[second]
    assert {len(keys[first]), len(keys[second])} == {MAX_KEY_LENGTH}
    assert keys[undecodable] == "caf_"


def test_a_name_that_imitates_a_digest_is_refused() -> None:
    imitation = make_keys(["a b.mp4", "a_b.mp4"])["a b.mp4"] + ".mp4"
    with pytest.raises(UsageError, match=r"get the same key a_b-[0-9a-f]{10}; rename one of them"):
        make_keys(["a b.mp4", "a_b.mp4", imitation])


# Folders and lists


def test_a_list_in_another_encoding_is_named(tmp_path: Path) -> None:
    ucf101(tmp_path)
    (tmp_path / "lists" / "classInd.txt").write_bytes("1 Schön\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"cannot read list .*classInd.txt: it is not a UTF-8 text file"):
        catalog_of(kind="ucf101", videos=tmp_path / "videos", lists=tmp_path / "lists")


def test_folders_that_are_wrong(tmp_path: Path) -> None:
    ucf101(tmp_path)
    videos, lists, absent = tmp_path / "videos", tmp_path / "lists", tmp_path / "absent"
    with pytest.raises(UsageError, match=r"source.videos = .*absent: no such folder; .* --set source.videos="):
        catalog_of(kind="ucf101", videos=absent, lists=lists)
    with pytest.raises(UsageError, match=r"source.lists = .*absent: no such folder"):
        catalog_of(kind="ucf101", videos=videos, lists=absent)
    with pytest.raises(UsageError, match=r"source.lists = .*classInd.txt: it is a file, not a folder"):
        catalog_of(kind="ucf101", videos=videos, lists=lists / "classInd.txt")
    with pytest.raises(UsageError, match=r"none of the 4 listed videos is there; the first would be .*lists/Punch"):
        catalog_of(kind="ucf101", videos=lists, lists=lists)


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", ["a.avi"])
    put(tmp_path / "videos" / "real", ["b.avi"])
    (tmp_path / "videos" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "videos" / "again").symlink_to(tmp_path / "videos" / "real")
    (tmp_path / "videos" / "real" / "loop").symlink_to(tmp_path / "videos")
    (tmp_path / "videos" / "real" / "dangling.avi").symlink_to(tmp_path / "nothing.avi")
    (tmp_path / "videos" / "self.avi").symlink_to(tmp_path / "videos" / "self.avi")
    catalog = catalog_of(kind="flat", videos=tmp_path / "videos")
    assert [video.path for video in catalog.videos] == ["again/b.avi", "linked/a.avi", "real/b.avi"]


def test_folder(tmp_path: Path) -> None:
    put(tmp_path, ["b/1.MP4", "b/deep/2.mkv", "a/3.webm", "loose.avi", "a/notes.txt", ".hidden/4.mp4"])
    catalog = catalog_of(kind="folder", videos=tmp_path)
    assert by_path(catalog) == {
        "a/3.webm": ("a__3", 0, ()),
        "b/1.MP4": ("b__1", 1, ()),
        "b/deep/2.mkv": ("b__deep__2", 1, ()),
    }
    assert (catalog.classes, catalog.splits, catalog.num_unlisted) == (("a", "b"), (), 1)


def test_numbered_class_folders_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    put(tmp_path / "numbers", [f"{number}/x.mp4" for number in (0, 1, 2, 10)])
    assert catalog_of(kind="folder", videos=tmp_path / "numbers").classes == ("0", "1", "2", "10")
    put(tmp_path / "words", ["2/x.mp4", "10/x.mp4", "other/x.mp4"])
    assert catalog_of(kind="folder", videos=tmp_path / "words").classes == ("10", "2", "other")


def test_an_accent_is_the_same_class_however_the_system_writes_it(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    put(tmp_path / "videos", [f"{apart}/1.mp4", "dog/3.mp4"])
    assert catalog_of(kind="folder", videos=tmp_path / "videos").classes == (composed, "dog")
    put(tmp_path / "videos", [f"{composed}/2.mp4"])
    catalog = catalog_of(kind="folder", videos=tmp_path / "videos")
    assert ([video.label for video in catalog.videos], catalog.classes) == ([0, 0, 1], (composed, "dog"))
    put(tmp_path, {"map.txt": f"dog\n{apart}\n"})
    catalog = catalog_of(kind="folder", videos=tmp_path / "videos", label_map=tmp_path / "map.txt")
    assert ([video.label for video in catalog.videos], catalog.classes) == ([1, 1, 0], ("dog", apart))
    put(tmp_path / "packed", ["all.tar"])
    archived = catalog_of(kind="folder", videos=tmp_path / "packed", label_map=tmp_path / "map.txt").archived
    assert archived is not None
    assert [archived.members(f"all/{name}/1.mp4", True) for name in (composed, "dog")] == [
        Member(name="", listed=Listed(label=label, splits=())) for label in (1, 0)
    ]


def test_a_file_at_two_paths_is_named(tmp_path: Path) -> None:
    put(tmp_path / "videos", ["cat/1.mp4", "dog/2.mp4", "fish/3.mp4"])
    put(tmp_path / "elsewhere", ["4.mp4"])
    for link, target in {"kitty": "cat", "cat/9.mp4": "../dog/2.mp4", "dog/4.mp4": "../../elsewhere/4.mp4"}.items():
        (tmp_path / "videos" / link).symlink_to(target)
    words = "3 videos taken again by another path, through links: cat/9.mp4 is dog/2.mp4"
    assert catalog_of(kind="folder", videos=tmp_path / "videos").notes == (words,)
    put(tmp_path, {"list.csv": "path\ncat/1.mp4\ndog/2.mp4\n"})
    source = {"kind": "csv", "videos": tmp_path / "videos", "lists": tmp_path / "list.csv"}
    assert catalog_of(**source).notes == ()
    put(tmp_path, {"list.csv": "path\ncat/1.mp4\nkitty/1.mp4\n"})
    assert catalog_of(**source).notes == (
        "1 video taken again by another path, through links: kitty/1.mp4 is cat/1.mp4",
    )


def test_train_val_test_above_the_classes_are_splits(tmp_path: Path) -> None:
    """The layout of torchvision's Kinetics."""
    put(tmp_path, ["validation/air drumming/1.mp4", "Train/air_drumming/2.mp4", "Train/zumba/deep/3.mp4"])
    put(tmp_path, ["test/yoga/4.mp4", "Train/stray.mp4", "stray.mp4"])
    catalog = catalog_of(kind="folder", videos=tmp_path)
    assert (catalog.classes, catalog.splits) == (("air drumming", "yoga", "zumba"), ("train", "val", "test"))
    assert {path: (label, splits) for path, (_, label, splits) in by_path(catalog).items()} == {
        "validation/air drumming/1.mp4": (0, ("val",)),
        "Train/air_drumming/2.mp4": (0, ("train",)),
        "Train/zumba/deep/3.mp4": (2, ("train",)),
        "test/yoga/4.mp4": (1, ("test",)),
    }
    assert catalog.num_unlisted == 2
    assert catalog.notes == ("the first folders are splits (train, val, test), the classes are the folders below them",)


@pytest.mark.parametrize("names", [["train/1.mp4", "bus/2.mp4"], ["train/1.mp4"], ["train/x/1.mp4", "bus/x/2.mp4"]])
def test_a_class_may_be_called_train(tmp_path: Path, names: list[str]) -> None:
    put(tmp_path, names)
    catalog = catalog_of(kind="folder", videos=tmp_path)
    assert (catalog.classes, catalog.splits) == (tuple(sorted({name.split("/")[0] for name in names})), ())


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train_set/cat/1.mp4", "test_set/cat/2.mp4"], "splits, but are classes here: test_set, train_set; to make"),
        (["training/cat/1.mp4", "eval/cat/2.mp4"], "folders that look like splits, but are classes here: training;"),
        (["train/cat/1.mp4", "val/cat/2.mp4", "unused/cat/3.mp4"], "but are classes here: train, val;"),
        (["train/1.mp4", "Testset/2.mp4"], "but are classes here: Testset, train;"),
        (["videos/cat/1.mp4", "videos/dog/2.mp4"], "one class only, videos; if the classes are its folders (cat, dog)"),
        (["cat/1.mp4", "emu/deep/a.txt", "dog/b.txt"], "no video in 2 class folders, so not .*: dog, emu"),
        (["test/cat/1.mp4", "train/dog/b.txt", "lists/deep/a.txt"], "no video in 1 class folder, so not .*: dog"),
        (["train/1.mp4", "bus/2.mp4", "valley/x/3.mp4"], ""),
        (["cat/x/1.mp4", "cat/2.mp4"], ""),
    ],
)
def test_folders_that_may_be_something_else_are_named(tmp_path: Path, names: list[str], words: str) -> None:
    put(tmp_path / "in", names)
    catalog = catalog_of(kind="folder", videos=tmp_path / "in")
    notes = [note for note in catalog.notes if not note.startswith("the first folders are splits")]
    assert len(notes) == bool(words)
    assert re.search(words.replace("(", "[(]").replace(")", "[)]"), "".join(notes))
    put(tmp_path, {"map.txt": "\n".join(catalog.classes)})
    mapped = catalog_of(kind="folder", videos=tmp_path / "in", label_map=tmp_path / "map.txt")
    assert set(mapped.notes) == set(catalog.notes).difference(notes)


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    put(tmp_path, ["cat/1.mp4"])
    (tmp_path / "dog").mkdir()
    catalog = catalog_of(kind="folder", videos=tmp_path)
    assert catalog.classes == ("cat",)
    assert catalog.notes == ("no video in 1 class folder, so not among the classes: dog",)


def test_archives_called_train_and_val_are_splits(tmp_path: Path) -> None:
    put(tmp_path / "videos", ["train/part_0.tar", "val.tar.gz"])
    put(tmp_path, {"classes.txt": "cat\ndog\n"})
    source: dict[str, Any] = {"kind": "folder", "videos": tmp_path / "videos", "label_map": tmp_path / "classes.txt"}
    catalog = catalog_of(**source)
    assert catalog.splits == ("train", "val")
    assert catalog.archived is not None
    members = [catalog.archived.members(path, True) for path in ("train/part_0/dog/1.mp4", "val/cat/2.mp4")]
    assert [member and member.listed for member in members] == [
        Listed(label=1, splits=("train",)),
        Listed(label=0, splits=("val",)),
    ]
    put(tmp_path / "videos", ["more.tar"])
    assert catalog_of(**source).splits == ()


def test_flat(tmp_path: Path) -> None:
    put(tmp_path, ["b/1.mp4", "2.mp4", "notes.txt"])
    catalog = catalog_of(kind="flat", videos=tmp_path)
    assert by_path(catalog) == {"2.mp4": ("2", NO_LABEL, ()), "b/1.mp4": ("b__1", NO_LABEL, ())}
    assert (catalog.classes, catalog.splits, catalog.num_unlisted) == ((), (), 0)


def test_listed_videos_in_an_archive_of_another_kind(tmp_path: Path) -> None:
    put(tmp_path / "videos", ["b.rar", "a.ZIP", "c.avi"])
    put(tmp_path, {"list.csv": "path\nx.mp4\n"})
    with pytest.raises(UsageError, match=r"none of the 1 .* Are they in a.ZIP\? Unpack it, or pack it as .tar$"):
        catalog_of(kind="csv", videos=tmp_path / "videos", lists=tmp_path / "list.csv")


@pytest.mark.parametrize("kind", ["folder", "flat"])
@pytest.mark.parametrize("folder", ["", "shards/"])
def test_shards_are_no_archives_of_videos(tmp_path: Path, kind: str, folder: str) -> None:
    names = [f"{folder}{name}" for name in ("manifest.json", "shard-000000.tar", "shard-000000.idx.npz")]
    put(tmp_path, names + (["a/1.mp4"] if folder else []))
    with pytest.raises(UsageError, match=rf"it holds shards that were built already \({folder}shard-000000.tar ...\)"):
        catalog_of(kind=kind, videos=tmp_path)


@pytest.mark.parametrize("kind", ["folder", "flat"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.zip", "archives of this kind are not read, unpack it or pack it anew; give "),
        ("a.tar.XZ", "archives of this kind are not read"),
        ("a.avi", "this names one video; give a folder or URL of videos, or of .tar, .tar.gz or .tgz archives"),
        ("a.txt", "it is a file, not a folder; give a folder or URL"),
    ],
)
def test_files_that_are_no_place_of_videos(tmp_path: Path, kind: str, name: str, words: str) -> None:
    put(tmp_path, [name])
    with pytest.raises(UsageError, match=f"^source.videos = {tmp_path / name}: {words}"):
        catalog_of(kind=kind, videos=tmp_path / name)


def test_folders_without_videos(tmp_path: Path) -> None:
    put(tmp_path / "texts", ["a/b.txt"])
    put(tmp_path / "frames", ["a/1/0001.JPG", "a/1/fps.txt"])
    put(tmp_path / "loose", ["a.mp4"])
    for kind in ("folder", "flat"):
        with pytest.raises(UsageError, match=r"none of its 1 file is a video \(.avi.*archive that is read \([^)]*\)$"):
            catalog_of(kind=kind, videos=tmp_path / "texts")
        with pytest.raises(UsageError, match=r"none of its 2 files .*; folders of pictures are not read: make a video"):
            catalog_of(kind=kind, videos=tmp_path / "frames")
    with pytest.raises(UsageError, match=r"its 1 videos lie directly in it, .* use --set source.kind=flat"):
        catalog_of(kind="folder", videos=tmp_path / "loose")


def csv_list(root: Path, text: str, **options: Any) -> Catalog:
    put(root / "videos", ["a/1.mp4", "a/2.mp4", "b 3.strange", "unlisted.mp4"])
    put(root, {"list.csv": text})
    return catalog_of(**{"kind": "csv", "videos": root / "videos", "lists": root / "list.csv"} | options)


def test_csv(tmp_path: Path) -> None:
    rows = ["small;train,x,a/1.mp4,dog", ",,./a/2.mp4,", "test,,b 3.strange,cat", "test,,gone.mp4,cat"]
    text = "".join(f"{row}\r\n" for row in ("\ufeffsplit, extra,path,label", *rows))  # as spreadsheets save it
    catalog = csv_list(tmp_path, text)
    assert by_path(catalog) == {
        "a/1.mp4": ("a__1", 1, ("small", "train")),
        "a/2.mp4": ("a__2", NO_LABEL, ()),
        "b 3.strange": ("b_3", 0, ("test",)),
    }
    assert catalog.missing == (Missing(name="gone.mp4", splits=("test",)),)
    assert (catalog.classes, catalog.splits, catalog.num_unlisted) == (("cat", "dog"), ("small", "train", "test"), 1)


def test_csv_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    """Such as labels in a column of another name."""
    catalog = csv_list(tmp_path, ",path,class,fps\n0,a/1.mp4,dog,25\n1,a/2.mp4,cat,25\n")
    assert (catalog.classes, catalog.notes) == ((), ("columns of list.csv that are not read: class, fps",))


def test_csv_columns_may_have_capitals(tmp_path: Path) -> None:
    catalog = csv_list(tmp_path, "Path,LABEL,Split,Note\na/1.mp4,dog,train,x\n")
    assert (catalog.classes, catalog.splits) == (("dog",), ("train",))
    assert catalog.notes == ("columns of list.csv that are not read: Note",)


def test_csv_paths_from_windows(tmp_path: Path) -> None:
    catalog = csv_list(tmp_path, "path,label\na\\1.mp4,dog\na\\2.mp4,cat\n")
    assert {video.path: video.label for video in catalog.videos} == {"a/1.mp4": 1, "a/2.mp4": 0}
    assert (catalog.missing, "a\\1.mp4 is a/1.mp4" in catalog.notes[0]) == ((), True)


def test_csv_with_paths_alone(tmp_path: Path) -> None:
    catalog = csv_list(tmp_path, "path\na/1.mp4\n")
    assert by_path(catalog) == {"a/1.mp4": ("a__1", NO_LABEL, ())}
    assert (catalog.classes, catalog.splits) == ((), ())


def test_csv_numbers_are_labels_as_they_stand(tmp_path: Path) -> None:
    catalog = csv_list(tmp_path, "path,label\na/1.mp4,10\na/2.mp4,02\n")
    assert [video.label for video in catalog.videos] == [10, 2]
    assert catalog.classes == tuple(str(i) for i in range(11))


def test_csv_numbers_that_pandas_wrote_as_floats_keep_their_values(tmp_path: Path) -> None:
    catalog = csv_list(tmp_path, "path,label\na/1.mp4,2.0\na/2.mp4,-1.0\nb 3.strange,0.00\n")
    assert [video.label for video in catalog.videos] == [2, NO_LABEL, 0]
    assert catalog.classes == ("0", "1", "2")
    with pytest.raises(UsageError, match=r"line 3: label '0.5', but line 2 has the number 1.0"):
        csv_list(tmp_path, "path,label\na/1.mp4,1.0\na/2.mp4,0.5\n")


def test_csv_labels_are_one_however_they_are_spelt(tmp_path: Path) -> None:
    catalog = csv_list(tmp_path, "path,label\na/1.mp4,ice_skating\na/2.mp4,ice skating\nb 3.strange,Ice skating\n")
    assert ([video.label for video in catalog.videos], catalog.classes) == ([1, 1, 0], ("Ice skating", "ice skating"))


def test_names_that_differ_in_case_only_are_named(tmp_path: Path) -> None:
    put(tmp_path / "in", ["train/HandStand/1.mp4", "val/Hand_stand/2.mp4", "val/Handstand/3.mp4"])
    catalog = catalog_of(kind="folder", videos=tmp_path / "in")
    assert (len(catalog.classes), catalog.notes[0]) == (3, "classes that differ in case only: HandStand and Handstand")
    notes = csv_list(tmp_path, "path,label,split\na/1.mp4,Cat,Train\na/2.mp4,cat,train\n").notes
    assert notes == (
        "classes that differ in case only: Cat and cat",
        "splits that differ in case only: Train and train",
    )
    put(tmp_path / "packed", ["all.tar"])
    put(tmp_path, {"map.txt": "dog\nDog\n"})
    packed = catalog_of(kind="folder", videos=tmp_path / "packed", label_map=tmp_path / "map.txt")
    assert packed.notes == ("classes that differ in case only: dog and Dog",)


def test_csv_cells_that_pandas_wrote_as_nan_are_named(tmp_path: Path) -> None:
    catalog = csv_list(tmp_path, "path,label,split\na/1.mp4,nan,train\na/2.mp4,cat,nan\n")
    assert [note.partition(":")[0] for note in catalog.notes] == ["class nan", "split nan"]
    assert csv_list(tmp_path, "path,label\na/1.mp4,Nan\n").notes == ()


def test_csv_minus_one_is_no_label(tmp_path: Path) -> None:
    catalog = csv_list(tmp_path, "path,label\na/1.mp4,2\na/2.mp4,-1\nb 3.strange,0\n")
    assert [video.label for video in catalog.videos] == [2, NO_LABEL, 0]
    assert catalog.classes == ("0", "1", "2")
    catalog = csv_list(tmp_path, "path,label\na/1.mp4,-1\na/2.mp4,\n")
    assert ([video.label for video in catalog.videos], catalog.classes) == ([NO_LABEL, NO_LABEL], ())


def test_csv_labels_come_from_the_map(tmp_path: Path) -> None:
    put(tmp_path, {"map.txt": "dog\ncat\n"})
    catalog = csv_list(tmp_path, "path,label\na/1.mp4,cat\n", label_map=tmp_path / "map.txt")
    assert ([video.label for video in catalog.videos], catalog.classes) == ([1], ("dog", "cat"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\nx\n", r"list.csv: no column path in its first line 'label'; required: path; optional: label, split"),
        (
            "Path;Label\na/1.mp4;a\n",
            r"label, split. Its cells are separated by semicolons; save it with commas",
        ),
        ("path\tlabel\na/1.mp4\ta\n", r"optional: label, split. Its cells are separated by tabs; save it with commas"),
        ("path,label,label\na/1.mp4,a,b\n", r"list.csv: column label is there twice; keep one of them"),
        ("path,split\na/1.mp4,training;Test\n", r"list.csv line 2: split 'training;Test'; a test must be unseen"),
        ("path,split\na/1.mp4,all;test2;train2\n", r"list.csv line 2: split .*; a test must be unseen"),
        ("path\n../x.mp4\n", r"list.csv line 2: path '../x.mp4' must lead from source.videos downwards"),
        ("path\n/x.mp4\n", r"list.csv line 2: path '/x.mp4' must lead from source.videos downwards"),
        ("path\na/1.mp4\n./a/1.mp4\n", r"list.csv line 3: a/1.mp4 is already on line 2"),
        ("path,split\na/1.mp4,tr/ain\n", r"list.csv line 2: split 'tr/ain' may hold letters, digits, _ and - only"),
        ("path,label\na/1.mp4,100000\n", r"list.csv line 2: label 100000; numeric labels go from 0 to 99999"),
        (f"path,label\na/1.mp4,{'9' * 5000}\n", r"line 2: label 9{20}; numeric labels go from 0 to 99999"),
        ("path,label\na/1.mp4,3\na/2.mp4,-2\n", r"list.csv line 3: label -2; numeric .*, -1 or blank is none"),
        ("path,label\na/1.mp4,7\na/2.mp4,cat\n", r"list.csv line 3: label 'cat', but line 2 has the number 7; labels"),
        ("path,label\na/1.mp4,\na/2.mp4,cat\nb 3.strange,-1\n", r"list.csv line 3: .* line 4 has the number -1"),
        ("path\nx.mp4\n", r"none of the 1 listed videos is there; the first would be .*videos/x.mp4"),
    ],
)
def test_csv_lists_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        csv_list(tmp_path, text)


def test_real_folders(data_dir: Path) -> None:
    weizmann = catalog_of(kind="folder", videos=data_dir / "weizmann" / "videos")
    assert (len(weizmann.videos), weizmann.classes) == (36, ("bend", "pjump", "wave1", "wave2"))
    fights = catalog_of(kind="folder", videos=data_dir / "fights" / "videos")
    assert (Counter(video.label for video in fights.videos), fights.classes) == ({0: 15, 1: 15}, ("fight", "noFight"))
    assert len(catalog_of(kind="flat", videos=data_dir / "odd").videos) == 39


# Configs


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid_and_say_what_they_cost(path: Path) -> None:
    synthetic = path.stem == "synthetic_demo"
    out = load_config(SyntheticConfig, path).out if synthetic else load_config(BuildConfig, path).out
    assert not Path(out).is_absolute()
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    command = "shardify synthetic" if synthetic else "make shards"
    assert any(line.startswith(f"# {command}") for line in header)
    assert any("core" in line for line in header)
    assert any(line.startswith("# Expect") for line in header)


def test_an_unknown_kind_or_key_is_named() -> None:
    path = CONFIGS / "folder.yaml"
    with pytest.raises(
        UsageError,
        match=r"source.kind = 'imagenet': .*allowed: ucf101, hmdb51, kinetics, something_something_v2, diving48, ",
    ):
        load_config(BuildConfig, path, ["source.kind=imagenet"])
    with pytest.raises(UsageError, match=r"unknown key source.video \(did you mean videos\?\); allowed:"):
        load_config(BuildConfig, path, ["source.video=x"])
