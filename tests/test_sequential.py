"""The stock WebDataset path: our shards and foreign tars, through the same clips code."""

from __future__ import annotations

import functools
import io
import itertools
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from helpers_datasets import numbered_jpeg, write_dataset

from shardify.errors import UsageError, WorkError
from stream_train.data import build_stream, open_data
from stream_train.loader import DataConfig
from stream_train.sequential import TarSet
from stream_train.transforms import SamplingConfig, draw_clips

DRAW = functools.partial(draw_clips, config=SamplingConfig())


def config(**reader: object) -> DataConfig:
    reader = {"kind": "sequential", "shuffle_samples": 4} | reader
    return DataConfig.model_validate({"crop": 32, "num_workers": 0, "reader": reader})


def first_clips(
    location: Path | str, data_config: DataConfig, num_batches: int = 4, **place: int
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


def test_without_an_index_foreign_tars_are_counted_and_read(tmp_path: Path) -> None:
    tars = tmp_path / "foreign"
    tars.mkdir()
    for number in range(2):
        with tarfile.open(tars / f"clips-{number}.tar", "w") as tar:
            for video in range(3):
                for frame in range(18):
                    data = numbered_jpeg(video, frame)
                    member = tarfile.TarInfo(f"clip{number}{video}.{frame:03d}.jpg")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    by_folder = open_data(tars, None, config())
    assert isinstance(by_folder, TarSet)
    assert (by_folder.num_samples, by_folder.samples_per_tar) == (6, (3, 3))
    assert open_data(f"{tars}/clips-{{0..1}}.tar", None, config()).num_samples == 6
    batch = first_clips(tars, config())[0]
    assert batch[7:].tolist() == [-1] * 7


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
    with pytest.raises(WorkError, match=r"shard-000001.tar (is cut short|cannot be read as a tar)"):
        open_data(plain, None, config())


def test_a_flipped_byte_is_found_by_the_samples_own_checksums(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "s", [[16, 20], [31, 17, 18]])
    path = folder / "shard-000000.tar"
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xda", 3000) + 40] ^= 4
    path.write_bytes(data)
    with pytest.raises(WorkError, match=r"do not match their checksums|cannot be"):
        first_clips(folder, config())


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no .tar files"):
        open_data(tmp_path, None, config())
    with pytest.raises(UsageError, match=r"there is no tar .*nothing-0.tar"):
        open_data(f"{tmp_path}/nothing-{{0..1}}.tar", None, config())
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    with pytest.raises(UsageError, match=r"cannot count the samples|samples_per_epoch"):
        open_data(tmp_path, None, config())
    folder = write_dataset(tmp_path / "s", [[16]])
    (folder / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"plain tars without a manifest, which have no splits"):
        open_data(folder, "train1", config())
