"""Tar archives as they are read: every file once and in order, and anything but a whole archive is damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers_archives import write_tar

from shardify.build.archives.contents import Contents
from shardify.build.archives.reading import ArchiveDamageError, read_members
from shardify.build.sources import open_archive
from shardify.catalogs.archived import Archive, Listed, find_archives, folder_members, folder_of, listed_members
from shardify.catalogs.keys import MAX_KEY_LENGTH, member_key
from shardify.catalogs.reasons import HIDDEN, NOWHERE, OVERWRITTEN, SPECIAL
from shardify.catalogs.scanning import Found, scan_files
from shardify.errors import UsageError, WorkError
from shardify.storage import open_store

FILES = {f"d/{i}.avi": bytes([i]) * (30_000 + i) for i in range(5)}


def read(
    path: Path,
    wants: Callable[[str], bool] = lambda _: True,
    *,
    names: Contents | None = None,
    earlier: Contents | None = None,
) -> dict[str, bytes | None]:
    """What comes out of an archive; of damaged ones up to the damage, which is under the key `damage` (`spoilt`)."""
    contents: dict[str, bytes | None] = {}
    names = Contents() if names is None else names
    archive = Archive(path=path.name, num_bytes=path.stat().st_size)
    try:
        for name, memory in read_members(str(path.parent), archive, lambda name, _: wants(name), names, earlier):
            assert name not in contents
            contents[name] = None
            if memory is not None:
                with memory, memory.path() as file:
                    contents[name] = file.read_bytes()
    except ArchiveDamageError as error:
        contents["spoilt" if error.spoils_all else "damage"] = str(error).encode()
    return contents


@pytest.mark.parametrize(("written", "name"), [("a.tar", "a.tar"), ("a.tgz", "a.tar.gz"), ("a.tgz", "a.tar")])
def test_every_file_comes_once_and_in_order(tmp_path: Path, written: str, name: str) -> None:
    """The first bytes tell whether an archive is compressed, not its name."""
    contents = read(write_tar(tmp_path / written, FILES).rename(tmp_path / name))
    assert contents == FILES
    assert list(contents) == list(FILES)


def test_only_what_is_wanted_is_taken_into_memory(tmp_path: Path) -> None:
    contents = read(write_tar(tmp_path / "a.tgz", FILES), lambda name: name == "d/3.avi")
    assert contents == {name: data if name == "d/3.avi" else None for name, data in FILES.items()}


def test_gzip_files_may_be_joined_and_padded(tmp_path: Path) -> None:
    plain = write_tar(tmp_path / "a.tar", FILES).read_bytes()
    joined = gzip.compress(plain[:70_000]) + bytes(100) + gzip.compress(plain[70_000:]) + bytes(100)
    (tmp_path / "b.tgz").write_bytes(joined)
    assert read(tmp_path / "b.tgz") == FILES


def test_paths_are_cleaned_and_what_is_no_plain_file_is_left_out(tmp_path: Path) -> None:
    members = {
        "./a/1.avi": b"1",
        "a/._1.avi": b"mac",
        ".hidden/2.avi": b"2",
        "__MACOSX/1.avi": b"4",
        "/x/../3.avi": b"3",
        "a//1.avi": b"again",
    }
    path = write_tar(tmp_path / "a.tar", members)
    with tarfile.open(path, "a") as tar:
        for name, kind in (("folder", tarfile.DIRTYPE), ("link.avi", tarfile.SYMTYPE), ("hard.avi", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a/1.avi"
            tar.addfile(info)
        info = tarfile.TarInfo("long" * 40 + ".avi")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"long"))
    assert read(path) == {"a/1.avi": b"1", "x/3.avi": b"3", "long" * 40 + ".avi": b"long"}


def test_a_second_reading_gives_what_tar_unpacks(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    members: list[tuple[str, bytes, str]] = [
        ("a.avi", tarfile.REGTYPE, "old"),
        (".cache/1", tarfile.REGTYPE, "hidden"),
        ("before.avi", tarfile.LNKTYPE, "a.avi"),
        ("./a.avi", tarfile.REGTYPE, "new"),
        ("after.avi", tarfile.LNKTYPE, "./a.avi"),
        ("b/up.avi", tarfile.SYMTYPE, "../after.avi"),
        ("b/again.avi", tarfile.SYMTYPE, "up.avi"),
        ("c.avi", tarfile.LNKTYPE, ".cache/1"),
        ("gone.avi", tarfile.LNKTYPE, "nobody.avi"),
        ("loop.avi", tarfile.SYMTYPE, "loop.avi"),
        ("pipe", tarfile.FIFOTYPE, ""),
        ("folder", tarfile.DIRTYPE, ""),
    ]
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, words in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, words if kind in (tarfile.LNKTYPE, tarfile.SYMTYPE) else ""
            data = words.encode() if kind == tarfile.REGTYPE else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    first = Contents()
    assert read(path, names=first) == {"a.avi": b"old"}
    assert first.changed == {"a.avi", "before.avi", "after.avi", "b/up.avi", "b/again.avi", "c.avi", "loop.avi"}
    unpacked = {"before.avi": b"old", "a.avi": b"new", "after.avi": b"new", "b/up.avi": b"new", "b/again.avi": b"new"}
    assert read(path, earlier=first) == unpacked | {"c.avi": b"hidden"}
    left_out = [(NOWHERE, "gone.avi"), (NOWHERE, "loop.avi"), (HIDDEN, ".cache/1"), (SPECIAL, "pipe")]
    assert sorted(first.left_out()) == sorted([*left_out, (OVERWRITTEN, "a.avi")])


def _cut(length: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:length]


@pytest.mark.parametrize(
    ("spoil", "num_whole", "reason"),
    [
        (_cut(0), 0, "ends without an end mark, so it was cut short"),
        (_cut(200), 0, "ends within a header, so it was cut short"),
        (_cut(40_000), 1, "ends within the next file, so it was cut short"),
        (_cut(2 * 30_720), 2, "ends without an end mark, so it was cut short"),
        (_cut(2 * 30_720 + 100), 2, "ends within a header, so it was cut short"),
        (lambda data: data[:30_720] + b"x" * 512 + data[30_720 + 512 :], 1, "what follows is no header"),
        (lambda data: data + data, 5, "behind its end mark"),
        (lambda data: data[: 2 * 30_720] + bytes(2 << 20), 2, "so it was never written to its end"),
        (lambda _: b"noise " * 1000, 0, "what follows is no header"),
    ],
)
def test_damaged_tars(tmp_path: Path, spoil: Callable[[bytes], bytes], num_whole: int, reason: str) -> None:
    path = write_tar(tmp_path / "a.tar", FILES)
    assert path.read_bytes()[30_720:][:7] == b"d/1.avi"  # a header and 30,000 bytes in whole blocks
    path.write_bytes(spoil(path.read_bytes()))
    contents = read(path)
    damage = contents.pop("damage")
    assert damage is not None
    assert contents == dict(list(FILES.items())[:num_whole])
    last = f"d/{num_whole - 1}.avi (byte " if num_whole else "its beginning: "
    assert damage.decode().startswith(f"a.tar is damaged after {last}")
    assert reason in damage.decode()


NOISE = {f"{i}.avi": random.Random(i).randbytes(100_000) for i in range(4)}


def _flip(position: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def _gzip(spoil: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Damage that a tar had before it was compressed."""
    return lambda data: gzip.compress(spoil(gzip.decompress(data)), compresslevel=0)


