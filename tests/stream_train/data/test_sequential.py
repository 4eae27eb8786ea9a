"""The stock WebDataset path: our shards and foreign tars, through the same clips code."""

from __future__ import annotations

import functools
import gzip
import io
import itertools
import json
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_datasets import numbered_jpeg, write_dataset
from helpers_web import web_server

from shardify.errors import UsageError, WorkError
from shardify.storage import open_store
from shardify.storage.traffic import Traffic, traffic
from shardify.storage.webdataset_reading import open_object
from stream_train.data import build_stream, open_data
from stream_train.data.config import DataConfig
from stream_train.data.plain_tars import find_tars, has_manifest
from stream_train.data.sequential import TarSet
from stream_train.data.tars import frames_of, samples_of, survey_tar
from stream_train.training.progress import describe_traffic
from stream_train.transformations.config import SamplingConfig
from stream_train.transformations.sampling import draw_clips

DRAW = functools.partial(draw_clips, config=SamplingConfig())


def config(**reader: object) -> DataConfig:
    reader = {"kind": "sequential", "shuffle_samples": 4} | reader
    return DataConfig.model_validate({"crop": 32, "num_workers": 0, "reader": reader})


def first_clips(
    location: Path | str, data_config: DataConfig, num_batches: int = 4, **place: Any
) -> list[torch.Tensor]:
    data = open_data(location, None, data_config)
    stream = build_stream(data, data_config, DRAW, seed=1, num_batches=num_batches, **place)
    return [torch.cat([batch.sample[::4], batch.label[::4]]) for batch in stream]


@pytest.mark.parametrize("packing", ["mjpg", "frames"])
def test_an_epoch_reads_every_sample_once(tmp_path: Path, packing: str) -> None:
    folder = write_dataset(tmp_path / "s", [[16, 20], [31, 17, 18], [40, 22]], packing=packing)  # type: ignore[arg-type]
    data = open_data(folder, "train1", config())
    assert (data.num_samples, data.geometry) == (7, (48, 64))
    clips = first_clips(folder, config(), num_batches=3)
    assert len({tuple(sorted(batch[:7].tolist())) for batch in clips}) == 1
    assert len(set(clips[0][:7].tolist())) == 7
    assert not torch.equal(clips[0], clips[1])


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def foreign_tar(path: Path, extra: dict[str, bytes] | None = None) -> None:
    """Three videos of 18 frame members each, and what else each video has."""
    members: dict[str, bytes] = {}
    for video in range(3):
        members |= {f"{path.stem}{video}.{frame:03d}.jpg": numbered_jpeg(video, frame) for frame in range(18)}
        members |= {f"{path.stem}{video}.{ending}": data for ending, data in (extra or {}).items()}
    write_tar(path, members)


def test_plain_tars_are_counted_and_read(tmp_path: Path) -> None:
    tars = tmp_path / "foreign"
    for number in range(2):
        foreign_tar(tars / f"clips-{number}.tar")
    by_folder = open_data(tars, None, config())
    assert isinstance(by_folder, TarSet)
    assert (by_folder.num_samples, by_folder.samples_per_tar) == (6, (3, 3))
    assert open_data(f"{tars}/clips-{{0..1}}.tar", None, config()).num_samples == 6
    assert first_clips(tars, config())[0][7:].tolist() == [-1] * 7
    foreign_tar(tars / "clips-1.tar", {"txt": bytes(9000)})
    assert open_data(tars, None, config()).fingerprint != by_folder.fingerprint, "other data under the same names"


@pytest.mark.parametrize(("label", "expected"), [(b"4", 4), (b"dog", -1), (b"\xff", -1)])
def test_labels_that_are_no_numbers_are_no_labels(tmp_path: Path, label: bytes, expected: int) -> None:
    foreign_tar(tmp_path / "t" / "clips.tar", {"cls": label})
    assert first_clips(tmp_path / "t", config())[0][7:].tolist() == [expected] * 7


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a.0.jpg": b"no picture"}, "no JPEG"),
        ({"a.txt": b"words"}, "neither .*txt"),
        ({"a.0.jpg": numbered_jpeg(0, 0), "a.json": b"{broken"}, "not JSON"),
    ],
)
def test_a_sample_that_cannot_be_read_is_named(tmp_path: Path, members: dict[str, bytes], words: str) -> None:
    write_tar(tmp_path / "t" / "clips.tar", members)
    with pytest.raises(WorkError, match=f"clips.tar, sample a.* {words}"):
        open_data(tmp_path / "t", None, config())


