"""`video-eval features`: vectors of real little videos and of shards, equal to slow ones, in files that others read."""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
import torch
from click.testing import Result
from helpers_eval import LENGTHS, ucf_keys
from helpers_shards import make_video
from helpers_training import run_tiny
from helpers_video_eval import (
    RANDOM,
    assert_error,
    contents,
    invoke,
    read_vectors,
    slow_clips,
    write_config,
)
from safetensors import safe_open
from torch import Tensor

from shardify.progress import ProgressLine
from stream_train.data.reader import FrameReader, open_shard_set
from stream_train.training.exports import load_backbone

CROP = 16
pytestmark = pytest.mark.usefixtures("blank_charts")
Vectors = npt.NDArray[np.float32]
QUICK = ("--set", "num_workers=0", "--set", "build_workers=1", "--set", "threads=1", "--set", "device=cpu")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of two classes at different depths, one of five frames, one broken, beside other files; read-only."""
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "walk" / "one.avi", 20, seed=1)
    make_video(folder / "run" / "deep" / "two.mp4", 70, seed=2)
    make_video(folder / "run" / "short one.mp4", 5, seed=3)
    (folder / "walk" / "broken.mp4").write_bytes(b"no video")
    (folder / "walk" / "notes.txt").write_text("no video either")
    return folder


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary shards go, and are gone from at the end of every test."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def features(source: Path, run: Path, out: Path | str, *words: object) -> Result:
    return invoke("features", source, run, "--out", out, *QUICK, *words)


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def even_starts(num_frames: int, stride: int, count: int = 10) -> list[int]:
    """Evenly over all starts, first and last included."""
    while stride > 1 and 15 * stride + 1 > num_frames:
        stride -= 1
    last = max(num_frames, 16) - 15 * stride - 1
    count = min(count, last + 1)
    return [round(i * last / (count - 1)) for i in range(count)] if count > 1 else [0]


def slow_vector(run: Path, clips: Tensor, layer: str) -> Vectors:
    """One video's vector: clip by clip through the exported network."""
    backbone, _ = load_backbone(run / "backbone.safetensors")
    rows = []
    with torch.inference_mode():
        for clip in clips:
            if layer == "pooled":
                rows.append(backbone.conv_features(clip[None])[0].mean(dim=(1, 2, 3)))
            else:
                rows.append(backbone(clip[None])[0])
    return torch.stack(rows).mean(dim=0).numpy()


