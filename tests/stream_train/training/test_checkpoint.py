"""Checkpoints: whole or not at all, damage found, foreign ones refused."""

from __future__ import annotations

import errno
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from shardify.errors import UsageError, WorkError
from shardify.storage.folder_store import FolderStore
from stream_train.networks import build_backbone
from stream_train.networks.config import C3DConfig
from stream_train.training.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    read_checkpoint,
    require_same,
    restore_model,
    restore_optimizer,
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
    if isinstance(left, torch.Tensor):
        assert isinstance(right, torch.Tensor)
        assert torch.equal(left, right)
        assert left.stride() == right.stride()
    elif isinstance(left, dict):
        assert isinstance(right, dict)
        assert left.keys() == right.keys()
        for key, value in left.items():
            assert_equal_trees(value, right[key])
    elif isinstance(left, (list, tuple)):
        assert isinstance(right, (list, tuple))
        for one, other in zip(left, right, strict=True):
            assert_equal_trees(one, other)
    else:
        assert left == right


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(folder=tmp_path, keep=2)


def test_a_checkpoint_comes_back_equal(folder: CheckpointFolder) -> None:
    saved = checkpoint(7)
    folder.save(saved)
    loaded = folder.newest()
    assert loaded is not None
    assert_equal_trees(vars(saved), vars(loaded))
    assert list(torch.load(folder.place(7), weights_only=True)) == [
        "format_version", "step", "model", "optimizer", "identity", "interval"
    ]  # fmt: skip


def test_only_the_newest_are_kept(folder: CheckpointFolder) -> None:
    for step in (5, 10, 15):
        folder.save(checkpoint(step))
    assert folder.steps() == [10, 15]
    names = sorted(path.name for path in Path(folder.folder).iterdir())
    assert names == ["checkpoint-00000010.pt", "checkpoint-00000015.pt"]


def test_an_unreadable_later_checkpoint_never_drives_out_the_one_just_written(tmp_path: Path) -> None:
    folder = CheckpointFolder(folder=tmp_path, keep=1)
    folder.save(checkpoint(10))
    Path(folder.place(20)).write_bytes(b"damaged")
    assert folder.newest() is not None  # the run is taken up
    folder.save(checkpoint(15))
    assert folder.steps() == [15, 20]
    loaded = folder.newest()
    assert loaded is not None
    assert loaded.step == 15


def test_a_second_trainer_shows_by_what_it_saves(tmp_path: Path) -> None:
    """Each has begun where the other did; who finds a step that it does not know, however early, is stopped."""
    one, other = CheckpointFolder(folder=tmp_path), CheckpointFolder(folder=tmp_path)
    for folder in (one, other):
        assert folder.newest() is None
    one.save(checkpoint(10))
    with pytest.raises(WorkError, match=r"another process is training in .*: it has saved checkpoint-00000010\.pt"):
        other.save(checkpoint(10))
    third = CheckpointFolder(folder=tmp_path)
    assert third.newest() is not None
    one.save(checkpoint(20))
    with pytest.raises(WorkError, match=r"it has saved checkpoint-00000020\.pt"):
        third.save(checkpoint(20))
    one.save(checkpoint(30))
    assert one.steps() == [20, 30]


def test_steps_of_more_than_eight_digits_are_found(folder: CheckpointFolder) -> None:
    folder.save(checkpoint(123_456_789))
    assert folder.steps() == [123_456_789]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": -1}, "its step is -1"),
        ({"step": "7"}, "its step is '7'"),
        ({"model": [1]}, "its model is not a mapping"),
        ({"optimizer": {0: 1}}, "its optimizer is not a mapping"),
        ({"identity": None}, "its identity is not a mapping"),
        ({"extra": 1}, "unexpected keyword"),
    ],
)
def test_a_checkpoint_of_wrong_contents_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = tmp_path / "checkpoint-00000007.pt"
    torch.save({"format_version": 1, **vars(checkpoint(7)), **changes}, path)
    with pytest.raises(WorkError, match=f"is not a checkpoint of this program .*{message}"):
        read_checkpoint(path)