@pytest.mark.parametrize(
    ("spoil", "key", "reason"),
    [
        (lambda data: data[:-4], "damage", "its gzip stream ends too early, so it was cut short"),
        (lambda data: data[: len(data) // 2], "damage", "its gzip stream ends too early, so it was cut short"),
        (_gzip(_cut(250_000)), "damage", "it ends within the next file, so it was cut short"),
        (_gzip(_flip(2 * 100_864 + 5)), "damage", "what follows is no header of a file"),
        (_gzip(lambda data: data + data), "damage", "behind its end mark"),
        (lambda data: data[:-8] + b"wrong" + data[-3:], "spoilt", "incorrect data check"),
        (lambda data: data[:-1] + b"x", "spoilt", "incorrect length check"),
        (lambda data: data + b"more", "spoilt", "incorrect header check"),
        (lambda data: data[:100_000] + bytes(len(data) - 100_000), "spoilt", "ends in zeros, so it was never"),
        (_flip(150_000), "spoilt", "incorrect data check"),
        (lambda data: _flip(2 * 100_864 + 60)(_gzip(lambda tar: tar)(data)), "spoilt", "what follows is no header"),
        (
            lambda data: _flip(2 * 100_864 + 60)(_gzip(lambda tar: tar)(data))[:-9],
            "spoilt",
            "what follows is no header",
        ),
    ],
)
def test_damaged_gzip(tmp_path: Path, spoil: Callable[[bytes], bytes], key: str, reason: str) -> None:
    """Until its checksum is known to fit, what came out of it may be wrong; unless it was only cut."""
    path = write_tar(tmp_path / "a.tgz", NOISE)
    path.write_bytes(spoil(path.read_bytes()))
    contents = read(path)
    text = (contents.pop(key) or b"").decode()
    assert reason in text
    assert text.startswith(
        "a.tgz is damaged and none of it can be trusted: " if key == "spoilt" else "a.tgz is damaged after "
    )
    assert contents.keys() <= NOISE.keys()
    if key == "damage":
        assert contents.items() <= NOISE.items()
        assert len(contents) >= 1


@pytest.mark.parametrize(("pack", "kind"), [(bz2.compress, "bzip2"), (lzma.compress, "xz")])
def test_what_only_has_the_name_of_a_tar_is_named(tmp_path: Path, pack: Callable[[bytes], bytes], kind: str) -> None:
    path = write_tar(tmp_path / "a.tar", {"BZh9.avi": b"one"})
    assert read(path) == {"BZh9.avi": b"one"}
    path.write_bytes(pack(path.read_bytes()))
    text = f"a.tar cannot be read: it is {kind}, not a tar or tar.gz as its name says"
    assert read(path) == {"spoilt": text.encode()}


def test_a_flipped_byte_is_noticed_at_the_end_only(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tgz", NOISE)
    path.write_bytes(_flip(150_000)(path.read_bytes()))
    contents = read(path)
    damage = contents.pop("spoilt") or b""
    assert damage.endswith(b"incorrect data check (noticed after 2.avi (byte 202240 of the tar))")
    assert [name for name, data in contents.items() if data == NOISE[name]] == ["0.avi", "2.avi"]
    assert len(contents["1.avi"] or b"") == len(NOISE["1.avi"])


def test_an_extended_header_that_makes_no_sense_is_damage(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("1.avi"))
        info = tarfile.TarInfo("2.avi")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        info.size = 512
        tar.addfile(info, io.BytesIO(b"no number\n".ljust(512)))
    assert read(tmp_path / "a.tar") == {
        "1.avi": b"",
        "damage": b"a.tar is damaged after 1.avi (byte 512 of the tar): what follows is no header of a file",
    }


def test_an_archive_that_is_gone_is_a_work_error(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"/a.tar cannot be read: No such file"):
        next(read_members(str(tmp_path), Archive(path="a.tar", num_bytes=5), lambda *_: True, Contents()))


# Which members are videos of the data set


def test_listed_members_are_found_by_the_longest_end_of_their_path() -> None:
    rule = listed_members({name: Listed(label=0, splits=()) for name in ["b/1.avi", "1.avi", "a/b/1.avi"]})
    paths = ["x/a/b/1.avi", "x/b/1.avi", "x/c/1.avi", "xb/1.avi", "x/1.avi.txt"]
    names = [member and member.name for member in map(rule, paths, [True] * 5)]
    assert names == ["a/b/1.avi", "b/1.avi", "1.avi", "1.avi", None]


def test_the_class_of_a_member_is_the_nearest_folder_that_is_one() -> None:
    paths = ["dog/x/cat/deep/1.avi", "dog/1.avi", "mine/cat/dog/1.mp4", "fish/1.avi", "cat/notes.txt", "cat.avi"]
    members = [folder_members(["cat", "dog"])(path, not path.endswith(".txt")) for path in paths]
    labels = [member and member.listed.label for member in members]
    assert labels == [0, 1, 1, None, None, None]


def test_an_archive_stands_for_a_folder() -> None:
    names = ["a/part_1.tar", "a/part_1.TAR.GZ", "x.tgz", "v1.5.tar.gz"]
    assert [folder_of(name) for name in names] == ["a/part_1", "a/part_1", "x", "v1.5"]


def test_archives_are_found_with_their_sizes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.tgz").write_bytes(b"12")
    (tmp_path / "a.tar").write_bytes(b"123")
    (tmp_path / "notes.txt").write_text("text")
    archives = (Archive(path="a.tar", num_bytes=3), Archive(path="sub/b.tgz", num_bytes=2))
    assert find_archives(tmp_path, scan_files(tmp_path)) == (str(tmp_path), archives)
    assert find_archives(tmp_path / "a.tar", scan_files(tmp_path / "a.tar")) == (str(tmp_path), archives[:1])
    assert find_archives(tmp_path, Found(videos=("1.avi",), others={"notes.txt": "text"})) is None
    with pytest.raises(UsageError, match=r"holds archives \(a.tar ...\) and videos beside them \(1.avi ...\); give a"):
        find_archives(tmp_path, Found(archives={"a.tar": 3}, videos=("1.avi",)))


def test_a_bucket_of_archives_is_listed_once(s3_url: str) -> None:
    store = open_store(s3_url)
    for name in ("a.tar", "b.tar"):
        store.write(name, b"123")
    found = scan_files(s3_url)
    store.delete("b.tar")
    archives = tuple(Archive(path=name, num_bytes=3) for name in ("a.tar", "b.tar"))
    assert find_archives(s3_url, found) == (s3_url, archives)
    with pytest.raises(WorkError, match=r"/b\.tar is gone; put it back and run the same command again"):
        open_archive(s3_url, "b.tar", 3).read()
    assert find_archives(f"{s3_url}/a.tar", scan_files(f"{s3_url}/a.tar")) == (s3_url, archives[:1])


def test_keys_of_members_differ_between_archives() -> None:
    keys = [member_key(archive, "c/v.1.mp4") for archive in ("a.tar", "b.tar")]
    assert all(key.startswith("c__v_1-") and len(key) == len("c__v_1-") + 10 for key in keys)
    assert keys[0] != keys[1]
    assert len(member_key("a.tar", "x" * 300 + ".mp4")) == MAX_KEY_LENGTH
