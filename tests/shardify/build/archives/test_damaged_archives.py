"""Archives that are damaged: nothing that may be wrong stays in a shard, nothing that is good is lost."""

from __future__ import annotations

import gzip
import json
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers_archives import archived_config, samples, write_tar
from helpers_shards import NUM_VIDEOS, contents

from shardify.build.config import BuildConfig
from shardify.build.plan import Part
from shardify.build.run import build, build_part, finish
from shardify.build.shard_writer import OpenShard
from shardify.errors import WorkError
from shardify.inspection.verify import verify
from shardify.shards.record import ShardRecord
from shardify.storage import open_store
from shardify.storage.folder_store import FolderStore


def cut(path: Path, num_bytes: int = 5_000) -> None:
    path.write_bytes(path.read_bytes()[:-num_bytes])


def test_a_damaged_archive_is_one_clear_line_and_the_others_are_done(
    archived_source: Path, archives: Path, tmp_path: Path, decoded: list[int]
) -> None:
    whole = (archives / "b.tgz").read_bytes()
    cut(archives / "b.tgz")
    out = tmp_path / "out"
    config = archived_config(archives, archived_source / "lists", out, videos_per_shard=2)
    message = (
        r"^b.tgz is damaged after Spin/v_Spin_g\d\d_c\d\d.avi \(byte \d+ of the tar\): its gzip stream ends too early, "
        r"so it was cut short; fetch it again .*; or go without what is lost of it with --set source.acc"
    )
    with pytest.raises(WorkError, match=message):
        build(config)
    with pytest.raises(WorkError, match=message):
        finish(config)
    states = {path.name: json.loads(path.read_bytes())["state"] for path in sorted(out.glob("window-*.json"))}
    assert list(states.values()) == ["complete", "damaged", "complete"]
    assert not (out / "manifest.json").exists()
    assert not list(out.glob("shard-001*"))

    (archives / "b.tgz").write_bytes(whole)
    decoded.clear()
    build(config)
    build(
        archived_config(archived_source / "archives", archived_source / "lists", tmp_path / "whole", videos_per_shard=2)
    )
    assert contents(out) == contents(tmp_path / "whole")
    assert len(decoded) < 2 * NUM_VIDEOS - 8  # only that archive was decoded anew


def test_a_part_with_a_damaged_archive_fails(archived_source: Path, archives: Path, tmp_path: Path) -> None:
    cut(archives / "b.tgz")
    config = archived_config(archives, archived_source / "lists", tmp_path / "out")
    with pytest.raises(WorkError, match=r"^b.tgz is damaged"):
        build_part(config, Part(number=2, count=3))
    build_part(config, Part(number=1, count=3))


def test_the_rest_of_a_damaged_archive_may_be_done_without(
    archived_source: Path, archives: Path, tmp_path: Path
) -> None:
    cut(archives / "b.tgz")
    lists, out = archived_source / "lists", tmp_path / "out"
    with pytest.raises(WorkError, match="is damaged"):
        build(archived_config(archives, lists, out))
    accepting = archived_config(archives, lists, out, source__accept_damaged_archives=True)
    summary = build(accepting)
    at_once = build(archived_config(archives, lists, tmp_path / "at_once", source__accept_damaged_archives=True))
    assert contents(out) == contents(tmp_path / "at_once")
    assert summary.num_samples == at_once.num_samples
    assert summary.num_missing == NUM_VIDEOS - summary.num_samples
    assert 1 < summary.num_missing < 8
    assert any(line.startswith("went without what is lost of it: b.tgz is damaged after") for line in summary.lines())
    assert "window-000001.json" in contents(out)