def test_a_foreign_optimiser_state_is_named() -> None:
    backbone = build_backbone(C3DConfig(width=0.05), crop=16)
    optimizer = build_optimizer(OptimizerConfig(), backbone)
    states: list[dict[str, object]] = [{}, {"state": {}, "param_groups": []}, {"state": 3, "param_groups": "x"}]
    for state in states:
        with pytest.raises(WorkError, match="the optimiser's state in here does not fit"):
            restore_optimizer(optimizer, state, "here")


def test_no_folder_and_no_files_are_a_new_run(tmp_path: Path) -> None:
    assert CheckpointFolder(folder=tmp_path / "absent").newest() is None
    assert CheckpointFolder(folder=tmp_path).newest() is None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_byte(path: Path) -> None:
    """In the middle of a tensor: still a valid zip of valid pickles, so only the checksum can tell."""
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


DAMAGES = [cut, empty, flip_a_byte, replace_by_text, replace_by_foreign, replace_by_pickle]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_and_named(
    folder: CheckpointFolder, damage: Callable[[Path], None]
) -> None:
    for step in (5, 10):
        folder.save(checkpoint(step))
    damage(Path(folder.place(10)))
    loaded = folder.newest()
    assert loaded is not None
    assert loaded.step == 5
    (told,) = folder.skipped
    assert told.startswith(f"{folder.place(10)} is ")
    assert "\n" not in told
    assert Path(folder.place(10)).exists()


def test_if_none_can_be_read_the_run_does_not_start_anew_by_itself(folder: CheckpointFolder) -> None:
    for step in (5, 10):
        folder.save(checkpoint(step))
        cut(Path(folder.place(step)))
    with pytest.raises(
        WorkError, match=r"none of the 2 checkpoints .* can be read, .*delete them to start the run anew"
    ):
        folder.newest()


def test_another_format_version_is_named(folder: CheckpointFolder) -> None:
    torch.save({"format_version": 99}, folder.place(1))
    with pytest.raises(WorkError, match="another version"):
        read_checkpoint(folder.place(1))
    with pytest.raises(WorkError, match="there is no checkpoint"):
        read_checkpoint(folder.place(2))


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
    assert read_checkpoint(folder.place(5)).step == 5


def test_other_write_errors_keep_their_own_words(folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("unexpected pos 704 vs 598") from OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="Input/output error"):
        folder.save(checkpoint(5))
    assert list(Path(folder.folder).iterdir()) == []


def test_differences_are_all_named() -> None:
    require_same(IDENTITY, dict(IDENTITY), origin="x")
    other = IDENTITY | {"seed": 1, "data_set.fingerprint": "b" * 64}
    other["epochs"] = other.pop("network.kind")
    with pytest.raises(UsageError) as caught:
        require_same(IDENTITY, other, origin="runs/x/checkpoint-00000005.pt")
    text = str(caught.value)
    assert text.startswith("runs/x/checkpoint-00000005.pt belongs to a run with other settings (")
    for part in (
        "seed was 0, now 1",
        "network.kind was 'c3d', now not set",
        "epochs was not set, now 'c3d'",
        "data_set.fingerprint was 'aaaaaaaaaaa..., now 'bbbbbbbbbbb...",
        "give another out",
    ):
        assert part in text


def test_changed_data_can_be_accepted_but_nothing_else() -> None:
    changed = IDENTITY | {"data_set.fingerprint": "b" * 64, "split": "train2"}
    with pytest.raises(UsageError, match="accept_changed_data=true to continue on other data"):
        require_same(IDENTITY, changed, origin="x")
    require_same(IDENTITY, changed, origin="x", accept_changed_data=True)
    with pytest.raises(UsageError, match="seed was 0, now 2"):
        require_same(IDENTITY, changed | {"seed": 2}, origin="x", accept_changed_data=True)


def test_weights_that_do_not_fit_are_an_error() -> None:
    small, large = (build_backbone(C3DConfig(width=width), crop=16) for width in (0.05, 0.1))
    with pytest.raises(WorkError, match=r"the weights of runs/x do not fit the network .*size mismatch"):
        restore_model(large, small.state_dict(), "runs/x")