@pytest.mark.parametrize("number", ["{}", "{:03d}", "frame{:06d}", "img_{}.rgb"])
def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path, number: str) -> None:
    frames = [numbered_jpeg(0, frame) for frame in range(18)]
    names = [f"a.{number.format(frame)}.jpg" for frame in range(18)]
    write_tar(tmp_path / "clips.tar", dict(sorted(zip(names, frames, strict=True))))
    (sample,) = samples_of([str(tmp_path / "clips.tar")])
    assert frames_of(sample) == frames


@pytest.mark.parametrize("top", ["", "./", "jpegs_256/", "v1.0/"])
def test_numbered_pictures_of_a_folder_are_one_video(tmp_path: Path, top: str) -> None:
    frames = {f"{top}clip{v}/frame{f}.jpg": numbered_jpeg(v, f) for v in range(3) for f in range(18)}
    names = ("._frame0.jpg", "._frame1.jpg", "Thumbs.db", ".DS_Store", "@eaDir/frame0.jpg")
    hidden = {f"{top}clip{v}/{name}": b"of a system" for v in range(3) for name in names}
    write_tar(tmp_path / "t" / "clips.tar", dict(sorted((frames | hidden).items())))
    data = open_data(tmp_path / "t", None, config())
    assert isinstance(data, TarSet)
    assert (data.num_samples, data.lengths) == (3, (18, 18, 18))
    assert data.description == "1 tar, sequentially (stock WebDataset); 15 files in them without a sample"
    samples = list(samples_of(data.urls))
    assert [sample["__key__"] for sample in samples] == [f"{top}clip{v}" for v in range(3)]
    assert frames_of(samples[2]) == [numbered_jpeg(2, f) for f in range(18)]


def test_lengths_are_known_before_training(tmp_path: Path) -> None:
    """Of frames by the headers, of a Motion-JPEG by its record, or by its content."""
    frames = [numbered_jpeg(0, frame) for frame in range(18)]
    checksums = json.dumps({"frame_crc32": [zlib.crc32(frame) for frame in frames]}).encode()
    members = {f"a.{number}.JPG": frame for number, frame in enumerate(frames[:17])}
    members |= {"b.json": checksums, "b.mjpg": b"".join(frames), "c.mjpg": b"".join(frames[:16])}
    write_tar(tmp_path / "clips.tar", members)
    assert survey_tar(str(tmp_path / "clips.tar")).lengths == {"a": 17, "b": 18, "c": 16}


JPEG = numbered_jpeg(0, 0)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"b.mjpg": JPEG, "a.cls": b"1"}, "sample a has neither"),
        ({"a.0.jpg": JPEG, "b.0.jpg": JPEG, "a.1.jpg": JPEG}, "sample a comes again"),
        ({"a.rgb.0.jpg": JPEG, "a.flow.0.jpg": JPEG}, r"sample a holds 2 series of pictures \(flow.# and rgb.#\)"),
        ({"a.1.jpg": JPEG, "a.01.jpg": JPEG}, "sample a holds a frame twice, as 01.jpg and 1.jpg"),
        ({"a.mjpg": b""}, "sample a has an empty .mjpg"),
        ({"a.mjpg": JPEG, "a.000.jpg": JPEG}, r"sample a holds frames as .mjpg and as pictures \(000.jpg\)"),
    ],
)
def test_a_later_sample_that_cannot_be_used_is_named_before_training(
    tmp_path: Path, members: dict[str, bytes], words: str
) -> None:
    write_tar(tmp_path / "t" / "clips.tar", {f"0.{frame}.jpg": JPEG for frame in range(16)} | members)
    with pytest.raises(WorkError, match=f"clips.tar, {words}"):
        open_data(tmp_path / "t", None, config())
    with pytest.raises(WorkError, match=f"clips.tar, {words}"):
        list(map(frames_of, samples_of([str(tmp_path / "t" / "clips.tar")])))


def test_a_key_in_two_tars_is_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tar(tmp_path / "t" / f"{name}.tar", {f"same.{frame}.jpg": JPEG for frame in range(16)})
    with pytest.raises(WorkError, match=r"b.tar and .*a.tar both hold a sample same"):
        open_data(tmp_path / "t", None, config())