def test_the_log_tells_how_far_it_is(world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards, run = world
    monkeypatch.setattr(ProgressLine, "LOG_SECONDS", 0.0)
    result = features(shards, run, tmp_path / "x.npz", "--split", "test1", "--set", "max_clips=20")
    assert result.exit_code == 0, result.output
    told = [line for line in result.stderr.splitlines() if "test1: " in line]
    assert len(told) > 1
    for number, line in enumerate(told, start=1):
        assert f" test1: {number} of {len(told)} parts, 0:" in line


def test_a_picture_shows_the_middle_frames_of_its_videos(
    world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, run = world
    shown: list[Any] = []

    def draw(values: Any, labels: Any, classes: Any, show: Any, path: Path) -> None:
        shown.extend((len(values), labels.tolist(), list(classes), *(show(number) for number in range(8))))
        path.write_bytes(b"a picture")

    monkeypatch.setattr("eval.features.of_videos.embedding_figure", draw)
    words = ("--split", "test1", "--set", f"picture={tmp_path / 'new' / 'x.png'}")
    result = features(shards, run, tmp_path / "x.npz", *words)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "new" / "x.png").read_bytes() == b"a picture"
    assert shown[:3] == [8, [0, 1] * 4, ["class0", "class1"]]
    shard_set = open_shard_set(shards, "test1")
    reader = FrameReader(shard_set)
    for number, frame in enumerate(shown[3:]):
        middle = reader.entry(number).num_frames // 2
        assert np.array_equal(frame, simplejpeg.decode_jpeg(reader.read(number, [middle])[middle]))
    refused = features(shards, run, tmp_path / "x.npz", "--set", f"picture={tmp_path / 'x.jpg'}")
    assert_error(refused, 2, "picture", ".png")
    windows = ("--set", "windows.seconds=1")
    assert_error(features(shards, run, tmp_path / "x.npz", *words, *windows), 2, "picture", "windows")


# Shards


@pytest.mark.parametrize(("layer", "stride", "count"), [("pooled", 4, 10), ("features", 4, 10), ("pooled", 2, 3)])
def test_vectors_of_shards_are_slow_ones(
    world: tuple[Path, Path], tmp_path: Path, layer: str, stride: int, count: int
) -> None:
    """Centre crops of evenly placed clips, averaged; videos of 5 and of 16 frames are among them."""
    shards, run = world
    changes = [f"features.layer={layer}", f"features.stride={stride}", f"features.clips_per_video={count}"]
    words = [word for change in changes for word in ("--set", change)]
    result = features(shards, run, tmp_path / "x.npz", "--split", "test1", *words)
    assert result.exit_code == 0, result.output
    arrays = read_npz(tmp_path / "x.npz")
    assert arrays["names"].tolist() == ucf_keys()[16:]
    assert arrays["labels"].tolist() == [0, 1] * 4
    assert arrays["classes"].tolist() == ["class0", "class1"]
    assert [arrays[name].dtype.name for name in ("vectors", "labels")] == ["float32", "int64"]
    for row, (video, num_frames) in enumerate(zip(range(16, 24), LENGTHS[2], strict=True)):
        clips = slow_clips(video, num_frames, even_starts(num_frames, stride, count), stride, CROP)
        wanted = slow_vector(run, clips, layer)
        np.testing.assert_allclose(arrays["vectors"][row], wanted, rtol=1e-4, atol=1e-5)


def test_every_sample_of_the_shards_without_a_split(world: tuple[Path, Path], tmp_path: Path) -> None:
    result = features(*world, tmp_path / "x.npz", "--json")
    assert json.loads(result.stdout) == {
        "out": str(tmp_path / "x.npz"),
        "num_videos": 24,
        "num_dimensions": 13,
        "num_rejected": 0,
    }
    assert read_npz(tmp_path / "x.npz")["names"].tolist() == ucf_keys()


def test_both_formats_hold_the_same_and_how_it_came_about(world: tuple[Path, Path], tmp_path: Path) -> None:
    shards, run = world
    for name in ("x.npz", "x.safetensors", "again.npz", "again.safetensors"):
        assert features(shards, run, tmp_path / "deep" / name, "--split", "test1").exit_code == 0
    one = read_vectors(tmp_path / "deep" / "x.npz")
    with safe_open(tmp_path / "deep" / "x.safetensors", framework="numpy") as file:
        assert np.array_equal(file.get_tensor("vectors"), one.values)
        assert np.array_equal(file.get_tensor("labels"), one.labels)
        header = json.loads(file.metadata()["temporal_ssl"])
    assert header == {"names": list(one.keys), "classes": list(one.classes), "metadata": one.metadata}
    for suffix in ("npz", "safetensors"):
        both = [(tmp_path / "deep" / f"{name}.{suffix}").read_bytes() for name in ("x", "again")]
        assert both[0] == both[1]
    fingerprint = open_shard_set(shards, "test1").fingerprint
    expected = {
        "layer": "pooled", "stride": 4, "clips_per_video": 10, "crop": 16, "resize": None, "data_set": "ucf101-tiny",
        "split": "test1", "fingerprint": fingerprint,
    }  # fmt: skip
    assert one.metadata.items() >= expected.items()
    assert one.metadata["network"]["kind"] == "c3d"
    assert one.metadata["pretraining"]["question"] == "transformations"
    assert len(one.metadata["weights"]) == 64


def test_the_export_or_the_run_and_workers_or_none(world: tuple[Path, Path], tmp_path: Path) -> None:
    shards, run = world
    words = ("--split", "test1")
    assert features(shards, run, tmp_path / "a.npz", *words).exit_code == 0
    assert features(shards, run / "backbone.safetensors", tmp_path / "b.npz", *words).exit_code == 0
    assert features(shards, run, tmp_path / "c.npz", *words, "--set", "num_workers=1").exit_code == 0
    assert len({(tmp_path / f"{name}.npz").read_bytes() for name in "abc"}) == 1
    assert features(shards, run, tmp_path / "d.npz", *words, "--set", "max_clips=3").exit_code == 0
    one, other = (read_npz(tmp_path / f"{name}.npz")["vectors"] for name in "ad")
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_frames_are_resized_as_in_the_training(world: tuple[Path, Path], tmp_path: Path) -> None:
    shards, _ = world
    run = tmp_path / "run"
    run_tiny(shards, run, epochs=1, data__resize=[30, 40])
    for name, words in (("own", ()), ("same", ("--set", "resize=[30, 40]")), ("other", ("--set", "resize=[48, 64]"))):
        assert features(shards, run, tmp_path / f"{name}.npz", "--split", "test1", *words).exit_code == 0
    own, same, other = (read_vectors(tmp_path / f"{name}.npz") for name in ("own", "same", "other"))
    assert own.metadata["resize"] == [30, 40]
    assert np.array_equal(own.values, same.values)
    assert not np.allclose(own.values, other.values)


def test_a_fine_tuned_network_s_features(world: tuple[Path, Path], tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", world[0], tmp_path / "out", networks={"random": RANDOM})
    assert invoke("transfer", path).exit_code == 0
    run = tmp_path / "out" / "transfer" / "finetune" / "random" / "ucf101-tiny-train1" / "seed3"
    assert features(world[0], run, tmp_path / "x.npz", "--split", "test1").exit_code == 0
    assert read_vectors(tmp_path / "x.npz").metadata["pretraining"]["question"] == "transfer"
    clips = slow_clips(16, LENGTHS[2][0], even_starts(LENGTHS[2][0], 4), 4, CROP)
    np.testing.assert_allclose(
        read_npz(tmp_path / "x.npz")["vectors"][0], slow_vector(run, clips, "pooled"), rtol=1e-4, atol=1e-5
    )


# Folders of videos


def slow_vectors_of(shards: Path, run: Path, order: Sequence[str]) -> dict[str, Vectors]:
    """From kept shards, frame by frame; the key of a sample ends with its file's stem."""
    shard_set = open_shard_set(shards, None)
    reader = FrameReader(shard_set)
    vectors = {}
    for position, name in enumerate(order):
        record, place = shard_set.locate(position)
        with np.load(shards / f"shard-{record.number:06d}.idx.npz") as index:
            num_frames = int(index["num_frames"][place])
        stride = max(1, min(4, (num_frames - 1) // 15))
        clips = []
        for start in even_starts(num_frames, 4):
            frames = [(start + i * stride) % num_frames for i in range(16)]
            jpegs = reader.read(position, sorted(set(frames)))
            pictures = [simplejpeg.decode_jpeg(jpegs[frame])[16:32, 24:40] / 127.5 - 1 for frame in frames]
            clips.append(np.array(pictures))
        batch = torch.tensor(np.array(clips), dtype=torch.float32).permute(0, 4, 1, 2, 3)
        vectors[name] = slow_vector(run, batch, "pooled")
    return vectors


def test_a_folder_per_class(world: tuple[Path, Path], videos: Path, tmp_path: Path, temporary: Path) -> None:
    """Names are paths below the folder; the broken video is named with a reason and left out."""
    _, run = world
    result = features(videos, run, tmp_path / "x.npz", "--set", f"shards={tmp_path / 'kept'}")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'x.npz'}: 3 videos, 13 dimensions each, 1 rejected\n"
    (said,) = result.stderr.splitlines()
    assert said.startswith("walk/broken.mp4: left out, ")
    arrays = read_npz(tmp_path / "x.npz")
    names = arrays["names"].tolist()
    assert sorted(names) == ["run/deep/two.mp4", "run/short one.mp4", "walk/one.avi"]
    assert arrays["classes"].tolist() == ["run", "walk"]
    assert dict(zip(names, arrays["labels"].tolist(), strict=True)) == {
        "run/deep/two.mp4": 0,
        "run/short one.mp4": 0,
        "walk/one.avi": 1,
    }
    slow = slow_vectors_of(tmp_path / "kept", run, names)
    for name, vector in zip(names, arrays["vectors"], strict=True):
        np.testing.assert_allclose(vector, slow[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert features(videos, run, tmp_path / "y.npz").exit_code == 0  # through shards that nobody sees
    assert (tmp_path / "y.npz").read_bytes() == (tmp_path / "x.npz").read_bytes()
    assert not list(temporary.iterdir())


def test_a_flat_folder_has_no_labels(world: tuple[Path, Path], videos: Path, tmp_path: Path) -> None:
    """As soon as one video lies outside a class folder, unless the labels are asked for; or if they are not wanted."""
    _, run = world
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "top.avi").symlink_to(videos / "walk" / "one.avi")
    (flat / "below").symlink_to(videos / "run")
    all_names = ["below/deep/two.mp4", "below/short one.mp4", "top.avi"]
    for name, source, words, names, classes in (
        ("auto", flat, (), all_names, []),
        ("asked", flat, ("--set", "labels=folder"), all_names[:2], ["below"]),
        ("none", videos, ("--set", "labels=none"), ["run/deep/two.mp4", "run/short one.mp4", "walk/one.avi"], []),
    ):
        result = features(source, run, tmp_path / f"{name}.npz", *words)
        assert result.exit_code == 0, result.output
        arrays = read_npz(tmp_path / f"{name}.npz")
        assert sorted(arrays["names"].tolist()) == names
        assert arrays["classes"].tolist() == classes
        assert set(arrays["labels"].tolist()) == ({0} if classes else {-1})
    one, other = (read_vectors(tmp_path / f"{name}.npz") for name in ("auto", "none"))
    vector = dict(zip(other.keys, other.values, strict=True))["walk/one.avi"]
    assert np.array_equal(dict(zip(one.keys, one.values, strict=True))["top.avi"], vector)


def test_kept_shards_are_made_once(
    world: tuple[Path, Path], videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    assert features(videos, world[1], tmp_path / "x.npz", "--set", f"shards={kept}").exit_code == 0
    before = contents(kept)
    monkeypatch.delattr("shardify.build.shard_writer.ShardTask.write")  # nothing is decoded again
    result = features(videos, world[1], tmp_path / "y.npz", "--set", f"shards={kept}")
    assert result.exit_code == 0, result.output
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [str(kept), "walk/broken.mp4"]
    assert (tmp_path / "y.npz").read_bytes() == (tmp_path / "x.npz").read_bytes()
    assert contents(kept) == before
    assert features(kept, world[1], tmp_path / "z.npz").exit_code == 0  # as the data set that they are
    assert np.array_equal(read_vectors(tmp_path / "z.npz").values, read_vectors(tmp_path / "x.npz").values)


def test_videos_in_archives_have_their_paths_as_names(world: tuple[Path, Path], videos: Path, tmp_path: Path) -> None:
    _, run = world
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        with tarfile.open(tmp_path / "in" / f"{name}.tar", "w") as tar:
            tar.add(videos / "walk" / "one.avi", "deep/one (1).avi")
    result = features(tmp_path / "in", run, tmp_path / "x.npz")
    assert result.exit_code == 0, result.output
    assert sorted(read_npz(tmp_path / "x.npz")["names"].tolist()) == [f"{n}.tar/deep/one (1).avi" for n in ("a", "b")]


def test_kept_shards_of_other_videos_are_not_taken(world: tuple[Path, Path], videos: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert features(videos, world[1], tmp_path / "x.npz", "--set", f"shards={kept}").exit_code == 0
    before = contents(kept)
    result = features(videos, world[1], tmp_path / "y.npz", "--set", f"shards={kept}", "--set", "labels=none")
    assert_error(result, 2, f"{kept} was built differently: source was folder and is now flat")
    assert contents(kept) == before
    assert not (tmp_path / "y.npz").exists()


def test_videos_without_labels_serve_the_questions_about_time_alone(world: tuple[Path, Path], tmp_path: Path) -> None:
    """Kept shards are a data set like any other."""
    for number, name in enumerate(("a", "b", "c", "d")):
        make_video(tmp_path / ("test" if number == 3 else "train") / f"{name}.avi", 30, seed=number)
    for part in ("train", "test"):
        kept = ("--set", f"shards={tmp_path / f'{part}-shards'}")
        assert features(tmp_path / part, world[1], tmp_path / f"{part}.npz", *kept).exit_code == 0
    path = write_config(
        tmp_path / "c.yaml", tmp_path / "train-shards", tmp_path / "out", networks={"random": RANDOM},
        test_shards=str(tmp_path / "test-shards"), splits=[{"train": None, "test": None}],
    )  # fmt: skip
    for name in ("transfer", "probe", "retrieval", "still"):
        assert_error(
            invoke(name, path), 2, "train-shards, split all has 3 of 3 videos without a label; this evaluation"
        )
        assert not (tmp_path / "out").exists()
    for name in ("sync", "before-after"):
        (row,) = json.loads(invoke(name, path, "--json").stdout)
        assert (row["data_set"], row["num_videos"], row["num_classes"]) == ("flat", 1, 0)


# Mistakes


@pytest.mark.parametrize(
    ("source", "words", "exit_code", "message"),
    [
        (
            "videos",
            ("--split", "train1"),
            2,
            "holds no manifest.json; only data sets of shards have splits, leave it out",
        ),
        ("shards", ("--split", "nope"), 2, "no split 'nope'; its splits: test1, test2, train1, train2"),
        ("nowhere", (), 2, "nowhere does not exist; give a folder of videos or of shards"),
        ("a file", (), 2, "is a file; give a folder of videos or of shards"),
        ("empty", (), 2, "none of its 0 files is a video"),
        ("broken", (), 2, "holds no samples"),
        ("shards", ("--set", "crop=32"), 2, "which its fully connected layers demand, but crop is 32; set crop=16"),
        ("shards", ("--set", "resize=[12, 12]"), 2, "crop = 16 does not fit into frames of 12x12"),
        ("shards", ("--set", "features.layers=x"), 2, "unknown key features.layers (did you mean layer?)"),
        ("shards", ("--set", "features.layer=conv"), 2, "features.layer = 'conv'"),
        ("shards", ("--set", "precision=bfloat16"), 2, "precision is bfloat16, but on a CPU"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    world: tuple[Path, Path], videos: Path, tmp_path: Path, temporary: Path,
    source: str, words: tuple[str, ...], exit_code: int, message: str,
) -> None:  # fmt: skip
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.mp4").write_bytes(b"no video")
    place = {"videos": videos, "shards": world[0], "a file": videos / "walk" / "one.avi"}.get(source, tmp_path / source)
    assert_error(features(place, world[1], tmp_path / "out" / "x.npz", *words), exit_code, message)
    assert not (tmp_path / "out").exists()
    assert not list(temporary.iterdir())


def test_checkpoints_and_files_that_cannot_be_used(world: tuple[Path, Path], tmp_path: Path) -> None:
    shards, run = world
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((run / "backbone.safetensors").read_bytes()[:-100])
    (tmp_path / "folder.npz").mkdir()
    out = tmp_path / "x.npz"
    assert_error(features(shards, tmp_path / "none", out), 2, f"checkpoint = {tmp_path / 'none'}: there is no")
    assert_error(features(shards, shards, out), 2, f"there is no {shards / 'backbone.safetensors'}")
    assert_error(features(shards, damaged, out), 1, f"{damaged} is damaged")
    assert_error(features(shards, run, tmp_path / "x.csv"), 2, "features are files that end in .npz or .safetensors")
    assert_error(features(shards, run, "s3://b/x.csv"), 2, "s3://b/x.csv: features are files that end in .npz")
    assert_error(features(shards, run, tmp_path / "folder.npz"), 2, "is a folder; give the name of a file")
    assert {path.name for path in tmp_path.iterdir()} == {"damaged.safetensors", "folder.npz"}
