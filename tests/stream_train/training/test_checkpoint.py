"""Checkpoints: saved whole or not at all, damage found, others refused."""

from __future__ import annotations

import errno
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_flatten

from shardify.errors import UsageError, WorkError
from shardify.storage.folder_store import FolderStore
from stream_train.networks import build_backbone
from stream_train.networks.config import C3DConfig
from stream_train.training.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    DamagedCheckpointError,
    read_checkpoint,
    require_same,
    restore,
)
from stream_train.training.config import OptimizerConfig
from stream_train.training.optim import build_optimizer

IDENTITY = {"seed": 0, "network.kind": "c3d", "split": "train1", "data_set.fingerprint": "a" * 64}


def checkpoint(step: int) -> Checkpoint:
    """The state of a real network after one real step, so that the optimiser has moments to save."""
    torch.manual_seed(step)
    backbone = build_backbone(C3DConfig(width=0.05), crop=16).to(memory_format=torch.channels_last_3d)
    optimizer = build_optimizer(OptimizerConfig(), backbone)
    backbone(torch.randn(2, 3, 16, 16, 16)).square().sum().backward()
    optimizer.step()
    return Checkpoint(step=step, model=backbone.state_dict(), optimizer=optimizer.state_dict(), identity=dict(IDENTITY))


def assert_equal_trees(left: object, right: object) -> None:
    (one, structure), (other, other_structure) = tree_flatten(left), tree_flatten(right)
    assert structure == other_structure
    for mine, theirs in zip(one, other, strict=True):
        if isinstance(mine, torch.Tensor):
            assert torch.equal(mine, theirs)
            assert mine.stride() == theirs.stride()
        else:
            assert mine == theirs


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(folder=tmp_path, keep=2)


def newest_step(folder: CheckpointFolder) -> int | None:
    newest = folder.newest()
    return newest.step if newest else None


def test_a_checkpoint_comes_back_equal(folder: CheckpointFolder) -> None:
    saved = checkpoint(123_456_789)  # more than the eight digits of a name
    folder.save(saved)
    loaded = folder.newest()
    assert loaded is not None
    assert_equal_trees(vars(saved), vars(loaded))
    assert list(torch.load(folder.location(123_456_789), weights_only=True)) == [
        "format_version", "step", "model", "optimizer", "identity", "interval"
    ]  # fmt: skip


def test_only_the_newest_are_kept(folder: CheckpointFolder) -> None:
    for step in (5, 10, 15):
        folder.save(checkpoint(step))
    names = sorted(path.name for path in Path(folder.folder).iterdir())
    assert names == ["checkpoint-00000010.pt", "checkpoint-00000015.pt"]


def test_an_unreadable_later_checkpoint_never_replaces_a_readable_one(tmp_path: Path) -> None:
    folder = CheckpointFolder(folder=tmp_path, keep=1)
    folder.save(checkpoint(10))
    Path(folder.location(20)).write_bytes(b"damaged")
    assert newest_step(folder) == 10
    folder.save(checkpoint(15))
    assert folder.steps() == [15, 20]
    assert newest_step(folder) == 15


def test_a_second_trainer_is_noticed_by_what_it_saves(tmp_path: Path) -> None:
    """A trainer that finds a step it does not know stops, even if that step is its own next one."""
    one, other = CheckpointFolder(folder=tmp_path), CheckpointFolder(folder=tmp_path)
    for folder in (one, other):
        assert folder.newest() is None
    one.save(checkpoint(10))
    with pytest.raises(WorkError, match=r"another process is training in .*: it has saved checkpoint-00000010\.pt"):
        other.save(checkpoint(10))
    third = CheckpointFolder(folder=tmp_path)
    assert third.newest() is not None
    one.save(checkpoint(20))
    with pytest.raises(WorkError, match=r"checkpoint-00000020\.pt"):
        third.save(checkpoint(20))
    one.save(checkpoint(30))
    assert one.steps() == [20, 30]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": -1}, "step is -1"),
        ({"step": "7"}, "step is '7'"),
        ({"model": [1]}, "model"),
        ({"optimizer": {0: 1}}, "optimizer"),
        ({"identity": None}, "identity"),
        ({"extra": 1}, "extra"),
        ({"format_version": 99}, "another version"),
    ],
)
def test_wrong_contents_are_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = tmp_path / "checkpoint-00000007.pt"
    torch.save({"format_version": 1, **vars(checkpoint(7)), **changes}, path)
    with pytest.raises(DamagedCheckpointError, match=f"{path.name}.*{message}"):
        read_checkpoint(path)


