"""A build that is continued: videos whose files have changed since."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from helpers_shards import build_config, contents

from shardify.build.run import build
from shardify.errors import UsageError


def test_videos_that_changed_since_are_never_mixed_in(source: Path, built: dict[str, bytes], tmp_path: Path) -> None:
    videos, out = Path(shutil.copytree(source / "videos", tmp_path / "videos")), tmp_path / "out"
    config = build_config(source, out, source={"kind": "ucf101", "videos": str(videos), "lists": str(source / "lists")})
    build(config)
    assert contents(out) == built
    name = "Spin/v_Spin_g03_c01.avi"
    shutil.copyfile(min(videos.glob("*/*g01*")), videos / name)
    with pytest.raises(
        UsageError, match=rf"1 of \d+ finished shards .* {re.escape(name)}; are source.videos the videos"
    ):
        build(config)
    assert contents(out) == built
    summary = build(config, retry_failed=True)
    assert summary.num_shards_written == 1
    assert contents(out) != built
    assert build(config).num_shards_written == 0
    shutil.copyfile(source / "videos" / name, videos / name)
    build(config, retry_failed=True)
    assert contents(out) == built


def test_shards_of_earlier_versions_are_continued(source: Path, built_folder: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(built_folder, tmp_path / "out"))
    for path in out.glob("shard-*.json"):
        values = json.loads(path.read_text())
        assert len(values.pop("source_bytes")) == values["num_samples"]
        path.write_text(json.dumps(values))
    assert build(build_config(source, out)).num_shards_written == 0
