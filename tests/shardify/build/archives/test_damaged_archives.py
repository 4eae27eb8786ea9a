"""Archives that are damaged: nothing that may be wrong stays in a shard, nothing that is good is lost."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers_archives import archived_config, write_tar
from helpers_shards import NUM_VIDEOS, contents

from shardify.build.config import BuildConfig
from shardify.build.plan import Part
from shardify.build.run import build, build_part, finish
from shardify.build.shard_writer import OpenShard
from shardify.errors import WorkError
from shardify.inspection.verify import verify
from shardify.shards.record import ShardRecord
from shardify.storage import open_store


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5_000])


def flip(path: Path) -> None:
    """Change one byte of the first video, or change it back; the archive is compressed by gzip's level 0.

    The videos decode to other frames, and the archive's size stays.
    """
    data = bytearray(path.read_bytes())
    with suppress(zlib.error):  # else it is changed
        data = bytearray(gzip.compress(zlib.decompress(data, wbits=31), compresslevel=0, mtime=0))
    data[2_500] ^= 255
    path.write_bytes(data)


CUT = r"^b.tgz is damaged after Spin/v_Spin_g\d\d_c\d\d.avi \(byte \d+ of the tar\): its gzip stream ends too early"
FLIPPED = "^b.tgz is damaged and none of it can be trusted: .*incorrect data"


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the shards whose tar and index are written in this process."""
    numbers: list[int] = []
    real = OpenShard.put

    def put(self: OpenShard) -> ShardRecord:
        numbers.append(self.number)
        return real(self)

    monkeypatch.setattr(OpenShard, "put", put)
    return numbers


def refuse(config: BuildConfig, reason: str = FLIPPED) -> None:
    with pytest.raises(WorkError, match=reason):
        build(config)
    assert not Path(config.out, "manifest.json").exists()


@pytest.mark.parametrize(("damage", "reason"), [(cut, CUT), (flip, FLIPPED)])
def test_a_damaged_archive_is_one_clear_line_and_the_others_are_done(
    archived_source: Path,
    archives: Path,
    tmp_path: Path,
    decoded: list[int],
    stored: list[int],
    damage: Callable[[Path], None],
    reason: str,
) -> None:
    changes: dict[str, Any] = {"videos_per_shard": 2}
    whole, out = (archives / "b.tgz").read_bytes(), tmp_path / "out"
    damage(archives / "b.tgz")
    config = archived_config(archives, out, **changes)
    refuse(config, reason + ".* --set source.accept_damaged_archives=true$")
    with pytest.raises(WorkError, match=reason):
        finish(config)
    states = {path.name: json.loads(path.read_bytes())["state"] for path in sorted(out.glob("window-*.json"))}
    assert list(states.values()) == ["complete", "damaged", "complete"]
    assert 1000 in stored  # before the end of the archive
    assert not list(out.glob("shard-001*"))

    (archives / "b.tgz").write_bytes(whole)
    decoded.clear()
    build(config)
    assert len(decoded) == 7  # that archive alone
    build(archived_config(archived_source / "archives", tmp_path / "whole", **changes))
    assert contents(out) == contents(tmp_path / "whole")


def test_a_part_with_a_damaged_archive_fails(archives: Path, tmp_path: Path) -> None:
    cut(archives / "b.tgz")
    config = archived_config(archives, tmp_path / "out")
    with pytest.raises(WorkError, match=CUT):
        build_part(config, Part(number=2, count=3))
    build_part(config, Part(number=1, count=3))


def test_a_window_of_several_damaged_archives_names_all_and_decodes_nothing_behind_the_first(
    archives: Path, tmp_path: Path, decoded: list[int]
) -> None:
    for name in ("b.tgz", "more/Zoom.tar.gz"):
        flip(archives / name)
    changes: dict[str, Any] = {"videos_per_shard": 2, "source__archives_per_window": 3}
    refuse(archived_config(archives, tmp_path / "out", **changes), r".*2 archives are dam")
    assert len(decoded) == 15
    assert not list((tmp_path / "out").glob("shard-*"))


