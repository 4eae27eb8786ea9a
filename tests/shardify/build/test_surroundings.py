"""A machine that is unlike the one that started the build is found out before it writes anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers_shards import build_config

from shardify.build.ray_cluster import Surroundings, require_fit, write_and_count
from shardify.build.run import build
from shardify.build.shard_writer import Report
from shardify.errors import UsageError


@pytest.fixture
def surroundings(source: Path, built_folder: Path) -> Surroundings:
    """Of a finished build."""
    return Surroundings.here(videos=str(source / "videos"), location=str(built_folder), ffmpeg="bundled")


class Untouched:
    """A task that must not be begun."""

    def write(self, report: Report) -> None:
        raise AssertionError(f"begun, {report}")


def test_the_machine_that_started_the_build_is_fit(surroundings: Surroundings) -> None:
    require_fit(surroundings)
    with pytest.raises(AssertionError, match="begun"):
        write_and_count(Untouched(), surroundings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"videos": "/not/here"}, r"does not see /not/here; the videos must be in a bucket or a shared folder"),
        ({"location": "/not/here"}, r"does not see this build's build.json in /not/here; out must be in a bucket"),
        ({"description_sha256": "0" * 64}, r"does not see this build's build.json in .*shared folder"),
        ({"ffmpeg_version": "5.1"}, r"has ffmpeg \S+, the build was started with 5.1, .*same one everywhere"),
        ({"version": "0.0.1"}, r"has version \S+ of temporal-ssl, the build was started with 0.0.1; install the same"),
    ],
)
def test_an_unlike_machine_is_named_with_what_to_do(
    surroundings: Surroundings, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=r"^the machine \S+ " + message):
        write_and_count(Untouched(), replace(surroundings, **changes))


def test_a_bucket_is_seen_by_its_url(surroundings: Surroundings, source: Path, s3_url: str) -> None:
    build(build_config(source, Path("x")).model_copy(update={"out": s3_url}))
    here = Surroundings.here(videos=surroundings.videos, location=s3_url, ffmpeg="bundled")
    require_fit(here)
    with pytest.raises(UsageError, match=rf"does not see this build's build.json in {s3_url}"):
        require_fit(replace(here, description_sha256="0" * 64))