def test_links_in_tars_are_refused(tmp_path: Path) -> None:
    foreign_tar(tmp_path / "t" / "clips.tar")
    with tarfile.open(tmp_path / "t" / "clips.tar", "a") as tar:
        link = tarfile.TarInfo("last.0.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "clips1.000.jpg"
        tar.addfile(link)
    with pytest.raises(WorkError, match=r"clips.tar: last.0.jpg is a link"):
        open_data(tmp_path / "t", None, config())


def test_single_pictures_are_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "t" / "clips.tar", {f"frame{frame:03d}.jpg": JPEG for frame in range(16)})
    with pytest.raises(UsageError, match=r"each of its 16 samples is one picture"):
        open_data(tmp_path / "t", None, config())


def test_single_pictures_among_videos_are_counted(tmp_path: Path) -> None:
    videos = {f"{video}.{frame:02d}.jpg": JPEG for video in "ab" for frame in range(40)}
    write_tar(tmp_path / "t" / "clips.tar", videos | {f"picture{number}.jpg": JPEG for number in range(5)})
    data = open_data(tmp_path / "t", None, config())
    assert isinstance(data, TarSet)
    assert data.remarks == ("5 of 7 samples have one picture only",)
    for place, num_more in ((str(tmp_path / "t"), 0), (f"pipe:cat {tmp_path}/t/clips.tar", 5)):
        before = traffic()
        first_clips(place, config(samples_per_epoch=7), num_batches=1)  # a batch is an epoch
        assert traffic() - before == Traffic(single_pictures=num_more), "where they cannot be counted before"
    assert describe_traffic({"data_single_pictures": 5.0}) == ["5 single pictures"]


@pytest.mark.parametrize("fps", [2.5, 24, 25, 29.97, 60])
@pytest.mark.parametrize("name", ["v/{:.2f}.jpg", "v/{:05.2f}.jpg", "v_{:.3f}.JPG", "{:.6f}.jpeg"])
def test_pictures_named_by_their_times_are_refused(tmp_path: Path, fps: float, name: str) -> None:
    write_tar(tmp_path / "t" / "clips.tar", {name.format(frame / fps): JPEG for frame in range(int(2.9 * fps))})
    words = rf"clips.tar: pictures seem to be named by their times \({name.format(0)} to .* would be 3 videos; name the"
    with pytest.raises(WorkError, match=words):
        open_data(tmp_path / "t", None, config())


@pytest.mark.parametrize("name", ["v/{}.{}.jpg", "{:06d}.{:02d}.jpg", "v{}.{:03d}.jpg", "v/clip{}/{}0.jpg"])
@pytest.mark.parametrize("num_frames", [9, 10, 99, 100])
def test_videos_that_are_named_by_numbers_are_no_times(tmp_path: Path, name: str, num_frames: int) -> None:
    members = {name.format(video, frame): JPEG for video in range(9, 12) for frame in range(num_frames)}
    write_tar(tmp_path / "clips.tar", members)
    assert list(survey_tar(str(tmp_path / "clips.tar")).lengths.values()) == [num_frames] * 3


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (numbered_jpeg(0, 17, 50, 66), "is 50x66, but the data set's frames are 48x64"),
        (numbered_jpeg(0, 17, 46, 60), "is 46x60, but the data set's frames are 48x64"),
        (JPEG[:400], r"cannot be decoded \(.*\)"),
    ],
)
def test_a_frame_that_does_not_fit_the_others_is_named(tmp_path: Path, last: bytes, words: str) -> None:
    for name in ("a", "b"):
        write_tar(tmp_path / "t" / f"{name}.tar", {f"{name}.00.jpg": JPEG} | {f"{name}.{n}.jpg": last for n in (1, 2)})
    with pytest.raises(
        WorkError, match=rf"sample [ab]: frame [12] {words}; pack the frames again, all as JPEGs of one"
    ):
        first_clips(tmp_path / "t", config())


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    foreign_tar(tmp_path / "t" / "clips.tar")
    path = tmp_path / "t" / "clips.tar"
    data = bytearray(path.read_bytes())
    data[data.index(b"clips1.000.jpg") + 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WorkError, match=r"clips.tar is cut short or damaged"):
        open_data(tmp_path / "t", None, config())


