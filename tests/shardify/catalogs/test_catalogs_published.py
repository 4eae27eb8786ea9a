"""Catalogs of UCF101, HMDB51 and Kinetics: small imitations, lists that are wrong, and the real lists."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers_catalogs import UCF_LISTS, by_path, catalog_of, put, ucf101

from shardify.catalogs.base import Catalog, Missing, Video
from shardify.catalogs.reasons import HIDDEN, OTHER_NAME, SPARE, UNLISTED
from shardify.errors import UsageError
from shardify.shards.format import NO_LABEL
from shardify.shards.seen import LeftOut

# UCF101


def test_ucf101(tmp_path: Path) -> None:
    assert ucf101(tmp_path) == Catalog(
        root=str(tmp_path / "videos"),
        videos=(
            Video(key="Punch__v_Punch_g01_c01", path="Punch/v_Punch_g01_c01.avi", label=0, splits=("test1", "train2")),
            Video(key="Punch__v_Punch_g02_c01", path="Punch/v_Punch_g02_c01.avi", label=0, splits=("train1", "test2")),
            Video(key="YoYo__v_YoYo_g02_c01", path="YoYo/v_YoYo_g02_c01.avi", label=1, splits=("train1",)),
        ),
        missing=(Missing(name="YoYo/v_YoYo_g01_c01.avi", splits=("test1", "train2")),),
        classes=("Punch", "YoYo"),
        splits=("train1", "test1", "train2", "test2"),
        left_out=(
            LeftOut(reason=HIDDEN, count=1, example="YoYo/._v_YoYo_g01_c01.avi"),
            LeftOut(reason=OTHER_NAME, count=1, example="YoYo/notes.txt"),
            LeftOut(reason=UNLISTED, count=1, example="YoYo/v_YoYo_g09_c09.avi"),
        ),
    )


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"trainlist01": "\r\n"}, r"trainlist01.txt: the list is empty"),
        ({"trainlist01": "Punch/a.avi 1\n\nPunch/b.avi"}, r"trainlist01.txt line 3: 'Punch/b.avi' is not `Class/video"),
        ({"testlist02": "a.avi\n"}, r"testlist02.txt line 1: 'a.avi' is not `Class/video.avi`"),
        ({"testlist02": "../x.avi\n"}, r"testlist02.txt line 1: class '..' is not in .*classInd.txt"),
        ({"testlist02": "Jump/a.avi\n"}, r"testlist02.txt line 1: class 'Jump' is not in .*classInd.txt"),
        ({"trainlist02": "YoYo/a.avi 1\n"}, r"trainlist02.txt line 1: label 1, but classInd.txt gives YoYo the number"),
        ({"trainlist02": "YoYo/a.avi 2\nYoYo/a.avi 2\n"}, r"trainlist02.txt line 2: YoYo/a.avi is listed twice"),
        ({"testlist01": UCF_LISTS["testlist02.txt"]}, r"testlist01.txt: Punch/v_Punch_g02_c01.avi is in train1 too"),
        ({"classInd": "1 Punch\n3 YoYo\n"}, r"classInd.txt line 2: '3 YoYo'; distinct classes count 1, 2, 3"),
        ({"classInd": "1 Punch\n2 Punch\n"}, r"classInd.txt line 2: '2 Punch'; distinct classes count 1, 2, 3"),
        ({"classInd": "Punch\n"}, r"classInd.txt line 1: 'Punch' is not `number class`"),
        (
            {"classInd": "1 Big Dog\n"},
            r"classInd.txt line 1: '1 Big Dog' is not .*; no name may hold a space",
        ),
        ({"classInd": ""}, r"cannot read list .*classInd.txt: No such file or directory; check source.lists"),
        ({"testlist02": ""}, r"testlist02.txt is missing, but the other list of its pair is there"),
        (dict.fromkeys((n[:-4] for n in UCF_LISTS if n != "classInd.txt"), ""), r"holds no trainlist01.txt and"),
    ],
)
def test_ucf101_lists_that_are_wrong(tmp_path: Path, lists: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ucf101(tmp_path, **lists)


def test_ucf101_files_beside_its_lists_are_named(tmp_path: Path) -> None:
    put(tmp_path / "lists", ["trainlist3.txt", "testlist3.txt", ".DS_Store"])
    catalog = ucf101(tmp_path)
    assert catalog.splits == ("train1", "test1", "train2", "test2")
    words = "not read, because they are no lists called like trainlist01.txt: testlist3.txt, trainlist3.txt"
    assert catalog.notes == (words,)


# HMDB51

HMDB_LISTS = {
    "climb_test_split1.txt": "a_#2(b)!_climb_0.avi 1 \nb_climb_1.avi 2 \n",
    "climb_test_split2.txt": "a_#2(b)!_climb_0.avi 2 \nb_climb_1.avi 0 \n",
    "climb_stairs_test_split1.txt": "c_climb_stairs_0.avi 0 \nd_climb_stairs_0.avi 1 \n",
    "climb_stairs_test_split2.txt": "c_climb_stairs_0.avi 0 \nd_climb_stairs_0.avi 1 \n",
}


def hmdb51(root: Path, **lists: str) -> Catalog:
    """A small HMDB51 with some of its lists replaced ("" leaves one out)."""
    contents = HMDB_LISTS | {f"{name}.txt": text for name, text in lists.items()}
    put(root / "lists", {name: text for name, text in contents.items() if text})
    put(root / "videos", ["climb/a_#2(b)!_climb_0.avi", "climb/b_climb_1.avi", "climb_stairs/c_climb_stairs_0.avi"])
    return catalog_of(kind="hmdb51", videos=root / "videos", lists=root / "lists")


def test_hmdb51(tmp_path: Path) -> None:
    catalog = hmdb51(tmp_path)
    assert catalog.classes == ("climb", "climb_stairs")
    assert catalog.splits == ("train1", "test1", "train2", "test2")
    assert {video.path: (video.key, video.label, video.splits) for video in catalog.videos} == {
        "climb/a_#2(b)!_climb_0.avi": ("climb__a__2_b___climb_0", 0, ("train1", "test2")),
        "climb/b_climb_1.avi": ("climb__b_climb_1", 0, ("test1",)),
        "climb_stairs/c_climb_stairs_0.avi": ("climb_stairs__c_climb_stairs_0", 1, ()),
    }
    assert catalog.missing == (Missing(name="climb_stairs/d_climb_stairs_0.avi", splits=("train1", "train2")),)
    assert catalog.notes == ()
    (note,) = hmdb51(tmp_path, **{"sky-dive_test_split1": "a.avi 1"}).notes
    assert note.endswith("no lists called <class>_test_split<N>.txt: sky-dive_test_split1.txt")


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"climb_test_split1": "a.avi 3 \n"}, r"climb_test_split1.txt line 1: 'a.avi 3' is not `video.avi 0\|1\|2`"),
        ({"climb_test_split1": "a.avi\n"}, r"climb_test_split1.txt line 1: 'a.avi' is not `video.avi 0\|1\|2`"),
        ({"climb_test_split1": "../a.avi 1\n"}, r"climb_test_split1.txt line 1: '../a.avi 1' is not `video.avi"),
        ({"climb_test_split1": "a.avi 1\na.avi 2\n"}, r"climb_test_split1.txt line 2: a.avi is listed twice"),
        ({"climb_test_split1": " \n"}, r"climb_test_split1.txt: the list is empty"),
        ({"climb_stairs_test_split2": ""}, r"climb_stairs_test_split2.txt is missing, but other classes have theirs"),
        (dict.fromkeys((name[:-4] for name in HMDB_LISTS), ""), r"source.lists = .*: it holds no"),
    ],
)
def test_hmdb51_lists_that_are_wrong(tmp_path: Path, lists: dict[str, str], message: str) -> None:
    (tmp_path / "lists").mkdir()
    with pytest.raises(UsageError, match=message):
        hmdb51(tmp_path, **lists)


# Kinetics

KINETICS_TRAIN = (
    "label,youtube_id,time_start,time_end,split,is_cc\n"
    "air drumming,-abcdefghi_,1,11,train,0\n"
    '"passing American football (in game)",bbbbbbbbbbb,12,22,train,0\n'
    "zumba,ccccccccccc,100,110.0,train,0\n"
    "zumba,ddddddddddd,0,10,train,0\n"
)
KINETICS_VAL = (
    "label,youtube_id,time_start,time_end,split\n"
    "zumba,eeeeeeeeeee,5,15,validate\n"
    "air drumming,eeeeeeeeeee,25,35,validate\n"
)
KINETICS_TEST = "youtube_id,time_start,time_end,split\nfffffffffff,1,11,test\n"


def kinetics(root: Path, videos: list[str], **options: Any) -> Catalog:
    put(root / "lists", {"train.csv": KINETICS_TRAIN, "val.csv": KINETICS_VAL, "test.csv": KINETICS_TEST})
    put(root / "videos", [*videos, "readme.txt"])
    source = {"kind": "kinetics", "release": 400, "videos": root / "videos", "lists": root / "lists"}
    return catalog_of(**source | options)


def test_kinetics_flat_with_any_ending_and_both_spellings(tmp_path: Path) -> None:
    names = ["-abcdefghi__000001_000011.mp4", "bbbbbbbbbbb.mkv", "ccccccccccc_000100_000110.webm"]
    catalog = kinetics(tmp_path, [*names, "eeeeeeeeeee.mp4", "fffffffffff_000001_000011.mp4", "unknownvide.mp4"])
    assert catalog.classes == ("air drumming", "passing American football (in game)", "zumba")
    assert catalog.splits == ("train", "val", "test")
    assert by_path(catalog) == {
        "-abcdefghi__000001_000011.mp4": ("-abcdefghi__000001_000011", 0, ("train",)),
        "bbbbbbbbbbb.mkv": ("bbbbbbbbbbb", 1, ("train",)),
        "ccccccccccc_000100_000110.webm": ("ccccccccccc_000100_000110", 2, ("train",)),
        "eeeeeeeeeee.mp4": ("eeeeeeeeeee", 2, ("val",)),  # one file, two cuts: the first listed has it
        "fffffffffff_000001_000011.mp4": ("fffffffffff_000001_000011", NO_LABEL, ("test",)),
    }
    assert catalog.missing == (
        Missing(name="train/zumba/ddddddddddd_000000_000010", splits=("train",)),
        Missing(name="val/air drumming/eeeeeeeeeee_000025_000035", splits=("val",)),
    )
    assert catalog.num_unlisted == 1


def test_kinetics_in_class_folders_of_any_spelling(tmp_path: Path) -> None:
    football = "train/passing_american_football_(in_game)/bbbbbbbbbbb_000012_000022.mp4"
    drumming, zumba = "val/air drumming/eeeeeeeeeee.mp4", "val/zumba/eeeeeeeeeee.mp4"
    catalog = kinetics(tmp_path, [football, drumming, zumba, "train/zumba/-abcdefghi__000001_000011.mp4"])
    assert {path: video[1:] for path, video in by_path(catalog).items()} == {
        football: (1, ("train",)),
        drumming: (0, ("val",)),
        zumba: (2, ("val",)),
    }
    assert catalog.num_unlisted == 1  # in the folder of a class that the lists do not give it


def test_kinetics_prefers_the_cuts_own_name_and_the_classs_own_folder(tmp_path: Path) -> None:
    copies = ["a/ccccccccccc.mp4", "new/ccccccccccc_000100_000110.mp4", "zumba/ccccccccccc.mp4"]
    assert list(by_path(kinetics(tmp_path / "one", copies))) == ["new/ccccccccccc_000100_000110.mp4"]
    assert list(by_path(kinetics(tmp_path / "two", copies[::2]))) == ["zumba/ccccccccccc.mp4"]


def test_kinetics_keeps_further_files_of_a_cut(tmp_path: Path) -> None:
    """Its set of replacements holds files under the names of broken ones, and may come before or after them."""
    name = "ccccccccccc_000100_000110.mp4"
    videos = [f"a_download/{name}", f"replacement/{name}", f"yoga/{name}", f"air drumming/{name}", "b/ccccccccccc.mp4"]
    catalog = kinetics(tmp_path, videos)
    (video,) = catalog.videos
    assert (video.path, video.key) == (f"a_download/{name}", "a_download__ccccccccccc_000100_000110")
    assert video.copies == (f"replacement/{name}", f"yoga/{name}")  # yoga is no class of these lists
    reasons = {part.reason: (part.count, part.example) for part in catalog.left_out}
    assert reasons[SPARE] == (2, f"a_download/{name} or replacement/{name}")
    assert sum(count for count, _ in reasons.values()) == 5


@pytest.mark.parametrize("folder", ["", "train/zumba/"])
def test_kinetics_ids_that_differ_in_case_are_two_videos(tmp_path: Path, folder: str) -> None:
    """A file of another id is never taken for the listed one, nor counted as its copy; it is only named."""
    paths = [f"{folder}{name}_000000_000010.MP4" for name in ("DDddddddddd", "ddDDddddddd")]
    rows = [
        "label,youtube_id,time_start,time_end,split",
        "zumba,DDddddddddd,0,10,train",
        "zumba,ddDDddddddd,0,10,train",
    ]

    def of(name: str, num_listed: int, there: list[str]) -> Catalog:
        lists = put(tmp_path / name, {"l.csv": "\n".join([*rows[: num_listed + 1], "yoga,bbbbbbbbbbb,1,2,train"])})
        return kinetics(tmp_path / name, there, lists=lists / "l.csv")

    assert list(by_path(of("two", 2, paths))) == paths
    one = of("one", 1, paths)
    assert list(by_path(one)) == paths[:1]
    assert {part.reason: part.example for part in one.left_out}[UNLISTED] == paths[1]
    other = of("other", 1, [paths[1], "bbbbbbbbbbb.mp4"])
    assert list(by_path(other)) == ["bbbbbbbbbbb.mp4"]
    assert [missing.did_you_mean for missing in other.missing] == paths[1:]


def test_kinetics_doubtful_cuts_are_named(tmp_path: Path) -> None:
    """A video in two splits, a file that may be the whole video, one cut with two labels."""
    more = "label,youtube_id,time_start,time_end,split\nzumba,ccccccccccc,0,10,validate\nyoga,ddddddddddd,0,10,train\n"
    put(tmp_path / "lists", {"more.csv": more})
    names = ["ccccccccccc_000000_000010.mp4", "ddddddddddd_000000_000010.mp4", "bbbbbbbbbbb.mp4"]
    notes = kinetics(tmp_path, names).notes
    assert tuple(note.replace("bbbbbbbbbbb", "b") for note in notes) == (
        "1 cut of val from a YouTube video that train has cuts of too: ccccccccccc",
        "1 file named by the YouTube id alone, such as b.mp4: taken as the cut; if it is the whole video, cut it first",
        "1 cut missing because another row of the lists has the file: train/zumba/ddddddddddd_000000_000010",
    )
    put(tmp_path / "lists", {"more.csv": more + "yoga,bbbbbbbbbbb,50,60,train\n"})
    both = kinetics(tmp_path, [*names, "bbbbbbbbbbb_000050_000060.mp4"]).notes
    assert [note.partition(":")[0] for note in both if "alone" in note] == [notes[1].partition(":")[0]]
    put(tmp_path / "archives", ["a.tar"])
    source = {"kind": "kinetics", "release": 400, "videos": tmp_path / "archives", "lists": tmp_path / "lists"}
    assert catalog_of(**source).notes == notes[:1]


def test_kinetics_labels_are_one_however_they_are_spelt(tmp_path: Path) -> None:
    put(tmp_path / "lists", {"more.csv": KINETICS_VAL.replace("air drumming,eeeeeeeeeee", "air_drumming,ggggggggggg")})
    catalog = kinetics(tmp_path, ["ggggggggggg.mp4", "-abcdefghi_.mp4"])
    assert catalog.classes == ("air drumming", "passing American football (in game)", "zumba")
    assert {video.label for video in catalog.videos} == {0}
    (tmp_path / "map.txt").write_text("zumba\nair_drumming\npassing_American_football_(in_game)\n")
    mapped = kinetics(tmp_path, [], label_map=tmp_path / "map.txt")
    assert (mapped.classes[1], {video.label for video in mapped.videos}) == ("air_drumming", {1})


def test_kinetics_lists_beside_other_files(tmp_path: Path) -> None:
    """Other files in the folder of the lists are named; a list without splits has its split in its name."""
    put(tmp_path / "lists", {"classes.csv": "id,name\n0,zumba\n", "train.txt": "a.mp4 0\n"})
    put(tmp_path / "lists", {"k400_validate.csv": "youtube_id,time_start,time_end\nhhhhhhhhhhh,1,11\n"})
    catalog = kinetics(tmp_path, ["hhhhhhhhhhh.mp4"])
    assert [(video.splits, video.label) for video in catalog.videos] == [(("val",), NO_LABEL)]
    note = catalog.notes[-1]
    assert note.endswith(": classes.csv (no column youtube_id, time_start, time_end), train.txt")
    (tmp_path / "lists" / "k400_validate.csv").rename(tmp_path / "lists" / "more.csv")
    with pytest.raises(UsageError, match=r"more.csv line 2: no split is given, and the list's name tells none"):
        kinetics(tmp_path, [])


def test_kinetics_labels_come_from_the_map(tmp_path: Path) -> None:
    label_map = (
        put(tmp_path, {"map.txt": "zumba\nair drumming\nyoga\npassing American football (in game)\n"}) / "map.txt"
    )
    catalog = kinetics(tmp_path, ["ddddddddddd.mp4", "bbbbbbbbbbb.mp4"], label_map=label_map)
    assert catalog.classes[2] == "yoga"
    assert [video.label for video in catalog.videos] == [3, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,youtube_id,split\nx,y,train\n", r"l.csv: no column time_start, time_end in its first line .*required:"),
        ("label,youtube_id,time_start,time_end,split\n", r"l.csv: the list is empty"),
        ("", r"l.csv: no column youtube_id, time_start, time_end in its first line ''"),
        ("youtube_id,time_start,time_end,split\nx,1,2\n", r"l.csv line 2: 3 cells, but the header has 4"),
        ("youtube_id,time_start,time_end,split\n\nx,a,2,val\n", r"l.csv line 3: time_start 'a' is not a number of"),
        ("youtube_id,time_start,time_end,split\n,1,2,val\n", r"l.csv line 2: column youtube_id is blank"),
        ("youtube_id,time_start,time_end,split\na/b,1,2,val\n", r"l.csv line 2: youtube_id 'a/b' holds a slash"),
        ("youtube_id,time_start,time_end,split\nx,1,2,two words\n", r"l.csv line 2: split 'two words'; write it as"),
        ('youtube_id,time_start,time_end,split\n"x,1,2,val\n', r"l.csv line \d: not valid CSV: unexpected end of data"),
    ],
)
def test_kinetics_lists_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path, {"l.csv": text})
    with pytest.raises(UsageError, match=message):
        kinetics(tmp_path, ["ddddddddddd.mp4"], lists=tmp_path / "l.csv")


def test_kinetics_of_another_release_or_with_another_map(tmp_path: Path) -> None:
    rows = "".join(f"class {i:03d},{i:011d},0,10,train\n" for i in range(401))
    many = put(tmp_path, {"many.csv": f"label,youtube_id,time_start,time_end,split\n{rows}", "map.txt": "a\nb\na\n"})
    with pytest.raises(UsageError, match=r"many.csv names 401 classes, but source.release is 400"):
        kinetics(tmp_path, ["00000000000.mp4"], lists=many / "many.csv")
    with pytest.raises(UsageError, match=r"map.txt line 3: class 'a' is already on line 1"):
        kinetics(tmp_path, ["ddddddddddd.mp4"], label_map=many / "map.txt")
    put(tmp_path, {"map.txt": "a\nb\n"})
    with pytest.raises(UsageError, match=r"label 'air drumming' is not in .*map.txt"):
        kinetics(tmp_path, ["ddddddddddd.mp4"], label_map=many / "map.txt")
    with pytest.raises(UsageError, match=r"source.lists = .*videos: the folder holds no \*.csv"):
        kinetics(tmp_path, ["ddddddddddd.mp4"], lists=tmp_path / "videos")


# The real lists

UCF101_SPLITS = {"train1": 9537, "test1": 3783, "train2": 9586, "test2": 3734, "train3": 9624, "test3": 3696}
HMDB51_SPLITS = {f"{part}{n}": count for n in (1, 2, 3) for part, count in (("train", 3570), ("test", 1530))}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "folder", "lists", "num_found", "num_missing", "num_classes", "splits"),
    [
        ("ucf101", "ucf101", "ucfTrainTestlist", 68, 13_252, 101, UCF101_SPLITS),
        ("ucf101", "ucf101-8", "ucfTrainTestlist", 704, 0, 8, {"train1": 576, "test1": 128}),
        ("hmdb51", "hmdb51", "testTrainMulti_7030_splits", 4, 6762, 51, HMDB51_SPLITS),
    ],
)
def test_real_lists(
    data_dir: Path,
    kind: str,
    folder: str,
    lists: str,
    num_found: int,
    num_missing: int,
    num_classes: int,
    splits: dict[str, int],
) -> None:
    catalog = catalog_of(kind=kind, videos=data_dir / folder / "videos", lists=data_dir / folder / lists)
    counts = (len(catalog.videos), len(catalog.missing), len(catalog.classes), catalog.num_unlisted)
    assert counts == (num_found, num_missing, num_classes, 0)
    of_videos = [video.splits for video in catalog.videos] + [video.splits for video in catalog.missing]
    listed = Counter(split for names in of_videos for split in names)
    assert listed.items() >= splits.items()
    for video in catalog.videos:
        assert catalog.classes[video.label] == video.path.split("/")[0]


@pytest.mark.slow
def test_real_kinetics(data_dir: Path) -> None:
    root = data_dir / "kinetics"
    lists = root / "annotations" / "kinetics-400_val.csv"
    label_map = root / "annotations" / "label_map_k400.txt"
    source = {"kind": "kinetics", "release": 400, "videos": root / "videos", "lists": lists}
    catalog = catalog_of(**source, label_map=label_map)
    assert catalog == catalog_of(**source)  # the published maps are in alphabetical order
    assert (len(catalog.videos), len(catalog.videos) + len(catalog.missing)) == (3, 19906)
    assert (len(catalog.classes), catalog.splits, catalog.num_unlisted) == (400, ("val",), 3)
    with lists.open(encoding="utf-8") as file:
        labels = {row["youtube_id"]: row["label"] for row in csv.DictReader(file)}
    for video in catalog.videos:
        assert catalog.classes[video.label] == labels[video.key]
