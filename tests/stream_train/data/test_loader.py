"""From shards to batches: right frames, right crops, the same clips for any workers and ranks, resume, damage."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from helpers_datasets import numbered_jpeg, write_dataset

from shardify.errors import UsageError, WorkError
from stream_train.data import build_stream, open_data
from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.evaluation_pass import each_sample_once
from stream_train.data.plans import IGNORED
from stream_train.data.reader import FrameReader, open_shard_set
from stream_train.draws import Domain, Purpose, SampleDraws, Stream
from stream_train.transformations.config import SamplingConfig
from stream_train.transformations.sampling import draw_clips

DRAW = functools.partial(draw_clips, config=SamplingConfig())


def config(**changes: object) -> DataConfig:
    return DataConfig.model_validate({"crop": 32, "num_workers": 0} | changes)


def batches(folder: Path, data_config: DataConfig, *, num_batches: int = 6, **place: Any) -> list[Batch]:
    data = open_data(folder, "train1", data_config)
    return list(build_stream(data, data_config, DRAW, seed=5, num_batches=num_batches, **place))


def joined(parts: list[Batch]) -> dict[str, torch.Tensor]:
    names = [name for name, _ in parts[0].tensors()]
    assert {"frames", "indices", "motion", "speed", "flip", "label", "sample"} <= set(names)
    return {name: torch.cat([dict(part.tensors())[name] for part in parts]) for name in names}


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name


@pytest.fixture(scope="module")
def quiet_run(small_dataset: Path) -> dict[str, torch.Tensor]:
    return joined(batches(small_dataset, config()))


def test_clips_equal_a_slow_reference(small_dataset: Path, quiet_run: dict[str, torch.Tensor]) -> None:
    """Pixel by pixel: crop of the frame that the indices name, of the video that the sample names."""
    for clip in range(0, 6 * 28, 5):
        sample = int(quiet_run["sample"][clip])
        epoch = 0 if clip // 4 < 23 else 1
        draws = SampleDraws(5, epoch, sample)
        crop = draws.stream(Purpose.CROP, clip % 4)
        top, left = crop.integer(0, 48 - 32 + 1), crop.integer(0, 64 - 32 + 1)
        for place in range(16):
            jpeg = numbered_jpeg(sample, int(quiet_run["indices"][clip, place]))
            pixels = simplejpeg.decode_jpeg(jpeg, "RGB")[top : top + 32, left : left + 32]
            assert np.array_equal(quiet_run["frames"][clip, place].numpy(), pixels)
        assert bool(quiet_run["flip"][clip]) == draws.stream(Purpose.FLIP).boolean()


def test_batches_are_video_major_with_all_four_clips(quiet_run: dict[str, torch.Tensor]) -> None:
    samples, labels = quiet_run["sample"].view(-1, 4), quiet_run["label"].view(-1, 4)
    assert (samples == samples[:, :1]).all()
    assert torch.equal(labels, samples % 2)
    assert sorted(samples[:23, 0].tolist()) == list(range(23))
    short = torch.tensor([1, 9, 22])  # 16, 5 and 16 frames: their warp cannot be told from speed
    expected = torch.tensor([[0, 1, 2, 3]] * 42)
    expected[torch.isin(samples[:, 0], short), 3] = IGNORED
    assert torch.equal(quiet_run["motion"].view(-1, 4), expected)


@pytest.mark.parametrize(("num_workers", "world_size", "stop"), [(3, 1, 0), (0, 7, 4), (1, 2, 3)])
def test_workers_ranks_and_stops_do_not_change_the_clips(
    small_dataset: Path, quiet_run: dict[str, torch.Tensor], num_workers: int, world_size: int, stop: int
) -> None:
    parts = []
    for start, num_batches in ((0, stop), (stop, 6 - stop)):
        settings = config(num_workers=num_workers)
        ranks = [
            batches(
                small_dataset,
                settings,
                num_batches=num_batches,
                rank=rank,
                world_size=world_size,
                start_sample=7 * start,
            )
            for rank in range(world_size)
        ]
        parts += [part for step in zip(*ranks, strict=True) for part in step]
    assert_same(joined(parts), quiet_run)


def test_both_packings_give_the_same_clips(tmp_path: Path, quiet_run: dict[str, torch.Tensor]) -> None:
    shards = [[20, 16, 31, 61, 125], [130, 17, 40, 45], [5, 150, 33, 34, 35, 36], [64, 65, 66], [70, 71, 72, 121, 16]]
    folder = write_dataset(tmp_path / "frames", shards, packing="frames")
    assert_same(joined(batches(folder, config())), quiet_run)


def test_splits_are_whole_shards(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "s", [[20, 21], [30], [40, 41, 42]], splits=[["train1"], ["test1"], ["train1"]])
    train = open_shard_set(folder, "train1")
    assert (train.num_samples, train.shard_sizes) == (5, (2, 3))
    lengths = [FrameReader(train).entry(position).num_frames for position in range(5)]
    assert lengths == [20, 21, 40, 41, 42]
    assert open_shard_set(folder, None).num_samples == 6
    assert train.fingerprint != open_shard_set(folder, None).fingerprint
    with pytest.raises(UsageError, match="train9"):
        open_shard_set(folder, "train9")


def test_validation_sees_every_sample_as_often_as_asked_whatever_the_ranks(small_dataset: Path) -> None:
    data = open_shard_set(small_dataset, "train1")
    alone = joined(list(each_sample_once(data, config(), DRAW, seed=1, repetitions=2)))
    assert sorted(alone["sample"].tolist()) == sorted(list(range(23)) * 8)
    assert not alone["flip"].any()
    first, second = (alone["indices"].view(2, 23, 4, 16)[i, 4, 0] for i in range(2))
    assert not torch.equal(first, second)
    ranks = [
        list(each_sample_once(data, config(), DRAW, seed=1, repetitions=2, rank=r, world_size=3)) for r in range(3)
    ]
    merged = joined([ranks[i % 3][i // 3] for i in range(7)])
    assert_same(merged, alone)
    centre = simplejpeg.decode_jpeg(numbered_jpeg(0, int(alone["indices"][0, 0])), "RGB")[8:40, 16:48]
    assert np.array_equal(alone["frames"][0, 0].numpy(), centre)


def test_scopes_of_crop_and_flip(tmp_path: Path) -> None:
    """One flat video repeated, so that equal crops show as equal pixels at equal frames."""
    folder = write_dataset(tmp_path / "s", [[16] * 14])
    one = config(crop_scope="batch", flip_scope="clip")
    stream = batches(folder, one, num_batches=4)
    for number, batch in enumerate(stream):
        crop = Stream(5, Domain.TRAINING, (int(Purpose.CROP), number, 2**64 - 1))
        top, left = crop.integer(0, 17), crop.integer(0, 33)
        for clip in (0, 13, 27):
            jpeg = numbered_jpeg(int(batch.sample[clip]), int(batch.indices[clip, 0]))
            expected = simplejpeg.decode_jpeg(jpeg, "RGB")[top : top + 32, left : left + 32]
            assert np.array_equal(batch.frames[clip, 0].numpy(), expected)
    flips = torch.cat([batch.flip.view(7, 4) for batch in stream])
    assert (flips.any(1) & ~flips.all(1)).any()
    assert not any(batch.flip.any() for batch in batches(folder, config(flip_scope="none"), num_batches=4))


def test_colour_is_drawn_per_frame_or_per_clip(small_dataset: Path) -> None:
    frame, clip = (batches(small_dataset, config(colour=scope), num_batches=1)[0].colour for scope in ("frame", "clip"))
    assert frame is not None
    assert clip is not None
    assert frame.shape == clip.shape == (28, 16, 4)
    assert (clip == clip[:, :1]).all()
    assert (frame.std(1)[:, :2] > 0).all()
    assert frame[..., 0].abs().max() <= 32 / 255
    assert frame[..., 1].min() >= 0.5
    assert frame[..., 1].max() <= 1.5
    assert 0.1 < frame[..., 3].mean() < 0.3


@pytest.mark.parametrize("changes", [{"resize": (24, 32)}, {"scale": (0.5, 1.0)}])
def test_frames_are_resized_before_the_crop(small_dataset: Path, changes: dict[str, object]) -> None:
    """Every clip's pixels are those of the resized frame, cropped within it; a scale is drawn anew for each clip."""
    batch = batches(small_dataset, config(crop=24, **changes), num_batches=1)[0]
    sizes = set()
    for number in range(len(batch)):
        position, clip = int(batch.sample[number]), number % 4
        draws = SampleDraws(5, 0, position)
        factor = draws.stream(Purpose.SCALE, clip).uniform(0.5, 1.0) if "scale" in changes else 0.5
        height, width = round(48 * factor), round(64 * factor)
        sizes.add((height, width))
        crop = draws.stream(Purpose.CROP, clip)
        top, left = crop.integer(0, height - 24 + 1), crop.integer(0, width - 24 + 1)
        jpeg = numbered_jpeg(position, int(batch.indices[number, 0]))
        stored = torch.from_numpy(simplejpeg.decode_jpeg(jpeg, "RGB")).permute(2, 0, 1)[None].float()
        resized = torch.nn.functional.interpolate(stored, size=(height, width), mode="bilinear")[0].permute(1, 2, 0)
        assert (batch.frames[number, 0].float() - resized[top : top + 24, left : left + 24]).abs().max() < 1
    assert len(sizes) > len(batch) // 2 if "scale" in changes else sizes == {(24, 32)}