def flip(path: Path) -> None:
    """Change one byte of the first video, or change it back; the archive is compressed by gzip's level 0."""
    data = bytearray(path.read_bytes())
    with suppress(zlib.error):  # else it is changed
        data = bytearray(gzip.compress(zlib.decompress(data, wbits=31), compresslevel=0, mtime=0))
    data[2_500] ^= 255
    path.write_bytes(data)


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the shards that are committed in this process."""
    numbers: list[int] = []
    real = OpenShard.commit

    def commit(self: OpenShard) -> ShardRecord:
        numbers.append(self.number)
        return real(self)

    monkeypatch.setattr(OpenShard, "commit", commit)
    return numbers


def shards_in(out: Path) -> list[int]:
    return [int(path.name[6:12]) for path in sorted(out.glob("shard-*.json"))]


def refuse(config: BuildConfig, reason: str = "b.tgz is damaged and none of it can be trusted.*incorrect data") -> None:
    with pytest.raises(WorkError, match=reason):
        build(config)
    assert not Path(config.out, "manifest.json").exists()


def test_shards_of_an_archive_whose_checksum_does_not_fit_do_not_stay(
    archived_source: Path, archives: Path, tmp_path: Path, committed: list[int], decoded: list[int]
) -> None:
    """A flipped byte decompresses, decodes to other frames, and leaves the archive's size as it was."""
    config = archived_config(archives, archived_source / "lists", tmp_path / "out", videos_per_shard=2)
    flip(archives / "b.tgz")
    refuse(config)
    assert 1000 in committed  # before the end of the archive, and its checksum, was reached
    assert {number // 1000 for number in shards_in(tmp_path / "out")} == {0, 2}
    assert not list((tmp_path / "out").glob("shard-001*"))

    flip(archives / "b.tgz")
    decoded.clear()
    build(config)
    assert len(decoded) == 7  # that archive alone
    build(
        archived_config(archived_source / "archives", archived_source / "lists", tmp_path / "whole", videos_per_shard=2)
    )
    assert samples(tmp_path / "out") == samples(tmp_path / "whole")


def test_shards_of_a_killed_run_do_not_stay_if_the_rerun_finds_damage(
    archived_source: Path, archives: Path, tmp_path: Path, committed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = archived_config(archives, archived_source / "lists", tmp_path / "out", videos_per_shard=2)
    flip(archives / "b.tgz")

    class Killed(BaseException):
        pass

    def die(self: FolderStore, name: str, path: Path) -> None:
        if name == "shard-001001.tar":
            raise Killed
        write_file(self, name, path)

    write_file = FolderStore.write_file
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "write_file", die)
        with pytest.raises(Killed):
            build(config)
    left = [number for number in shards_in(tmp_path / "out") if number >= 1000]
    assert len(left) == 1
    committed.clear()
    refuse(config)
    assert left[0] not in committed  # it was kept until then
    assert not list((tmp_path / "out").glob("shard-001*"))
    flip(archives / "b.tgz")
    build(config)
    build(
        archived_config(archived_source / "archives", archived_source / "lists", tmp_path / "whole", videos_per_shard=2)
    )
    assert samples(tmp_path / "out") == samples(tmp_path / "whole")


@pytest.mark.parametrize("killed_in_second_pass", [False, True])
def test_an_archive_whose_checksum_does_not_fit_is_left_out_if_that_is_accepted(
    archived_source: Path,
    archives: Path,
    tmp_path: Path,
    committed: list[int],
    monkeypatch: pytest.MonkeyPatch,
    killed_in_second_pass: bool,
) -> None:
    """The window becomes what it were without it; what was full before it stays."""
    flip(archives / "b.tgz")
    cut(archives / "more" / "Zoom.tar.gz")
    accepting: dict[str, Any] = {
        "videos_per_shard": 3,
        "source__archives_per_window": 3,
        "source__accept_damaged_archives": True,
    }
    config = archived_config(archives, archived_source / "lists", tmp_path / "out", **accepting)
    if killed_in_second_pass:
        real = OpenShard.commit

        def commit(self: OpenShard) -> ShardRecord:
            record = real(self)
            if committed.count(self.number) == 2:
                raise KeyboardInterrupt
            return record

        with monkeypatch.context() as patch:
            patch.setattr(OpenShard, "commit", commit)
            with pytest.raises(KeyboardInterrupt):
                build(config)
        assert json.loads((tmp_path / "out" / "window-000000.json").read_bytes())["left_out"].keys() == {"b.tgz"}
    summary = build(config)
    assert committed.count(2) == 1  # the one that was full before b.tgz
    assert len(committed) > len(set(committed))
    [first, second] = summary.notes
    assert first.startswith("went without what is lost of it: b.tgz is damaged and none of it can be trusted")
    assert second.startswith("went without what is lost of it: more/Zoom.tar.gz is damaged after ")
    assert build(config).num_shards_written == 0
    (tmp_path / "out" / "shard-000000.tar").unlink()
    assert build(config).num_shards_written == 1

    write_tar(archives / "b.tgz", {})
    build(archived_config(archives, archived_source / "lists", tmp_path / "without", **accepting))
    ours, theirs = contents(tmp_path / "out"), contents(tmp_path / "without")
    assert {name for name in ours | theirs if ours.get(name) != theirs.get(name)} == {"window-000000.json"}
    assert verify(open_store(tmp_path / "out"), deep=True).problems == ()


def test_shards_before_a_damaged_archive_of_a_window_stay(
    archived_source: Path, archives: Path, tmp_path: Path, committed: list[int], decoded: list[int]
) -> None:
    lists = archived_source / "lists"
    changes: dict[str, Any] = {"videos_per_shard": 2, "source__archives_per_window": 3}
    config = archived_config(archives, lists, tmp_path / "out", **changes)
    damaged = [archives / "b.tgz", archives / "more" / "Zoom.tar.gz"]
    for path in damaged:
        flip(path)
    refuse(config, r"b.tgz is damaged and none of it can be trusted.* \(2 archives are damaged, see")
    assert len(decoded) == 15  # nothing behind the damaged one
    before = shards_in(tmp_path / "out")
    assert before == [0, 1, 2, 3]  # the 8 videos of a.tar
    committed.clear()
    for path in damaged:
        flip(path)
    build(config)
    assert not set(before) & set(committed)
    build(archived_config(archived_source / "archives", lists, tmp_path / "whole", **changes))
    assert samples(tmp_path / "out") == samples(tmp_path / "whole")


@pytest.mark.parametrize("accept", [False, True])
def test_damage_that_comes_later_does_not_cost_shards_that_were_good(
    archived_source: Path, archives: Path, tmp_path: Path, committed: list[int], accept: bool
) -> None:
    flip(archives / "b.tgz")
    flip(archives / "b.tgz")
    changes: dict[str, Any] = {"videos_per_shard": 2, "source__accept_damaged_archives": accept}
    config = archived_config(archives, archived_source / "lists", tmp_path / "out", **changes)
    build(config)
    before = contents(tmp_path / "out")
    flip(archives / "b.tgz")
    (tmp_path / "out" / "shard-001001.tar").unlink()
    for _ in range(2):
        committed.clear()
        refuse(
            config, "none of it can be trusted.*put back what it was, or delete window-000001" if accept else "none of"
        )
        assert committed == [1001]
        left = {name for name in before if name.startswith("shard-") and not name.startswith("shard-001001")}
        assert {name: data for name, data in contents(tmp_path / "out").items() if name.startswith("shard-")} == {
            name: before[name] for name in left
        }
    if accept:
        (tmp_path / "out" / "window-000001.json").unlink()
        assert build(config).num_missing == 8
    else:
        flip(archives / "b.tgz")
        build(config)
        assert contents(tmp_path / "out") == before


def test_what_was_packed_of_a_damaged_archive_does_not_stay_when_it_is_whole(
    archived_source: Path, archives: Path, tmp_path: Path
) -> None:
    """A header that is damaged and mended leaves the archive's size as it was."""
    changes: dict[str, Any] = {"videos_per_shard": 2, "source__archives_per_window": 3}
    whole = bytearray((archives / "a.tar").read_bytes())
    second = whole.index(b"./UCF-101/Fall/v_Fall_g01_c02.avi")
    (archives / "a.tar").write_bytes(whole[:second] + b"x" * 512 + whole[second + 512 :])
    accepting = archived_config(
        archives, archived_source / "lists", tmp_path / "out", source__accept_damaged_archives=True, **changes
    )
    assert build(accepting).num_missing == 8
    (tmp_path / "out" / "shard-000001.tar").unlink()
    config = archived_config(archives, archived_source / "lists", tmp_path / "out", **changes)
    refuse(config, "a.tar is damaged after UCF-101/Fall/v_Fall_g01_c01.avi")
    (archives / "a.tar").write_bytes(whole)
    build(config)
    build(archived_config(archived_source / "archives", archived_source / "lists", tmp_path / "whole", **changes))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