def test_a_tar_whose_reserved_space_was_not_written_is_not_whole(tmp_path: Path) -> None:
    foreign_tar(tmp_path / "t" / "clips.tar")
    with (tmp_path / "t" / "clips.tar").open("ab") as file:
        file.write(bytes(2 << 20))
    with pytest.raises(WorkError, match=r"clips.tar is cut short or damaged"):
        open_data(tmp_path / "t", None, config())


def test_ranks_and_workers_read_different_tars(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "s", [[16] * 4, [17] * 4, [18] * 4, [19] * 4])
    ranks = [first_clips(folder, config(), num_batches=2, rank=r, world_size=2) for r in range(2)]
    seen = [set(itertools.chain.from_iterable(b[: len(b) // 2].tolist() for b in batches)) for batches in ranks]
    assert not seen[0] & seen[1]
    with pytest.raises(UsageError, match=r"4 tars cannot feed 5 ranks x 1 workers"):
        first_clips(folder, config(), rank=0, world_size=5)


def test_a_tar_that_is_cut_short_is_an_error_not_an_end(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "s", [[16, 20], [31, 17, 18], [40, 22]])
    path = folder / "shard-000001.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3 // 512 * 512])
    with pytest.raises(WorkError, match=r"shard-000001.tar"):
        first_clips(folder, config())
    plain = Path(shutil.copytree(folder, tmp_path / "plain", ignore=shutil.ignore_patterns("*.json", "*.npz")))
    with pytest.raises(WorkError, match=r"shard-000001.tar (is cut short or damaged|cannot be read as a tar)"):
        open_data(plain, None, config())


def test_a_flipped_byte_is_found_by_the_samples_own_checksums(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "s", [[16, 20], [31, 17, 18]])
    path = folder / "shard-000000.tar"
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xda", 3000) + 40] ^= 4
    path.write_bytes(data)
    with pytest.raises(WorkError, match=r"do not match their checksums|cannot be"):
        first_clips(folder, config())


def test_a_location_or_split_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"and no .tar files"):
        open_data(tmp_path, None, config())
    with pytest.raises(UsageError, match=r"nothing-0.tar"):
        open_data(f"{tmp_path}/nothing-{{0..1}}.tar", None, config())
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    with pytest.raises(UsageError, match=r"samples_per_epoch"):
        open_data(tmp_path, None, config())
    foreign_tar(tmp_path / "foreign" / "clips.tar")
    with pytest.raises(UsageError, match=r"no splits"):
        open_data(tmp_path / "foreign", "train1", config())


def test_an_unfinished_data_set_is_not_taken_for_plain_tars(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "s", [[16]])
    (folder / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"s holds shard-000000.idx.npz but no manifest.json: its build, or its"):
        open_data(folder, None, config())


def test_the_indexed_reader_says_who_reads_plain_tars(tmp_path: Path) -> None:
    foreign_tar(tmp_path / "t" / "clips.tar")
    with pytest.raises(UsageError, match=r"t holds no manifest.json: .* pre-training reads them with data.reader"):
        open_data(tmp_path / "t", None, DataConfig())


def test_tars_that_are_not_read_or_missing_in_the_numbers_are_named(tmp_path: Path) -> None:
    for number in (0, 1, 3):
        foreign_tar(tmp_path / "t" / f"clips-{number:03d}.tar")
    for name in ("more/clips-004.tar", "clips-005.tar.part", "2024.csv", "clips-006.tgz", "._clips-000.tar"):
        (tmp_path / "t" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "t" / name).write_bytes(b"")
    data = open_data(tmp_path / "t", None, config())
    assert isinstance(data, TarSet)
    assert data.remarks == (
        "4 tars more below it that are not read: ._clips-000.tar, clips-005.tar.part, clips-006.tgz ...",
        "1 tar missing in the numbers: clips-002.tar",
    )
    for number in (20200101, 10**20):
        foreign_tar(tmp_path / "dates" / f"day{number}.tar")
    assert not open_data(tmp_path / "dates", None, config()).remarks  # type: ignore[union-attr]


def test_a_link_that_leads_nowhere_is_no_tar_that_may_be_left_out(tmp_path: Path) -> None:
    foreign_tar(tmp_path / "t" / "clips-0.tar")
    (tmp_path / "t" / "clips-1.tar").symlink_to(tmp_path / "gone.tar")
    with pytest.raises(UsageError, match=r"there is no tar .*clips-1.tar"):
        open_data(tmp_path / "t", None, config())


def test_a_command_may_be_longer_than_a_file_s_name(tmp_path: Path) -> None:
    foreign_tar(tmp_path / "clips.tar")
    command = f"pipe:cat {tmp_path / 'clips.tar'} # {'x' * 300}"
    assert not has_manifest(command)
    assert find_tars(command).urls == (command,)


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """A folder of two plain tars, with class 1 and class 2."""
    for number in (1, 2):
        foreign_tar(tmp_path / "tars" / f"clips-{number}.tar", {"cls": b"%d" % number})
    return tmp_path / "tars"


def test_plain_tars_in_a_bucket(s3_url: str, tars: Path) -> None:
    store = open_store(f"{s3_url}/tars")
    for path in tars.iterdir():
        store.write(path.name, path.read_bytes())
    with pytest.raises(UsageError, match=r"cannot count the videos of .*/tars \(2 tars\) .*samples_per_epoch"):
        open_data(store.location, None, config())
    counted = config(samples_per_epoch=6)
    first = open_data(store.location, None, counted)
    assert (first.num_samples, first.is_remote, first.geometry) == (6, True, (48, 64))
    (labels,) = (clips[7:].tolist() for clips in first_clips(store.location, counted, num_batches=1))
    assert set(labels) == {1, 2}
    with pytest.raises(UsageError, match=r"there is no tar s3://.*clips-3.tar"):
        open_data(f"{store.location}/clips-{{1..3}}.tar", None, counted)
    foreign_tar(tars / "clips-2.tar", {"txt": bytes(9000)})
    store.write("clips-2.tar", (tars / "clips-2.tar").read_bytes())
    store.write("clips-4.tar", b"")
    changed = open_data(store.location, None, counted)
    assert isinstance(changed, TarSet)
    assert changed.fingerprint != first.fingerprint
    assert changed.remarks == ("1 tar missing in the numbers: clips-3.tar",)
    with pytest.raises(UsageError, match=rf"{s3_url} holds no manifest.json and no .tar files; give a data"):
        open_data(s3_url, None, counted)


def test_an_object_that_is_not_there_is_noticed_when_it_is_opened(s3_url: str) -> None:
    with pytest.raises(FileNotFoundError):
        open_object(f"{s3_url}/nothing.tar")


def test_plain_tars_at_a_web_server(tars: Path) -> None:
    counted = config(samples_per_epoch=6)
    with web_server(tars) as url:
        (labels,) = (clips[7:].tolist() for clips in first_clips(f"{url}/clips-{{1..2}}.tar", counted, num_batches=1))
        assert set(labels) == {1, 2}
        with pytest.raises(UsageError, match=r"web servers cannot list .* such as http://.*/clips-\{000..007\}.tar"):
            open_data(url, None, counted)


def test_plain_tars_from_a_command(tars: Path) -> None:
    data = open_data(f"pipe:cat {tars}/clips-{{1..2}}.tar -", None, config(samples_per_epoch=6))
    assert data.is_remote
    assert len(list(samples_of(data.urls))) == 6  # type: ignore[union-attr]


@pytest.mark.parametrize("place", ["", "pipe:cat "])
def test_a_tar_that_does_not_end_as_one_is_found_while_it_is_read(tars: Path, place: str) -> None:
    """Cut between two members, which `tarfile` takes for its end; or another tar behind it."""
    path = tars / "clips-1.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1].offset
    for damaged in (whole[:last], whole[: last + 100], whole * 2):
        path.write_bytes(damaged)
        with pytest.raises(WorkError, match=r"clips-1.tar (is cut short or damaged|cannot be read)"):
            list(samples_of([f"{place}{path}"]))
    path.write_bytes(gzip.compress(whole))
    assert len(list(samples_of([f"{place}{path}"]))) == 3


def test_a_tar_of_another_size_than_the_manifest_says_is_found_at_once(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "s", [[16, 20], [31, 17, 18]])
    tar = folder / "shard-000001.tar"
    size = tar.stat().st_size
    with tar.open("ab") as file:
        file.write(bytes(512))
    with pytest.raises(WorkError, match=rf"shard-000001.tar has {size + 512} bytes, .* {size} bytes"):
        open_data(folder, None, config())
    tar.unlink()
    with pytest.raises(WorkError, match=r"shard-000001.tar is missing"):
        open_data(folder, None, config())