def test_the_rest_of_a_damaged_archive_may_be_done_without(archives: Path, tmp_path: Path) -> None:
    cut(archives / "b.tgz")
    out = tmp_path / "out"
    refuse(archived_config(archives, out), CUT)
    summary = build(archived_config(archives, out, source__accept_damaged_archives=True))
    at_once = build(archived_config(archives, tmp_path / "at_once", source__accept_damaged_archives=True))
    assert contents(out) == contents(tmp_path / "at_once")
    assert summary.num_samples == at_once.num_samples == NUM_VIDEOS - summary.num_missing
    assert 1 < summary.num_missing < 8
    assert any("b.tgz is damaged after" in line for line in summary.lines())


def test_an_archive_whose_checksum_does_not_fit_is_left_out_if_that_is_accepted(archives: Path, tmp_path: Path) -> None:
    """The window holds what it would hold without that archive."""
    flip(archives / "b.tgz")
    cut(archives / "more" / "Zoom.tar.gz")
    accepting: dict[str, Any] = {
        "videos_per_shard": 3,
        "source__archives_per_window": 3,
        "source__accept_damaged_archives": True,
    }
    config = archived_config(archives, tmp_path / "out", **accepting)
    [first, second] = build(config).notes
    assert "b.tgz is damaged and none of it can be trusted" in first
    assert "more/Zoom.tar.gz is damaged after " in second
    assert build(config).num_shards_written == 0
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "shard-000000.tar").unlink()
    build(config)
    assert contents(tmp_path / "out") == before

    write_tar(archives / "b.tgz", {})
    build(archived_config(archives, tmp_path / "without", **accepting))
    without = contents(tmp_path / "without")
    assert {name for name in before | without if before.get(name) != without.get(name)} == {"window-000000.json"}
    assert verify(open_store(tmp_path / "out"), deep=True).problems == ()


@pytest.mark.parametrize("accept", [False, True])
def test_damage_that_comes_later_does_not_cost_shards_that_were_good(
    archives: Path, tmp_path: Path, stored: list[int], accept: bool
) -> None:
    flip(archives / "b.tgz")
    flip(archives / "b.tgz")
    changes: dict[str, Any] = {"videos_per_shard": 2, "source__accept_damaged_archives": accept}
    config = archived_config(archives, tmp_path / "out", **changes)
    build(config)
    before = contents(tmp_path / "out")
    good = {name for name in before if name.startswith("shard-") and not name.startswith("shard-001001")}
    flip(archives / "b.tgz")
    (tmp_path / "out" / "shard-001001.tar").unlink()
    for _ in range(2):
        stored.clear()
        refuse(config, FLIPPED + ".*delete window-000001.json")
        assert stored == [1001]
        left = {name: data for name, data in contents(tmp_path / "out").items() if name.startswith("shard-")}
        assert left == {name: before[name] for name in good}
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
    whole = (archives / "a.tar").read_bytes()
    second = whole.index(b"./UCF-101/Fall/v_Fall_g01_c02.avi")
    (archives / "a.tar").write_bytes(whole[:second] + b"x" * 512 + whole[second + 512 :])
    out = tmp_path / "out"
    assert build(archived_config(archives, out, source__accept_damaged_archives=True, **changes)).num_missing == 8
    (out / "shard-000001.tar").unlink()
    config = archived_config(archives, out, **changes)
    refuse(config, "a.tar is damaged after UCF-101/Fall/v_Fall_g01_c01.avi")
    (archives / "a.tar").write_bytes(whole)
    build(config)
    build(archived_config(archived_source / "archives", tmp_path / "whole", **changes))
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize("state", ["begun", "complete"])
def test_windows_of_earlier_versions(archived_source: Path, archived_shards: Path, tmp_path: Path, state: str) -> None:
    """A complete one is read; one that was only begun is packed again."""
    config = archived_config(archived_source / "archives", tmp_path / "out")
    build(config)
    path = tmp_path / "out" / "window-000001.json"
    values = json.loads(path.read_bytes()) | {"state": state, "left_out": {}}
    path.write_text(json.dumps(values))
    (tmp_path / "out" / "shard-001001.json").unlink(missing_ok=state == "begun")
    assert build(config).num_shards_written == (3 if state == "begun" else 1)
    assert contents(tmp_path / "out") == contents(archived_shards)