def test_no_folder_and_no_files_are_a_new_run(tmp_path: Path) -> None:
    assert CheckpointFolder(folder=tmp_path / "absent").newest() is None
    assert CheckpointFolder(folder=tmp_path).newest() is None
    with pytest.raises(DamagedCheckpointError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "absent")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_byte(path: Path) -> None:
    """In the middle of a tensor: still a valid zip of valid pickles, so that only the checksum can tell."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    data = bytearray(path.read_bytes())
    data[largest.header_offset + 200 + largest.file_size // 2] ^= 0x40
    path.write_bytes(data)


def replace_by_text(path: Path) -> None:
    path.write_text("not a checkpoint")


def replace_by_foreign(path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, path)


def replace_by_pickle(path: Path) -> None:
    torch.save({"format_version": 1, "hook": print}, path)


@pytest.mark.parametrize("damage", [cut, empty, flip_a_byte, replace_by_text, replace_by_foreign, replace_by_pickle])
def test_a_damaged_checkpoint_is_skipped_and_named(folder: CheckpointFolder, damage: Callable[[Path], None]) -> None:
    for step in (5, 10):
        folder.save(checkpoint(step))
    damage(Path(folder.location(10)))
    assert newest_step(folder) == 5
    (told,) = folder.skipped
    assert told.startswith(f"{folder.location(10)} is ")
    assert "\n" not in told
    assert Path(folder.location(10)).exists()


def test_if_none_can_be_read_the_run_does_not_begin_anew(folder: CheckpointFolder) -> None:
    for step in (5, 10):
        folder.save(checkpoint(step))
        cut(Path(folder.location(step)))
    with pytest.raises(WorkError, match=r"none of the 2 checkpoints .* can be read"):
        folder.newest()


def test_a_full_disk_keeps_the_earlier_checkpoint(folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.save(checkpoint(5))
    original = FolderStore.temporary

    @contextmanager
    def on_a_full_disk(self: FolderStore, name: str) -> Iterator[Path]:
        with original(self, name) as path:
            path.symlink_to("/dev/full")
            yield path

    monkeypatch.setattr(FolderStore, "temporary", on_a_full_disk)
    with pytest.raises(WorkError, match=r"no space left while writing .*checkpoint-00000010\.pt"):
        folder.save(checkpoint(10))
    assert [path.name for path in Path(folder.folder).iterdir()] == ["checkpoint-00000005.pt"]
    assert read_checkpoint(folder.location(5)).step == 5


def test_other_write_errors_are_raised_as_they_are(folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("unexpected pos 704 vs 598") from OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="Input/output error"):
        folder.save(checkpoint(5))
    assert list(Path(folder.folder).iterdir()) == []


def test_all_differences_are_named() -> None:
    require_same(IDENTITY, dict(IDENTITY), origin="x")
    other = IDENTITY | {"seed": 1, "data_set.fingerprint": "b" * 64}
    other["epochs"] = other.pop("network.kind")
    with pytest.raises(UsageError) as caught:
        require_same(IDENTITY, other, origin="runs/x/checkpoint-00000005.pt")
    for part in (
        "runs/x/checkpoint-00000005.pt",
        "seed was 0, now 1",
        "network.kind was 'c3d', now not set",
        "epochs was not set, now 'c3d'",
        "data_set.fingerprint was 'aaaaaaaaaaa..., now 'bbbbbbbbbbb...",
    ):
        assert part in str(caught.value)


def test_changed_data_can_be_accepted_but_nothing_else() -> None:
    changed = IDENTITY | {"data_set.fingerprint": "b" * 64, "split": "train2"}
    with pytest.raises(UsageError, match="accept_changed_data=true"):
        require_same(IDENTITY, changed, origin="x")
    require_same(IDENTITY, changed, origin="x", accept_changed_data=True)
    with pytest.raises(UsageError, match="seed was 0, now 2"):
        require_same(IDENTITY, changed | {"seed": 2}, origin="x", accept_changed_data=True)


def test_a_state_that_does_not_fit_is_an_error() -> None:
    saved = checkpoint(7)
    large = build_backbone(C3DConfig(width=0.1), crop=16)
    with pytest.raises(WorkError, match=r"model saved in here .*size mismatch"):
        restore(saved, "here", model=large)
    optimizer = build_optimizer(OptimizerConfig(), large)
    states: list[dict[str, object]] = [{}, {"state": {}, "param_groups": []}, {"state": 3, "param_groups": "x"}]
    for state in states:
        with pytest.raises(WorkError, match="optimizer saved in here"):
            restore(replace(saved, optimizer=state), "here", optimizer=optimizer)