def test_outside_training_clips_are_resized_once_and_cropped_at_the_centre(small_dataset: Path) -> None:
    plain = config(resize=(24, 32), crop=24)
    scaled = config(scale=(0.5, 1.0), test_resize=(24, 32), crop=24)
    data = open_shard_set(small_dataset, "train1")
    for one, other in zip(*(each_sample_once(data, each, DRAW, seed=1) for each in (plain, scaled)), strict=True):
        assert torch.equal(one.frames, other.frames)


def test_a_scale_from_high_to_low_is_refused() -> None:
    with pytest.raises(ValueError, match="scale is a range from low to high"):
        config(scale=(1.0, 0.5))


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"crop": 32, "scale": (0.5, 1.0)}, "24x32"),
        ({"crop": 32, "test_resize": (30, 60)}, "30x60"),
        ({"crop": 49}, "48x64"),
        ({"crop": 32, "resize": (30, 60)}, "30x60"),
    ],
)
@pytest.mark.parametrize("kind", ["indexed", "sequential"])
def test_a_crop_that_does_not_fit_is_refused_when_the_data_are_opened(
    small_dataset: Path, changes: dict[str, object], size: str, kind: str
) -> None:
    settings = config(**changes, reader={"kind": kind})
    with pytest.raises(UsageError, match=f"crop = {settings.crop} does not fit into frames of {size}"):
        open_data(small_dataset, None, settings)


@pytest.mark.parametrize("kind", ["indexed", "sequential"])
def test_more_ranks_than_videos_are_refused(small_dataset: Path, kind: str) -> None:
    with pytest.raises(UsageError, match=r"8 ranks share data.videos_per_batch = 7"):
        batches(small_dataset, config(reader={"kind": kind}), rank=0, world_size=8)


def damage(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_a_flipped_byte_in_a_frame_is_named(small_dataset: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_dataset, tmp_path / "data")
    entry = FrameReader(open_shard_set(folder, "train1")).entry(1)  # 16 frames, all of which are read
    offset = int(entry.frame_offsets("mjpg")[7]) + int(entry.frame_bytes[7]) // 2
    damage(folder / "shard-000000.tar", offset)
    with pytest.raises(WorkError, match=r"shard-000000.tar: frame 7 of sample video0001 .* checksum"):
        batches(folder, config(num_workers=1))


@pytest.mark.parametrize(
    ("name", "harm", "words"),
    [
        ("shard-000002.tar", lambda path: os.truncate(path, 9000), r"has 9000 bytes, but the manifest says \d+"),
        ("shard-000002.tar", Path.unlink, "No such file"),
        ("shard-000001.idx.npz", lambda path: damage(path, 300), "differs"),
        ("manifest.json", lambda path: path.write_text('{"format_version": 2}'), "format version 2"),
    ],
    ids=["truncated", "missing", "index", "foreign"],
)
def test_a_damaged_file_is_named(
    small_dataset: Path, tmp_path: Path, name: str, harm: Callable[[Path], object], words: str
) -> None:
    folder = shutil.copytree(small_dataset, tmp_path / "data")
    harm(folder / name)
    with pytest.raises(WorkError, match=f"{name}.* {words}"):
        batches(folder, config())


def test_the_reader_keeps_a_bounded_number_of_shards_open(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "s", [[16], [17], [18], [19]])
    reader = FrameReader(open_shard_set(folder, None), open_shards=2)
    for position in [0, 1, 2, 3, 0]:
        assert reader.read(position, [0, 5, 15])[5] == numbered_jpeg(position, 5)
        assert len(reader._open) <= 2


def test_far_frames_are_read_apart_and_near_ones_together(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "s", [[150]])
    frames = FrameReader(open_shard_set(folder, None)).read(0, [0, 1, 2, 149])
    assert [bytes(frames[i]) for i in (0, 2, 149)] == [numbered_jpeg(0, i) for i in (0, 2, 149)]
    assert frames[0].obj is frames[2].obj
    assert frames[0].obj is not frames[149].obj
